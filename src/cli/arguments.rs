//! Arguments that several commands share.

use std::path::PathBuf;

use jiff::Timestamp;
use jiff::civil::Date;

use crate::clock::start_of_day;

/// The configuration to read.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct ConfigFile {
    /// The configuration file.
    #[arg(long = "config", value_name = "FILE", default_value = "/etc/icpgate/icpgate.yaml")]
    pub(super) file: PathBuf,
}

/// The time to judge at.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct At {
    /// The time to judge at: RFC 3339, or a day such as 2026-12-01 for its start in Shanghai; now by default.
    #[arg(long = "at", value_name = "TIME", value_parser = time_or_day)]
    pub(super) time: Option<Timestamp>,
}

/// Parses a time, or a day for its start in Asia/Shanghai.
fn time_or_day(text: &str) -> Result<Timestamp, String> {
    let day =
        || text.parse::<Date>().ok().filter(|_| text.len() == "2026-12-01".len()).and_then(start_of_day);
    text.parse()
        .ok()
        .or_else(day)
        .ok_or_else(|| "a time is written as 2026-12-01T00:00:00+08:00, or as a day, 2026-12-01".to_owned())
}

impl At {
    pub(super) fn or_now(&self) -> Timestamp {
        self.time.unwrap_or_else(|| crate::clock::Clock::system().now())
    }
}
