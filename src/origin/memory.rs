//! What is remembered of an origin from request to request, and over a reload.

use super::retry::Budget;

/// What requests to an origin have left behind.
#[derive(Debug, Default)]
pub struct Memory {
    /// What is left for retries.
    pub budget: Budget,
}
