//! What a filing is at a moment: its status, or what its dates make of an approval.

use crate::clock::{Moment, Within};
use crate::gate::{Filing, FilingStatus};

/// What a filing is at a moment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum FilingState {
    /// As the allowlist says.
    Status(FilingStatus),
    /// Approved from a later day on.
    NotYetValid,
    /// Approved until an earlier day.
    Expired,
}

impl FilingState {
    /// The state of `filing` at `at`.
    pub(super) fn of(filing: &Filing, at: Moment) -> Self {
        if filing.status != FilingStatus::Approved {
            return Self::Status(filing.status);
        }
        match at.within(filing.begins, filing.ends) {
            Within::Yes => Self::Status(FilingStatus::Approved),
            Within::NotYet => Self::NotYetValid,
            Within::Ended => Self::Expired,
        }
    }

    /// The word for it: a status of the allowlist, or the gate's reason.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Status(status) => status.label(),
            Self::NotYetValid => "not_yet_valid",
            Self::Expired => "expired",
        }
    }
}
