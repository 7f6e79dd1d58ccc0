//! `icpgate purge`: drops a URL from the edge cache of the running program.

use std::fmt::Write as _;
use std::io::Write;

use anyhow::Context as _;
use http::StatusCode;

use super::run::runtime;
use super::{Answer, ConfigFile, running};

/// The arguments of `purge`.
#[derive(Debug, clap::Args)]
pub(super) struct PurgeArgs {
    #[command(flatten)]
    config: ConfigFile,
    /// The URL, such as <https://www.example.cn/style.css>.
    url: String,
}

/// Drops the URL. The answer is no if no site serves its host.
pub(super) fn purge(args: &PurgeArgs, notes: &mut dyn Write) -> anyhow::Result<Answer> {
    let config = running::configuration(&args.config.file)?;
    let mut target = "/purge?url=".to_owned();
    for byte in args.url.bytes() {
        // Writing into a string cannot fail.
        let _ = match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                write!(target, "{}", byte as char)
            }
            _ => write!(target, "%{byte:02X}"),
        };
    }
    let asked = runtime()?.block_on(running::ask(&config, "POST", &target));
    let (endpoint, answer) =
        asked.with_context(|| format!("no icpgate answers at {}", config.admin.address))?;
    match answer.status {
        StatusCode::NO_CONTENT => Ok(Answer::Yes),
        StatusCode::NOT_FOUND => {
            writeln!(notes, "no site serves the host of {}", args.url)?;
            Ok(Answer::No)
        }
        status => {
            anyhow::bail!("{endpoint} answered {status}: {}", String::from_utf8_lossy(&answer.body).trim())
        }
    }
}
