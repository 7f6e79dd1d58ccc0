//! The last reloads: what each changed, or why it was rejected.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use tokio::sync::watch;

use crate::config::problem::{Problem, Severity};
use crate::snapshot::changes::Changes;

/// Reloads that are kept.
const KEPT: usize = 50;
/// Problems of a rejected reload that are kept; the log has all of them.
const PROBLEMS: usize = 10;
/// The longest text of a problem, in bytes.
const PROBLEM_BYTES: usize = 1_000;

/// Keeps the last reloads. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ReloadJournal {
    entries: Arc<Mutex<VecDeque<ReloadEntry>>>,
    written: watch::Sender<u64>,
}

/// One reload.
#[derive(Clone, Debug)]
pub struct ReloadEntry {
    /// Counts from 1.
    pub number: u64,
    /// When it ended.
    pub at: Timestamp,
    /// The generation in use since.
    pub generation: u64,
    /// How it ended.
    pub outcome: ReloadOutcome,
}

/// How a reload ended.
#[derive(Clone, Debug)]
pub enum ReloadOutcome {
    /// The new snapshot is in use.
    Applied(Changes),
    /// The last good snapshot stays in use.
    Rejected(Rejection),
    /// The allowlist was broken for `filings_stale_after`: everything closed.
    Stale,
}

impl ReloadOutcome {
    /// The word for it.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Applied(_) => "applied",
            Self::Rejected(_) => "rejected",
            Self::Stale => "stale",
        }
    }
}

/// Why a reload was rejected.
#[derive(Clone, Debug)]
pub struct Rejection {
    /// The first problems, as the log has them.
    pub problems: Vec<String>,
    /// How many problems there were.
    pub count: usize,
}

impl Rejection {
    /// By a file that cannot be read.
    pub fn unreadable(reason: &impl ToString) -> Self {
        Self { problems: vec![cut(reason.to_string())], count: 1 }
    }

    /// By the fatal ones of these problems.
    pub fn of(problems: &[Problem]) -> Self {
        let fatal = || problems.iter().filter(|problem| problem.severity == Severity::Fatal);
        let first = fatal().take(PROBLEMS).map(|problem| cut(problem.to_string()));
        Self { problems: first.collect(), count: fatal().count() }
    }
}

fn cut(mut text: String) -> String {
    if text.len() > PROBLEM_BYTES {
        text.truncate(text.floor_char_boundary(PROBLEM_BYTES));
        text.push('…');
    }
    text
}

impl Default for ReloadJournal {
    fn default() -> Self {
        Self { entries: Arc::default(), written: watch::Sender::new(0) }
    }
}

impl ReloadJournal {
    /// Adds a reload; the oldest leaves.
    pub fn write(&self, at: Timestamp, generation: u64, outcome: ReloadOutcome) {
        let number = *self.written.borrow() + 1;
        {
            let mut entries = self.entries();
            entries.truncate(KEPT - 1);
            entries.push_front(ReloadEntry { number, at, generation, outcome });
        }
        self.written.send_replace(number);
    }

    /// The newest first.
    pub fn look(&self) -> Vec<ReloadEntry> {
        self.entries().iter().cloned().collect()
    }

    /// Receives the number of the last entry.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.written.subscribe()
    }

    fn entries(&self) -> MutexGuard<'_, VecDeque<ReloadEntry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_reloads_are_kept() {
        let journal = ReloadJournal::default();
        for generation in 1..=60 {
            journal.write(Timestamp::UNIX_EPOCH, generation, ReloadOutcome::Stale);
        }
        let numbers: Vec<u64> = journal.look().iter().map(|entry| entry.number).collect();
        assert_eq!(numbers, (11..=60).rev().collect::<Vec<_>>());
        assert_eq!(*journal.changes().borrow(), 60);
    }
}
