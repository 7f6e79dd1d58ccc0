//! `links`: metered links, and when they are used.

use std::sync::Arc;

use super::{Value, or};
use crate::config::findings::quote;
use crate::config::schema;
use crate::origin::Origin;
use crate::origin::metered::{Hours, Metered};

/// The default of `failures`, in percent.
const DEFAULT_FAILURES: u32 = 5;

pub(super) fn links(value: &Value<'_>) -> Option<Vec<(Arc<str>, Metered)>> {
    let mut links: Vec<(Arc<str>, Metered)> = Vec::new();
    let mut sound = true;
    for (name, value) in value.entries()? {
        if links.iter().any(|(other, _)| **other == *name) {
            let message = format!("the link {} occurs twice", quote(name));
            value.fatal(message, "remove one of them".to_owned());
        }
        match link(&value) {
            Some(link) => links.push((name.into(), link)),
            None => sound = false,
        }
    }
    sound.then_some(links)
}

fn link(value: &Value<'_>) -> Option<Metered> {
    let fields = value.fields(schema::LINK)?;
    let first_byte = or(fields.get("first_byte"), None, |value| value.duration().map(Some));
    let failures = or(fields.get("failures"), DEFAULT_FAILURES, Value::percent);
    let prefer = or(fields.get("prefer"), Vec::new(), |value| match value.is_list() {
        true => value.distinct(hours),
        false => hours(value).map(|one| vec![one]),
    });
    Some(Metered { first_byte: first_byte?, failures: failures?, prefer: prefer? })
}

/// `20:00-23:00`.
fn hours(value: &Value<'_>) -> Option<Hours> {
    value.parsed("hours of the day", "\"20:00-23:00\"", |text| {
        let (from, to) = text.split_once('-').ok_or("there is no - between two times")?;
        let hours = Hours { from: minute(from)?, to: minute(to)? };
        if hours.from == hours.to { Err("it ends when it begins") } else { Ok(hours) }
    })
}

/// The minute of the day of a time such as `20:00`.
fn minute(text: &str) -> Result<u16, &'static str> {
    let number = |text: &str, end: u16| -> Option<u16> {
        let plain = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|number| plain && *number < end)
    };
    let time = text.split_once(':').and_then(|(hour, minute)| Some((number(hour, 24)?, number(minute, 60)?)));
    time.map(|(hour, minute)| hour * 60 + minute).ok_or("a time of the day is from 00:00 to 23:59")
}

/// Gives every origin its metered links. A link that no server uses, or that is every server's link, is a
/// problem.
pub(super) fn assign(
    value: Option<&Value<'_>>,
    links: &[(Arc<str>, Metered)],
    origins: &mut [Option<Origin>],
) {
    let mut used = vec![false; links.len()];
    let complete = origins.iter().all(Option::is_some);
    for origin in origins.iter_mut().flatten() {
        let is_metered = |name: &str| links.iter().any(|(link, _)| **link == *name);
        let serves = |metered| {
            origin.servers.iter().any(|server| !server.backup && is_metered(&server.link) == metered)
        };
        if serves(true) && serves(false) {
            for ((name, metered), used) in links.iter().zip(&mut used) {
                if origin.servers.iter().any(|server| !server.backup && server.link == *name) {
                    origin.metered.push((Arc::clone(name), metered.clone()));
                    *used = true;
                }
            }
        }
    }
    for ((_, value), used) in value.and_then(Value::entries).unwrap_or_default().iter().zip(used) {
        if complete && !used {
            value.fatal(
                "no origin has a server on this link beside one on a link that costs less",
                "name it as the `link` of a server, or leave it out".to_owned(),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_the_day_are_written_in_one_way() {
        assert_eq!(minute("00:00"), Ok(0));
        assert_eq!(minute("23:59"), Ok(23 * 60 + 59));
        for text in ["24:00", "7:00", "07:60", "0700", "+7:00", "", "07:00:00", "１2:00"] {
            assert!(minute(text).is_err(), "{text}");
        }
    }
}
