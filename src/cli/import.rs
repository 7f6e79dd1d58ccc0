//! `icpgate import`: a first configuration from that of nginx or HAProxy.
//!
//! The configuration goes to stdout. Every directive that was not carried over goes to stderr, with its place and
//! the reason.

mod haproxy;
mod nginx;
mod plan;
mod write;

use std::io::Write;
use std::path::PathBuf;

use super::answer::Answer;

/// The arguments of `import`.
#[derive(Debug, clap::Args)]
pub(super) struct ImportArgs {
    #[command(subcommand)]
    source: Source,
}

#[derive(Debug, clap::Subcommand)]
enum Source {
    /// From an nginx configuration; `include` is followed.
    Nginx {
        /// The main file, such as /etc/nginx/nginx.conf.
        file: PathBuf,
    },
    /// From an HAProxy configuration.
    Haproxy {
        /// The file, such as /etc/haproxy/haproxy.cfg.
        file: PathBuf,
    },
}

/// Imports. The answer is no if nothing could be carried over.
pub(super) fn import(
    args: &ImportArgs,
    out: &mut dyn Write,
    notes: &mut dyn Write,
) -> anyhow::Result<Answer> {
    let mut plan = match &args.source {
        Source::Nginx { file } => nginx::import(file)?,
        Source::Haproxy { file } => haproxy::import(file)?,
    };
    plan.keep_known_keys();
    out.write_all(write::yaml(&plan).as_bytes())?;
    for note in &plan.notes {
        writeln!(notes, "{}: {}: not carried over: {}", note.place, note.directive, note.reason)?;
    }
    Ok(if plan.sites.is_empty() { Answer::No } else { Answer::Yes })
}
