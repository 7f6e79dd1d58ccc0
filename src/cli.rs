//! The command line. Exit codes: 0 fine, 1 the answer is no, 2 it could not be done.

mod answer;
mod arguments;
mod audit;
mod check;
mod demo;
mod doctor;
mod explain;
mod filings;
mod import;
pub mod logs;
mod probe;
mod purge;
mod run;
mod running;
mod upgrade;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use answer::Answer;
use arguments::{At, ConfigFile};

/// An edge proxy for mainland China that opens and serves only what is filed (ICP 备案).
#[derive(Debug, Parser)]
#[command(name = "icpgate", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve.
    Run {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Show every problem, or what would be bound, served and refused.
    Check(check::CheckArgs),
    /// Say why a host is or is not served, and where a request for a URL goes.
    Explain(explain::ExplainArgs),
    /// Serve a demonstration with its own certificates, origins and allowlist.
    Demo(demo::DemoArgs),
    /// Measure every upstream server: DNS, connect, TLS, first byte.
    Probe(probe::ProbeArgs),
    /// Audit the deployment: addresses, DNS, certificates, sinks, clock, ports, kernel, disk.
    Doctor(doctor::DoctorArgs),
    /// Show what is due for each filing, in how many hours, and what happens if it is missed.
    Filings(filings::FilingsArgs),
    /// Replace the running process by the program on disk, without downtime.
    Upgrade(upgrade::UpgradeArgs),
    /// Show what a checker sees of a page: the number, its link, foreign assets.
    Audit(audit::AuditArgs),
    /// Translate the configuration of nginx or HAProxy: on stdout what was carried over, on stderr what was not.
    Import(import::ImportArgs),
    /// Drop a URL from the edge cache of the running program.
    Purge(purge::PurgeArgs),
    /// Read and verify access records.
    Logs {
        #[command(subcommand)]
        command: LogsCommand,
    },
}

#[derive(Debug, Subcommand)]
enum LogsCommand {
    /// Print records as NDJSON, oldest first.
    Export(logs::ExportArgs),
    /// Verify that no record was changed, cut off or removed.
    Verify(logs::VerifyArgs),
    /// Show how many records there are, how fast they grow, and how long the free space lasts.
    Stat(logs::StatArgs),
    /// Show each sink's promise, its lag and its last error.
    Sinks(logs::SinksArgs),
}

/// Runs the command line.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let (out, notes) = (&mut Piped(io::stdout()), &mut Piped(io::stderr()));
    let answer = match cli.command {
        Command::Run { config } => run::run(config.file),
        Command::Check(args) => check::check(&args, out),
        Command::Explain(args) => explain::explain(&args, out, notes),
        Command::Demo(args) => demo::demo(&args, out),
        Command::Probe(args) => probe::probe(&args, out, notes),
        Command::Doctor(args) => doctor::doctor(&args, out),
        Command::Filings(args) => filings::filings(&args, out, notes),
        Command::Upgrade(args) => upgrade::upgrade(&args, out),
        Command::Purge(args) => purge::purge(&args, notes),
        Command::Audit(args) => audit::audit(&args, out, notes),
        Command::Import(args) => import::import(&args, out, notes),
        Command::Logs { command } => match command {
            LogsCommand::Export(args) => {
                // The reader closed the pipe: it has read enough.
                let out = &mut io::BufWriter::new(io::stdout().lock());
                logs::export(&args, out, notes).map(|()| Answer::Yes)
            }
            LogsCommand::Verify(args) => logs::verify(&args, out),
            LogsCommand::Sinks(args) => logs::sinks(&args, out),
            LogsCommand::Stat(args) => logs::stat(&args, out).map(|()| Answer::Yes),
        },
    };
    match answer {
        Ok(Answer::Yes) => ExitCode::SUCCESS,
        Ok(Answer::No) => ExitCode::from(1),
        Err(error) => {
            // If stderr is closed too, the exit code must do.
            let _ = writeln!(notes, "icpgate: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// A stream whose reader may close it early: that does not change the exit code.
struct Piped<W>(W);

impl<W: Write> Write for Piped<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        unless_closed(self.0.write(bytes), bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        unless_closed(self.0.flush(), ())
    }
}

/// Success, also if the reader has gone.
fn unless_closed<T>(outcome: io::Result<T>, written: T) -> io::Result<T> {
    match outcome {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(written),
        outcome => outcome,
    }
}
