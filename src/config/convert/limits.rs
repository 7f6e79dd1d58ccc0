//! `rate_limit` of a site.

use std::time::Duration;

use super::values::or;
use crate::config::reader::Value;
use crate::config::schema;
use crate::rate::{RateLimit, RateScope};

/// More would be no limit to one machine.
const MAX_REQUESTS: u32 = 1_000_000;

/// `{requests, burst, per}`.
pub(super) fn rate_limit(value: &Value<'_>) -> Option<RateLimit> {
    let fields = value.fields(schema::RATE_LIMIT)?;
    let requests = fields.required("requests").and_then(|value| value.parsed("a rate", "50/s or 30/m", rate));
    let burst = or(fields.get("burst"), None, |value| {
        u32::try_from(value.count(1, u64::from(MAX_REQUESTS))?).ok().map(Some)
    });
    let words = [("client", RateScope::Client), ("site", RateScope::Site)];
    let per = or(fields.get("per"), RateScope::default(), |value| value.word(&words));
    let ((number, interval), burst) = (requests?, burst?);
    Some(RateLimit { interval, burst: burst.unwrap_or(number), per: per? })
}

/// `N/s` or `N/m`: the number, and the time from one request to the next.
fn rate(text: &str) -> Result<(u32, Duration), &'static str> {
    let (number, unit) = text.split_once('/').ok_or("it has no /s or /m")?;
    let second = Duration::from_secs(1);
    let period = match unit {
        "s" => second,
        "m" => 60 * second,
        _ => return Err("it is not per s or m"),
    };
    let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
    match number.parse() {
        Ok(number @ 1..=MAX_REQUESTS) if is_number => Ok((number, period / number)),
        _ => Err("its number is not a whole one from 1 to 1000000"),
    }
}
