//! What an exchange leaves behind: the vocabulary of access records.
//!
//! An [`AccessRecord`] is built exactly once for every request and every refused connection. It is
//! kept packed, and exported as a line of JSON, whose field names are the contract; a field that
//! does not apply is absent, never empty.

pub mod export;
pub mod fields;
pub mod packed;
pub mod record;
pub mod redact;
pub mod request_id;
pub mod texts;
pub mod wire;

pub use record::{AccessRecord, Event, Expired, Gap, GapReason};
pub use redact::QueryRedaction;
pub use request_id::RequestId;
