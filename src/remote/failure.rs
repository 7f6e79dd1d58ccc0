//! Why a request to a service failed: a sink did not take records, or an allowlist did not come.
//!
//! The kind decides what the caller does next, and it is the label of the error counter. A message never holds a
//! secret: no signature, no token, no password, no signed URL.

use std::fmt;
use std::io;
use std::time::Duration;

/// Why a request to a service failed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{}: {message}", kind.name())]
pub struct RemoteFailure {
    /// What kind of failure it is.
    pub kind: FailureKind,
    /// The place, the value and what the sink answered, for the log and the status page.
    pub message: String,
    /// How long the sink asks to be left alone.
    pub retry_after: Option<Duration>,
}

impl RemoteFailure {
    /// A failure without a wish for when to try again.
    pub fn new(kind: FailureKind, message: impl fmt::Display) -> Self {
        Self { kind, message: message.to_string(), retry_after: None }
    }

    /// The local store cannot be read: no fault of the sink.
    pub fn of_store(error: &io::Error) -> Self {
        Self::new(
            FailureKind::Unavailable,
            format_args!("the store of access records cannot be read: {error}"),
        )
    }

    /// What an I/O error on a connection or a file means.
    pub fn of_io(what: impl fmt::Display, error: &io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::TimedOut => FailureKind::TimedOut,
            io::ErrorKind::NotFound => FailureKind::Missing,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => FailureKind::Unauthorized,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => FailureKind::Full,
            io::ErrorKind::FileTooLarge => FailureKind::TooLarge,
            io::ErrorKind::AlreadyExists => FailureKind::Conflict,
            io::ErrorKind::InvalidData => FailureKind::Protocol,
            _ => FailureKind::Unreachable,
        };
        Self::new(kind, format_args!("{what}: {error}"))
    }
}

/// Kinds of failures.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum FailureKind {
    /// No connection, or it ended early.
    Unreachable,
    /// No answer within its deadline.
    TimedOut,
    /// The TLS handshake failed, or the certificate is not the sink's.
    Tls,
    /// The credentials are wrong, or do not permit this.
    Unauthorized,
    /// The credentials were right once, and have expired.
    Expired,
    /// The sink's clock and ours differ too much for a signature to count.
    ClockSkew,
    /// The bucket, topic, project or directory is not there.
    Missing,
    /// The sink asks for less at a time.
    Throttled,
    /// The sink failed itself.
    Unavailable,
    /// The sink does not take this batch, whoever sends it.
    Rejected,
    /// The batch, or a record of it, is larger than the sink takes.
    TooLarge,
    /// The sink has no space left.
    Full,
    /// The answer is not one of the sink's protocol.
    Protocol,
    /// The sink holds something else under this name.
    Conflict,
}

impl FailureKind {
    /// Every kind.
    pub const ALL: [Self; 14] = [
        Self::Unreachable,
        Self::TimedOut,
        Self::Tls,
        Self::Unauthorized,
        Self::Expired,
        Self::ClockSkew,
        Self::Missing,
        Self::Throttled,
        Self::Unavailable,
        Self::Rejected,
        Self::TooLarge,
        Self::Full,
        Self::Protocol,
        Self::Conflict,
    ];

    /// The word for it in metrics, on the status page and in the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed_out",
            Self::Tls => "tls",
            Self::Unauthorized => "unauthorized",
            Self::Expired => "expired",
            Self::ClockSkew => "clock_skew",
            Self::Missing => "missing",
            Self::Throttled => "throttled",
            Self::Unavailable => "unavailable",
            Self::Rejected => "rejected",
            Self::TooLarge => "too_large",
            Self::Full => "full",
            Self::Protocol => "protocol",
            Self::Conflict => "conflict",
        }
    }

    /// Whether it stays until somebody changes something. The lane is parked then: it raises an alarm and probes
    /// the sink once a minute.
    pub fn is_permanent(self) -> bool {
        match self {
            Self::Tls
            | Self::Unauthorized
            | Self::Expired
            | Self::ClockSkew
            | Self::Missing
            | Self::Rejected
            | Self::TooLarge
            | Self::Conflict => true,
            Self::Unreachable
            | Self::TimedOut
            | Self::Throttled
            | Self::Unavailable
            | Self::Full
            | Self::Protocol => false,
        }
    }

    /// Whether a smaller batch may succeed, so that the one record at fault is found by halving the batch.
    pub fn is_about_the_batch(self) -> bool {
        matches!(self, Self::Rejected | Self::TooLarge)
    }
}
