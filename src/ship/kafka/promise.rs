//! What a topic's settings promise about the records in it.

use std::time::Duration;

use crate::ship::sink::{Immutability, Promise};

/// Reads the promise out of the settings. What a broker leaves out has Kafka's own default.
pub(super) fn of(settings: &[(String, Option<String>)], replicas: usize) -> Promise {
    let value = |name: &str, default: &'static str| {
        let found = settings.iter().find(|(key, _)| key == name).and_then(|(_, value)| value.as_deref());
        found.unwrap_or(default)
    };
    let [kept, bytes, policy] = [
        value("retention.ms", "604800000"),
        value("retention.bytes", "-1"),
        value("cleanup.policy", "delete"),
    ];
    if policy != "delete" {
        let why = format!("cleanup.policy is {policy}: set it to delete, so that no record replaces another");
        return Promise::Broken { why };
    }
    if bytes != "-1" {
        let why = format!("retention.bytes is {bytes}, which deletes records early: set it to -1");
        return Promise::Broken { why };
    }
    let retention = match kept.parse::<i64>() {
        Ok(-1) => None,
        Ok(millis) if millis >= 0 => Some(Duration::from_millis(millis.unsigned_abs())),
        _ => return Promise::Broken { why: format!("retention.ms is {kept}, which is no duration") },
    };
    let insync = value("min.insync.replicas", "1");
    let detail = format!(
        "retention.ms {kept}, cleanup.policy delete; {replicas} replicas, min.insync.replicas {insync}"
    );
    Promise::Keeps { retention, immutability: Immutability::Deletable, detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETENTION: Duration = Duration::from_secs(190 * 86_400);

    #[track_caller]
    fn check(settings: &[(&str, &str)], expected: Result<(), &str>) {
        let settings: Vec<_> =
            settings.iter().map(|(key, value)| ((*key).to_owned(), Some((*value).to_owned()))).collect();
        match (of(&settings, 3).suffices(RETENTION), expected) {
            (Ok(()), Ok(())) => {}
            (Err(why), Err(part)) => assert!(why.contains(part), "{why}"),
            (is, expected) => panic!("{is:?} and not {expected:?}"),
        }
    }

    #[test]
    fn a_topic_keeps_what_it_says() {
        check(&[("retention.ms", "-1"), ("cleanup.policy", "delete")], Ok(()));
        check(
            &[("retention.ms", "16416000000"), ("cleanup.policy", "delete"), ("retention.bytes", "-1")],
            Ok(()),
        );
        check(&[("retention.ms", "604800000"), ("cleanup.policy", "delete")], Err("7 days"));
        check(&[("cleanup.policy", "delete")], Err("7 days"));
        check(&[("retention.ms", "-1"), ("cleanup.policy", "compact")], Err("compact"));
        check(&[("retention.ms", "-1"), ("cleanup.policy", "compact,delete")], Err("compact"));
        check(&[("retention.ms", "-1"), ("retention.bytes", "1000000")], Err("retention.bytes"));
        check(&[("retention.ms", "soon")], Err("no duration"));
    }
}
