//! A mode without records, to measure what they cost.
//!
//! Both sides of the measurement are one program, because the code layout of two builds differs by more than
//! the cost of records. A release build always keeps records.

use std::sync::LazyLock;

/// Whether every record is dropped: only in a build with the feature `unrecorded` and with
/// `ICPGATE_UNRECORDED=1` in the environment.
pub fn is_unrecorded() -> bool {
    static UNRECORDED: LazyLock<bool> =
        LazyLock::new(|| std::env::var_os("ICPGATE_UNRECORDED").is_some_and(|value| value == "1"));
    cfg!(feature = "unrecorded") && *UNRECORDED
}
