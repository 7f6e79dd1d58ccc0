//! Kafka's error codes as kinds of failures.

use crate::remote::failure::{FailureKind, RemoteFailure};

/// A broker does not take zstd; the batch is to be sent uncompressed.
pub(super) const UNSUPPORTED_COMPRESSION: i16 = 76;

/// What a code other than 0 means, in answer to `what`.
pub(super) fn failure(code: i16, what: &str) -> RemoteFailure {
    let (kind, name) = meaning(code);
    RemoteFailure::new(kind, format_args!("{what}: {name} ({code})"))
}

/// The names are those of Kafka's protocol guide. What is not listed is tried again: nothing is given up for a code that
/// a later version may bring.
fn meaning(code: i16) -> (FailureKind, &'static str) {
    use FailureKind::{
        ClockSkew, Full, Missing, Protocol, Rejected, Throttled, TimedOut, TooLarge, Unauthorized,
        Unavailable,
    };
    match code {
        2 => (Unavailable, "CORRUPT_MESSAGE"),
        3 => (Missing, "UNKNOWN_TOPIC_OR_PARTITION"),
        5 => (Unavailable, "LEADER_NOT_AVAILABLE"),
        6 => (Unavailable, "NOT_LEADER_OR_FOLLOWER"),
        7 => (TimedOut, "REQUEST_TIMED_OUT"),
        10 => (TooLarge, "MESSAGE_TOO_LARGE"),
        17 => (Missing, "INVALID_TOPIC_EXCEPTION"),
        18 => (TooLarge, "RECORD_LIST_TOO_LARGE"),
        19 => (Unavailable, "NOT_ENOUGH_REPLICAS"),
        20 => (Unavailable, "NOT_ENOUGH_REPLICAS_AFTER_APPEND"),
        29 => (Unauthorized, "TOPIC_AUTHORIZATION_FAILED"),
        31 => (Unauthorized, "CLUSTER_AUTHORIZATION_FAILED"),
        // The record is older or newer than the topic takes; a record is not to blame for that.
        32 => (ClockSkew, "INVALID_TIMESTAMP"),
        33 => (Unauthorized, "UNSUPPORTED_SASL_MECHANISM"),
        34 => (Protocol, "ILLEGAL_SASL_STATE"),
        35 => (Protocol, "UNSUPPORTED_VERSION"),
        42 => (Protocol, "INVALID_REQUEST"),
        43 => (Protocol, "UNSUPPORTED_FOR_MESSAGE_FORMAT"),
        44 => (Rejected, "POLICY_VIOLATION"),
        54 => (Unauthorized, "SECURITY_DISABLED"),
        56 => (Full, "KAFKA_STORAGE_ERROR"),
        58 => (Unauthorized, "SASL_AUTHENTICATION_FAILED"),
        UNSUPPORTED_COMPRESSION => (Unavailable, "UNSUPPORTED_COMPRESSION_TYPE"),
        87 => (Rejected, "INVALID_RECORD"),
        89 => (Throttled, "THROTTLING_QUOTA_EXCEEDED"),
        _ => (Unavailable, "an error"),
    }
}
