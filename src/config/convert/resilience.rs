//! `health`, `retries` and `hedge_after` of an origin.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::listeners::path;
use super::{Value, or};
use crate::config::reader::Fields;
use crate::config::schema;
use crate::config::units;
use crate::origin::{HealthCheck, HedgeAfter, Probe, Retries};

const DEFAULT_INTERVAL: Duration = Duration::from_secs(5);
const DEFAULT_EXPECTED: RangeInclusive<u16> = 200..=399;
const MAX_ATTEMPTS: u64 = 5;

pub(super) fn health(value: &Value<'_>) -> Option<HealthCheck> {
    let fields = value.fields(schema::ORIGIN_HEALTH)?;
    let interval = or(fields.get("interval"), DEFAULT_INTERVAL, Value::duration);
    let tcp = or(fields.get("kind"), false, |value| value.word(&[("http", false), ("tcp", true)]));
    let probe = match tcp? {
        true => {
            for key in ["path", "expect"] {
                fields.useless(key, "a check of kind tcp only connects");
            }
            Some(Probe::Tcp)
        }
        false => http(&fields),
    };
    Some(HealthCheck { probe: probe?, interval: interval? })
}

fn http(fields: &Fields<'_>) -> Option<Probe> {
    let path = fields.required("path").and_then(path);
    let expect = or(fields.get("expect"), vec![DEFAULT_EXPECTED], |value| match value.is_list() {
        true => value.distinct(statuses),
        false => statuses(value).map(|one| vec![one]),
    });
    Some(Probe::Http { path: path?, expect: expect? })
}

/// `204` or `200-399`.
fn statuses(value: &Value<'_>) -> Option<RangeInclusive<u16>> {
    if value.plain_text().is_none() {
        let status = value.count(200, 599)?.try_into().ok()?;
        return Some(status..=status);
    }
    value.parsed("a range of statuses", "200-399", |text| {
        let status = |text: &str| text.parse().ok().filter(|status| (200..=599).contains(status));
        let (first, last) = text.split_once('-').ok_or("it must be a status, or two with - between")?;
        match (status(first), status(last)) {
            (Some(first), Some(last)) if first <= last => Ok(first..=last),
            (Some(_), Some(_)) => Err("it ends before it begins"),
            _ => Err("a status is from 200 to 599"),
        }
    })
}

pub(super) fn retries(value: &Value<'_>) -> Option<Retries> {
    let fields = value.fields(schema::RETRIES)?;
    let default = Retries::default();
    let attempts =
        or(fields.get("attempts"), default.attempts, |value| value.count(1, MAX_ATTEMPTS)?.try_into().ok());
    let budget = or(fields.get("budget"), default.budget, Value::percent);
    let per_try = or(fields.get("per_try"), None, |value| value.duration().map(Some));
    if attempts == Some(1) {
        for key in ["budget", "per_try"] {
            fields.useless(key, "with one attempt there is no retry");
        }
    }
    Some(Retries { attempts: attempts?, budget: budget?, per_try: per_try? })
}

pub(super) fn hedge_after(value: &Value<'_>) -> Option<HedgeAfter> {
    value.parsed("`p95` or a duration", "p95 or 300ms", |text| match text {
        "p95" => Ok(HedgeAfter::P95),
        text => match units::duration(text) {
            Ok(time) if time.is_zero() => Err("it may not be zero".to_owned()),
            Ok(time) => Ok(HedgeAfter::Time(time)),
            Err(error) => Err(error.to_string()),
        },
    })
}
