//! Arguments that several commands take.

use std::path::PathBuf;

use jiff::Timestamp;

/// Which configuration is meant.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ConfigFile {
    /// The configuration.
    #[arg(long = "config", value_name = "FILE", default_value = "/etc/icpgate/icpgate.yaml")]
    pub(super) file: PathBuf,
}

/// Which moment is meant.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct At {
    /// The time to judge at, RFC 3339; now by default.
    #[arg(long = "at", value_name = "TIME")]
    pub(super) time: Option<Timestamp>,
}

impl At {
    pub(super) fn or_now(&self) -> Timestamp {
        self.time.unwrap_or_else(|| crate::clock::Clock::system().now())
    }
}
