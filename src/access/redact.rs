//! Query parameters that must not be kept.

/// The names of the parameters whose values are redacted.
#[derive(Clone, Debug, Default)]
pub struct QueryRedaction;
