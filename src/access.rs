//! The vocabulary of access records.
//!
//! Every request and every refused connection makes exactly one [`AccessRecord`]. It is stored packed, and
//! exported as a line of JSON whose field names are part of the contract. A field that does not apply is
//! absent, never empty.

pub mod export;
pub mod fields;
pub mod packed;
pub mod record;
pub mod redact;
pub mod request_id;
pub mod texts;
pub mod trace_id;
pub mod wire;

pub use record::{AccessRecord, Event, Expired, Gap, GapReason, Reason};
pub use redact::QueryRedaction;
pub use request_id::RequestId;
