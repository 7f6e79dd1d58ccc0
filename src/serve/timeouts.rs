//! How long connections have that are to end.

use std::time::Duration;

/// How long a connection that has not sent its first request may still do so once the program ends.
pub(super) const FIRST_REQUEST: Duration = Duration::from_secs(1);
/// How long an idle connection may take to end once it was told to.
pub(super) const CLOSING: Duration = Duration::from_secs(1);
