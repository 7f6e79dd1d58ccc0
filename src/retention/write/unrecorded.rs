//! A program that keeps no records, to measure what they cost.
//!
//! It is one program that is measured both ways: where the code of two of them lies makes more of a
//! difference than their records. The one that is shipped always keeps them.

use std::sync::LazyLock;

/// Whether this program drops every record: one that was built with the feature `unrecorded`, and is told
/// so by `ICPGATE_UNRECORDED=1` in its environment.
pub fn is_unrecorded() -> bool {
    static TOLD: LazyLock<bool> =
        LazyLock::new(|| std::env::var_os("ICPGATE_UNRECORDED").is_some_and(|told| told == "1"));
    cfg!(feature = "unrecorded") && *TOLD
}
