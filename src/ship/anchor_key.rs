//! The keys of anchored checkpoints: `checkpoints/20261129/205500-00000000000000001234-ab12…`.
//!
//! A key holds the time, the size of the tree and its root. So a verifier compares every anchored checkpoint with what
//! the sink holds by listing keys, a thousand at a time, and reads few of the checkpoints themselves.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::DateTime;

use crate::clock::SHANGHAI;

/// The folder of checkpoints that were anchored.
pub(super) const CHECKPOINTS: &str = "checkpoints/";

/// The key of one anchored checkpoint.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct AnchorKey {
    /// When it was anchored, to the second.
    pub(super) at: Timestamp,
    /// How many blocks the checkpoint covers.
    pub(super) size: u64,
    /// The root of the tree of these blocks.
    pub(super) root: [u8; 32],
}

impl AnchorKey {
    /// The key that `text` is; `None` for anything else.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut parts = text.strip_prefix(CHECKPOINTS)?.splitn(3, '-');
        let at = SHANGHAI.to_timestamp(DateTime::strptime("%Y%m%d/%H%M%S", parts.next()?).ok()?).ok()?;
        let size = parts.next()?.parse().ok()?;
        let digits = parts.next().filter(|digits| digits.len() == 64 && digits.is_ascii())?;
        let mut root = [0; 32];
        for (byte, place) in root.iter_mut().zip((0..64).step_by(2)) {
            *byte = u8::from_str_radix(digits.get(place..place + 2)?, 16).ok()?;
        }
        Some(Self { at, size, root })
    }
}

impl fmt::Display for AnchorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = SHANGHAI.to_datetime(self.at).strftime("%Y%m%d/%H%M%S");
        write!(f, "{CHECKPOINTS}{at}-{:020}-", self.size)?;
        self.root.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_as_it_was_written_and_nothing_else_is_a_key() {
        let at = "2026-11-29T20:55:00+08:00".parse().expect("a time");
        let key = AnchorKey { at, size: 1234, root: std::array::from_fn(|place| place as u8 * 8) };
        let text = key.to_string();
        assert!(text.starts_with("checkpoints/20261129/205500-00000000000000001234-000810"), "{text}");
        assert_eq!(AnchorKey::parse(&text), Some(key));
        for other in
            [&text[..text.len() - 1], "checkpoints/", "checkpoints/20261129/205500-1", "access-1.seg"]
        {
            assert_eq!(AnchorKey::parse(other), None, "{other}");
        }
        assert_eq!(AnchorKey::parse(&text.replace("000810", "京10")), None);
    }
}
