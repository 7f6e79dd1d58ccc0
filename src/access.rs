//! What an exchange leaves behind: the vocabulary of access records.
//!
//! An [`AccessRecord`] is built exactly once for every request and every refused connection. Its
//! field names are those of `logs export`; a field that does not apply is absent, never empty.

pub mod export;
pub mod record;
pub mod redact;

pub use record::{AccessRecord, Event, Expired, Gap, GapReason};
pub use redact::QueryRedaction;
