//! What a sink is: somewhere records or whole segments go, and what it promises to do with them.
//!
//! An implementation sends once and reports. Retries, back-off, splitting and cursors belong to the lane.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use jiff::Timestamp;

use crate::remote::failure::RemoteFailure;

/// What every sink call comes to.
pub type SinkResult<'a, T> = BoxFuture<'a, Result<T, RemoteFailure>>;

/// One message of a [`RecordSink`]. `node`, `epoch` and `seq` identify it: a repeat carries the same three.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Message {
    /// What it carries.
    pub kind: MessageKind,
    /// Changes whenever a recovery cut something off the store.
    pub epoch: Arc<str>,
    /// The number of the record; for a checkpoint, the number of the record after the last that it covers.
    pub seq: u64,
    /// The time of the record, or of the checkpoint.
    pub time: Timestamp,
    /// One JSON object without a newline: the fields of `logs export`, and `epoch`.
    pub json: Bytes,
}

/// What a message carries.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MessageKind {
    /// An access record.
    Record,
    /// A signed checkpoint: `{"event":"checkpoint","node":…,"epoch":…,"seq":…,"time":…,"checkpoint":"<signed note>"}`.
    Checkpoint,
}

/// How much a sink takes at once. The lane keeps to both.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BatchLimits {
    /// Messages.
    pub records: usize,
    /// Bytes of their JSON together. One message larger than this is sent alone.
    pub bytes: usize,
}

/// A sink that takes a message per record.
pub trait RecordSink: Send {
    /// How much it takes at once; the lane holds at most 4 MiB of JSON, whatever this says.
    fn limits(&self) -> BatchLimits;

    /// Sends all of `batch` in order. `Ok` means that the sink has acknowledged every message. After an error any
    /// of them may have arrived; the lane sends them again.
    fn send<'a>(&'a mut self, batch: &'a [Message]) -> SinkResult<'a, ()>;

    /// Reads back what the sink promises, to be compared with `retention`.
    fn promise(&mut self, retention: Duration) -> SinkResult<'_, Promise>;
}

/// A sink that takes whole segments and checkpoints as files, each once and for all.
pub trait SegmentSink: Send {
    /// Stores `body` under `key`, kept until `retain_until` where the sink can promise that. A key that exists
    /// with the same content is a success; with other content it is a [`Conflict`](crate::remote::failure::FailureKind).
    fn put<'a>(&'a mut self, key: &'a str, body: &'a Body, retain_until: Timestamp) -> SinkResult<'a, Put>;

    /// What is stored under `key`.
    fn head<'a>(&'a mut self, key: &'a str) -> SinkResult<'a, Option<Stored>>;

    /// The keys that begin with `prefix` and come after `after`, in order; a page of at most 1000, and empty only
    /// at the end.
    fn list<'a>(&'a mut self, prefix: &'a str, after: &'a str) -> SinkResult<'a, Vec<String>>;

    /// Copies what is stored under `key` into the new file `to`.
    fn get<'a>(&'a mut self, key: &'a str, to: &'a std::path::Path) -> SinkResult<'a, ()>;

    /// Whether nobody can delete what is stored under `key` before `until`, as the sink itself says.
    fn is_locked<'a>(&'a mut self, key: &'a str, until: Timestamp) -> SinkResult<'a, bool>;

    /// Puts a small file under `name` in the place of what was there: the verifier keys. A sink in which nothing is
    /// replaced stores it beside, as `NAME-HASH`.
    fn publish<'a>(&'a mut self, name: &'a str, bytes: Bytes, retain_until: Timestamp) -> SinkResult<'a, ()>;

    /// Whether `publish` replaces, so that the newest checkpoint may be published after every segment.
    fn replaces(&self) -> bool;

    /// Reads back what the sink promises, to be compared with `retention`.
    fn promise(&mut self, retention: Duration) -> SinkResult<'_, Promise>;
}

/// What is stored under a key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Body {
    /// Bytes in memory: a checkpoint.
    Bytes(Bytes),
    /// A file that changes no more: a sealed segment.
    File(PathBuf),
}

/// What became of a `put`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Put {
    /// It was stored now.
    Created,
    /// The same was there before.
    Present,
}

/// What a sink says of something stored.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Stored {
    /// Its size.
    pub bytes: u64,
    /// Until when the sink keeps it from being deleted or changed, if the sink says so for each object.
    pub retain_until: Option<Timestamp>,
}

/// What a sink promises about what it has taken.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Promise {
    /// It promises nothing, as is its nature: there is nothing to compare with the retention.
    Nothing {
        /// What an operator should know about that.
        why: String,
    },
    /// It keeps what it has taken.
    Keeps {
        /// For how long; `None` for ever.
        retention: Option<Duration>,
        /// Whether somebody can delete it before.
        immutability: Immutability,
        /// The setting that says so, such as `Object Lock COMPLIANCE, 190 days`.
        detail: String,
    },
    /// It could promise, and does not: a bucket without lock, a topic that is compacted.
    Broken {
        /// What is missing.
        why: String,
    },
}

/// Whether what a sink keeps can be deleted before its time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Immutability {
    /// By nobody.
    Immutable,
    /// By an administrator of the sink.
    Deletable,
}

impl Promise {
    /// Whether the promise is enough for `retention`; the error says what is missing. A sink that by its nature
    /// promises nothing breaks nothing.
    pub fn suffices(&self, retention: Duration) -> Result<(), String> {
        match self {
            Self::Nothing { .. } | Self::Keeps { retention: None, .. } => Ok(()),
            Self::Keeps { retention: Some(kept), detail, .. } if *kept < retention => Err(format!(
                "it keeps records for {} days, and access_log.retention asks for {} ({detail})",
                days(*kept),
                days(retention)
            )),
            Self::Keeps { .. } => Ok(()),
            Self::Broken { why } => Err(why.clone()),
        }
    }

    /// Whether nobody can delete what the sink holds before `retention` is over.
    pub fn is_immutable_for(&self, retention: Duration) -> bool {
        matches!(self, Self::Keeps { immutability: Immutability::Immutable, .. })
            && self.suffices(retention).is_ok()
    }
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing { why } => write!(f, "nothing: {why}"),
            Self::Broken { why } => write!(f, "broken: {why}"),
            Self::Keeps { retention, immutability, detail } => {
                match retention {
                    Some(kept) => write!(f, "{} days", days(*kept))?,
                    None => write!(f, "for ever")?,
                }
                match immutability {
                    Immutability::Immutable => write!(f, ", immutable: {detail}"),
                    Immutability::Deletable => write!(f, ", deletable by an administrator: {detail}"),
                }
            }
        }
    }
}

fn days(duration: Duration) -> u64 {
    duration.as_secs() / 86_400
}
