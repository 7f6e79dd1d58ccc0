//! Looks after one certificate: orders it if it is missing or due, and says when to look again.

use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};

use super::job::{Failure, Job};
use super::order::{identifier, order};
use super::{account, schedule};
use crate::tls::issued::Issued;

/// How often an authority is asked for its advice, whatever it says (RFC 9773, 4.3.2).
const ASK: [SignedDuration; 2] = [SignedDuration::from_hours(1), SignedDuration::from_hours(24)];

/// What was done.
#[derive(Clone, Copy, Debug)]
pub(super) enum Attended {
    Ordered,
    /// Nothing is due before this instant.
    Waits(Timestamp),
}

/// Looks after the certificate of `job` once.
pub(super) async fn attend(job: &Job) -> Result<Attended, Failure> {
    let now = job.clock.now();
    let wanted = &job.wanted;
    let held = Issued::read(&wanted.file).ok().filter(|held| held.serves_all(&wanted.hosts, now));
    let mut replaces = None;
    if let Some(held) = &held {
        let Plan { due, look_again, is_advised } = plan(job, held, now).await;
        if now < due {
            return Ok(Attended::Waits(due.min(look_again)));
        }
        replaces = is_advised.then_some(held);
    }
    let account = account::open(&wanted.settings).await?;
    order(job, &account, replaces).await?;
    Ok(Attended::Ordered)
}

struct Plan {
    due: Timestamp,
    look_again: Timestamp,
    /// Whether the authority gave the date.
    is_advised: bool,
}

async fn plan(job: &Job, held: &Issued, now: Timestamp) -> Plan {
    let (begins, ends) = (held.coverage.begins, held.coverage.ends);
    let place = place(&held.serial);
    match advice(job, held).await {
        Some(Advice { start, end, ask_after }) => Plan {
            due: schedule::within_window(start, end, place),
            look_again: later(now, ask_after.clamp(ASK[0], ASK[1])),
            is_advised: true,
        },
        None => Plan {
            due: schedule::at_two_thirds(begins, ends, place),
            look_again: later(now, ASK[1]),
            is_advised: false,
        },
    }
}

fn later(now: Timestamp, after: SignedDuration) -> Timestamp {
    now.saturating_add(after).unwrap_or(Timestamp::MAX)
}

struct Advice {
    start: Timestamp,
    end: Timestamp,
    ask_after: SignedDuration,
}

/// When the authority suggests to renew; `None` if it offers no advice or cannot be asked.
async fn advice(job: &Job, held: &Issued) -> Option<Advice> {
    let identifier = identifier(held)?;
    let account = account::kept(&job.wanted.settings).await.ok()??;
    let (info, ask_after) = account.renewal_info(&identifier).await.ok()?;
    let time = |second: i64| Timestamp::from_second(second).ok();
    Some(Advice {
        start: time(info.suggested_window.start.unix_timestamp())?,
        end: time(info.suggested_window.end.unix_timestamp())?,
        ask_after: SignedDuration::try_from(ask_after).ok()?,
    })
}

/// A place from 0 to 1 that stays the same for one certificate, so that looking again does not move its renewal.
fn place(serial: &[u8]) -> f64 {
    let digest = Sha256::digest(serial);
    let bits = digest.iter().take(4).fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte));
    f64::from(bits) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_renewal_differs_between_certificates_and_stays() {
        let places: Vec<f64> = (0..100_u8).map(|serial| place(&[serial])).collect();
        assert!(places.iter().all(|place| (0.0..=1.0).contains(place)));
        assert!(places.iter().any(|place| *place < 0.1) && places.iter().any(|place| *place > 0.9));
        assert_eq!(place(b"serial").to_bits(), place(b"serial").to_bits());
    }
}
