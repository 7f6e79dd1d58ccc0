//! Epochs: they tell two records apart that were given the same `seq`, one before a recovery and one after it.
//!
//! A recovery that cuts off records gives their numbers again. Records that were shipped before the cut may have
//! those numbers too, so every such recovery begins a new epoch. A record's epoch never changes: the file lists
//! from which `seq` on each epoch holds.

use std::fmt;
use std::io;
use std::path::Path;

use rand_core::{OsRng, RngCore};

use crate::retention::format::note::{read_note_if_there, replace};

/// The file of epochs: a line for each, of the epoch and the first `seq` that it holds for.
const EPOCH_FILE: &str = "epoch";

/// One epoch of a store: random, so that no two stores of a node share one.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Epoch(u64);

impl Epoch {
    fn random() -> Self {
        Self(OsRng.next_u64())
    }

    fn parse(text: &str) -> Option<Self> {
        let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        u64::from_str_radix(text, 16).ok().filter(|_| digits).map(Self)
    }
}

/// 16 hexadecimal digits.
impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// The epochs of a store's records.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Epochs {
    /// Each with its first `seq`, oldest first.
    epochs: Vec<(u64, Epoch)>,
}

impl Epochs {
    /// Reads the epochs of the store in `directory`. A store that has none yet, or whose file is damaged, gives
    /// none.
    pub(crate) fn open(directory: &Path) -> io::Result<Self> {
        let Some(text) = read_note_if_there(&directory.join(EPOCH_FILE))? else { return Ok(Self::default()) };
        let parsed = Self::parse(&String::from_utf8_lossy(&text));
        Ok(parsed.unwrap_or_else(|| {
            tracing::error!(
                "The file epoch of the access records is damaged. A new epoch begins: records that are shipped again \
                 may count as new ones"
            );
            Self::default()
        }))
    }

    fn parse(text: &str) -> Option<Self> {
        let epoch = |line: &str| {
            let (epoch, first_seq) = line.split_once(' ')?;
            Some((first_seq.parse().ok()?, Epoch::parse(epoch)?))
        };
        let epochs = text.lines().map(epoch).collect::<Option<Vec<_>>>()?;
        epochs.is_sorted_by(|(one, _), (next, _)| one < next).then_some(Self { epochs })
    }

    /// Whether there are none yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.epochs.is_empty()
    }

    /// The epoch of the record `seq`.
    pub fn of(&self, seq: u64) -> Option<Epoch> {
        let next = self.epochs.partition_point(|(first, _)| *first <= seq);
        self.epochs.get(next.saturating_sub(1)).map(|(_, epoch)| *epoch)
    }

    /// The epoch of the records that are written now.
    pub fn current(&self) -> Option<Epoch> {
        self.epochs.last().map(|(_, epoch)| *epoch)
    }

    /// Begins a new epoch at the record `next_seq`, and forgets those of records before `oldest_seq`. It is on
    /// disk when this returns.
    pub(crate) fn renew(&mut self, directory: &Path, oldest_seq: u64, next_seq: u64) -> io::Result<()> {
        self.epochs.retain(|(first, _)| *first < next_seq);
        let first = if self.epochs.is_empty() { oldest_seq.min(next_seq) } else { next_seq };
        self.epochs.push((first, Epoch::random()));
        let gone = self.epochs.partition_point(|(first, _)| *first <= oldest_seq).saturating_sub(1);
        self.epochs.drain(..gone);
        let text: String = self.epochs.iter().map(|(first, epoch)| format!("{epoch} {first}\n")).collect();
        replace(directory, EPOCH_FILE, text.as_bytes(), 0o640)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_record_keeps_its_epoch_over_renewals_and_restarts() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut epochs = Epochs::open(folder.path()).expect("none yet");
        assert_eq!((epochs.of(1), epochs.current()), (None, None));
        for next_seq in [1, 100, 200] {
            epochs.renew(folder.path(), 1, next_seq).expect("renewed");
        }
        let of = |epochs: &Epochs| [1, 99, 100, 199, 200, u64::MAX].map(|seq| epochs.of(seq));
        let [first, before, second, third, last, future] = of(&epochs);
        assert_eq!((first, second, last), (before, third, future));
        assert!(first != second && second != last && first != last);
        assert_eq!(Epochs::open(folder.path()).expect("read"), epochs);
        // A second cut at an earlier record: the numbers between were given twice before, and are again.
        epochs.renew(folder.path(), 1, 150).expect("renewed");
        assert_eq!((epochs.of(99), epochs.of(149)), (first, second));
        assert!(epochs.of(200) != last && epochs.of(150) != second);
        // Those of deleted records go.
        epochs.renew(folder.path(), 160, 300).expect("renewed");
        assert_eq!(epochs.epochs.iter().map(|(first, _)| *first).collect::<Vec<_>>(), [150, 300]);
    }

    #[test]
    fn a_damaged_file_begins_a_new_epoch() {
        let folder = tempfile::tempdir().expect("a folder");
        for text in [
            "",
            "x",
            "0123456789abcdef",
            "0123456789abcdef 1\n+123456789abcdef 2\n",
            "0123456789abcdef 2\n0123456789abcdef 1\n",
        ] {
            fs_err::write(folder.path().join(EPOCH_FILE), text).expect("written");
            assert!(Epochs::open(folder.path()).expect("read").is_empty(), "{text:?}");
        }
    }
}
