//! Parses and prints durations and sizes: a whole number and a unit.

use std::time::Duration;

#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum InvalidUnit {
    #[error("it does not begin with a whole number")]
    Number,
    #[error("its unit is not one of {0}")]
    Unit(&'static str),
    #[error("it is too large")]
    TooLarge,
}

/// Parses `250ms`, `5s`, `10m`, `24h` or `190d`, up to a hundred years.
pub(super) fn duration(text: &str) -> Result<Duration, InvalidUnit> {
    let (number, unit) = split(text)?;
    let milliseconds = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => DAY_MS,
        _ => return Err(InvalidUnit::Unit("ms, s, m, h, d")),
    };
    // Far below the range of `Instant`, so that no deadline overflows.
    match number.checked_mul(milliseconds) {
        Some(total) if total <= 36_500 * DAY_MS => Ok(Duration::from_millis(total)),
        _ => Err(InvalidUnit::TooLarge),
    }
}

const DAY_MS: u64 = 24 * 3_600_000;

/// Parses `4096`, `64KiB`, `1MiB`, `1GiB` or `1TiB`, in bytes.
pub(super) fn size(text: &str) -> Result<u64, InvalidUnit> {
    let (number, unit) = split(text)?;
    let shift = match unit {
        "" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        "TiB" => 40,
        _ => return Err(InvalidUnit::Unit("KiB, MiB, GiB, TiB")),
    };
    number.checked_mul(1 << shift).ok_or(InvalidUnit::TooLarge)
}

fn split(text: &str) -> Result<(u64, &str), InvalidUnit> {
    let end = text.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    match number.parse() {
        Ok(number) => Ok((number, unit)),
        Err(_) if number.is_empty() => Err(InvalidUnit::Number),
        Err(_) => Err(InvalidUnit::TooLarge),
    }
}

pub(super) fn show_duration(duration: Duration) -> String {
    let total = duration.as_millis();
    [(u128::from(DAY_MS), "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")]
        .into_iter()
        .find(|(length, _)| total >= *length && total.is_multiple_of(*length))
        .map_or_else(|| format!("{total}ms"), |(length, unit)| format!("{}{unit}", total / length))
}

pub(super) fn show_size(bytes: u64) -> String {
    [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")]
        .into_iter()
        .find(|(shift, _)| bytes >= 1 << shift && bytes.trailing_zeros() >= *shift)
        .map_or_else(|| bytes.to_string(), |(shift, unit)| format!("{}{unit}", bytes >> shift))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_whole_numbers_with_a_unit() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("0s"), Ok(Duration::ZERO));
        assert_eq!(duration("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(duration("190d"), Ok(Duration::from_secs(190 * 86_400)));
        for text in ["", "s", "-5s", "+5s", " 5s", "１s"] {
            assert_eq!(duration(text), Err(InvalidUnit::Number), "{text:?}");
        }
        for text in ["5", "5 s", "1.5s", "5S", "5sec", "1h30m", "5us"] {
            assert!(matches!(duration(text), Err(InvalidUnit::Unit(_))), "{text:?}");
        }
        for text in ["36501d", "18446744073709551615d", "18446744073709551616ms"] {
            assert_eq!(duration(text), Err(InvalidUnit::TooLarge), "{text:?}");
        }
    }

    #[test]
    fn sizes_are_whole_numbers_of_bytes() {
        assert_eq!(size("0"), Ok(0));
        assert_eq!(size("4096"), Ok(4096));
        assert_eq!(size("64KiB"), Ok(65_536));
        assert_eq!(size("1TiB"), Ok(1 << 40));
        for text in ["1KB", "1kib", "1 MiB", "1.5GiB", "1e3"] {
            assert!(matches!(size(text), Err(InvalidUnit::Unit(_))), "{text:?}");
        }
        assert_eq!(size("16777216TiB"), Err(InvalidUnit::TooLarge));
    }

    #[test]
    fn what_is_shown_is_what_is_written() {
        for text in ["250ms", "5s", "10m", "25h", "190d", "0ms"] {
            assert_eq!(show_duration(duration(text).expect("valid")), text);
        }
        for text in ["1000", "64KiB", "1GiB", "1TiB"] {
            assert_eq!(show_size(size(text).expect("valid")), text);
        }
    }
}
