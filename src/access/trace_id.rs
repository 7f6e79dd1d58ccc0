//! Trace ids: which distributed trace a request belongs to, as its `traceparent` says.
//!
//! The edge starts no trace and adds no span. The field goes on as it came; only its trace id is read.

use std::fmt;
use std::num::NonZeroU128;

/// The trace id of a W3C trace context: 16 bytes, not all zero.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TraceId(NonZeroU128);

impl TraceId {
    /// Reads a `traceparent`; `None` if it is malformed, since then nothing in it may be believed (W3C Trace
    /// Context, 3.2.2 and 4.3). A later version may have more parts than the four that are known.
    pub fn of_traceparent(value: &[u8]) -> Option<Self> {
        let (known, more) = value.split_at_checked(55)?;
        let (version, rest) = part(known, 2)?;
        let (trace, rest) = part(rest, 32)?;
        let (parent, flags) = part(rest, 16)?;
        let later = more.is_empty() || version != 0 && more.starts_with(b"-");
        let holds = version != 0xff && parent != 0 && later;
        digits(flags).filter(|_| holds)?;
        NonZeroU128::new(trace).map(Self)
    }

    /// From the bytes of a record; `None` if they are zeros.
    pub(super) fn of_bytes(bytes: [u8; 16]) -> Option<Self> {
        NonZeroU128::new(u128::from_be_bytes(bytes)).map(Self)
    }

    /// The bytes that a record keeps.
    pub(super) fn bytes(self) -> [u8; 16] {
        self.0.get().to_be_bytes()
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:032x}", self.0)
    }
}

/// A number of `length` digits, and what follows the dash after it.
fn part(text: &[u8], length: usize) -> Option<(u128, &[u8])> {
    let (number, rest) = text.split_at_checked(length)?;
    Some((digits(number)?, rest.strip_prefix(b"-")?))
}

/// A number of lower-case hexadecimal digits, at most 32.
fn digits(text: &[u8]) -> Option<u128> {
    text.iter().try_fold(0, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn read(value: &str) -> Option<String> {
        TraceId::of_traceparent(value.as_bytes()).map(|id| id.to_string())
    }

    #[test]
    fn a_trace_id_is_read_as_it_was_sent() {
        assert_eq!(read(SENT).as_deref(), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
        let small = SENT.replace("4bf92f3577b34da6", "0000000000000000");
        assert_eq!(read(&small).as_deref(), Some("0000000000000000a3ce929d0e0e4736"));
        let later = SENT.replacen("00", "cc", 1);
        assert_eq!(read(&later), read(SENT));
        assert_eq!(read(&format!("{later}-what-comes")), read(SENT));
        let id = TraceId::of_traceparent(SENT.as_bytes()).expect("an id");
        assert_eq!(TraceId::of_bytes(id.bytes()), Some(id));
    }

    #[test]
    fn a_malformed_traceparent_has_none() {
        for cut in 0..SENT.len() {
            assert_eq!(read(&SENT[..cut]), None, "{}", &SENT[..cut]);
        }
        for bad in [
            SENT.replacen("00", "ff", 1),
            SENT.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            SENT.replace("00f067aa0ba902b7", &"0".repeat(16)),
            SENT.to_uppercase(),
            SENT.replace("-01", "-0x"),
            SENT.replace("4b", "+b"),
            SENT.replacen('-', "_", 1),
            format!("{SENT}-more"),
            format!("{}x", SENT.replacen("00", "cc", 1)),
        ] {
            assert_eq!(read(&bad), None, "{bad}");
        }
    }
}
