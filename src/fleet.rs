//! The allowlist from afar: fetched from a URL or etcd, checked, kept on disk, and handed to a reload.
//!
//! What does not pass every check changes nothing. The last allowlist that did is kept on disk beside its serial, so that
//! a restart neither waits for the source nor forgets which serials are in the past.

pub mod copy;
mod etcd;
mod follow;
pub mod metrics;
mod signature;
pub mod status;
mod url;

use std::sync::Arc;

use bytes::Bytes;

use crate::config::LoadResult;
use crate::config::filings_source::RemoteFilings;
use crate::config::problem::Problem;
use crate::gate::Filings;
use crate::remote::failure::RemoteFailure;

pub use follow::Follower;
pub use signature::key_text;

/// An allowlist that a source gave and that passed every check.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// The source.
    pub source: Arc<RemoteFilings>,
    /// The filings, and warnings about them.
    pub filings: LoadResult<Filings>,
}

/// What following a source came to.
#[derive(Debug)]
pub enum News {
    /// There is a new allowlist.
    Changed(Box<Fetched>),
    /// The source still holds the allowlist in force.
    Confirmed,
    /// The source holds something that does not pass the checks.
    Rejected(Vec<Problem>),
    /// The source did not answer.
    Failed,
}

/// The allowlist that was accepted last: what the next one is compared with.
#[derive(Clone, Debug, Default)]
struct Held {
    /// SHA-256 of its bytes; empty before the first.
    digest: String,
    /// What the source calls this version: an ETag, or a revision of etcd.
    version: Option<String>,
    /// The serial of its signature.
    serial: Option<u64>,
    /// The key that its signature was verified by.
    verified_by: Option<String>,
}

/// What a source gave.
#[derive(Debug)]
enum Answer {
    /// It still holds the version that we have.
    Unchanged,
    /// It holds this.
    Content(Content),
}

/// An allowlist as a source gave it. Its signature is verified, its text is not read yet.
#[derive(Debug)]
struct Content {
    body: Bytes,
    version: Option<String>,
    serial: Option<u64>,
    verified_by: Option<String>,
}

/// Why a source gave nothing that can be used.
#[derive(Debug)]
enum NoAnswer {
    /// It did not answer. It may do so later, with what is in force.
    Failed(RemoteFailure),
    /// It gave something wrong, for this reason.
    Rejected(String),
}

impl From<RemoteFailure> for NoAnswer {
    fn from(failure: RemoteFailure) -> Self {
        Self::Failed(failure)
    }
}
