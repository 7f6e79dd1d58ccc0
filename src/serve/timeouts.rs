//! How long connections may take to end.

use std::time::Duration;

/// Time for the first request of a connection once the program stops.
pub(super) const FIRST_REQUEST: Duration = Duration::from_secs(1);
/// Time for an idle connection to end after GOAWAY or FIN.
pub(super) const CLOSING: Duration = Duration::from_secs(1);
