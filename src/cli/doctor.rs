//! `icpgate doctor`: audits a deployment before and after it opens.
//!
//! Every check is a function that yields findings; none changes anything. Each question to the network has a deadline.

mod addresses;
mod certificates;
mod clock;
mod cloud;
mod disk;
mod finding;
mod issuers;
mod machine;
mod names;
mod ntp;
mod pages;
mod ports;
mod settings;
mod sinks;
mod system;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

use super::answer::Answer;
use super::arguments::ConfigFile;
use super::run::runtime;
use super::running;
use crate::app::examine;
use crate::clock::{Clock, Moment};
use crate::snapshot::Snapshot;
use cloud::CloudAddresses;
use finding::{Finding, Level};

/// For the answer of the running program at its admin address.
const PATIENCE: Duration = Duration::from_secs(5);

/// The arguments of `doctor`.
#[derive(Debug, clap::Args)]
pub(super) struct DoctorArgs {
    #[command(flatten)]
    config: ConfigFile,
    /// Leave out what asks the network: name servers, the cloud's metadata, sinks, time servers, the sites' pages.
    #[arg(long)]
    offline: bool,
    /// Compare the clock with this time server (HOST or HOST:PORT) in place of Alibaba's and Tencent's; may be repeated.
    #[arg(long, value_name = "HOST")]
    ntp: Vec<String>,
    /// Ask this metadata service (IP:PORT) for the machine's public addresses in place of Alibaba's and Tencent's.
    #[arg(long, value_name = "ADDRESS")]
    metadata: Option<SocketAddr>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct DoctorReport {
    /// The worst first.
    findings: Vec<Finding>,
}

/// Prints every finding. The answer is no if one fails.
pub(super) fn doctor(args: &DoctorArgs, out: &mut dyn Write) -> anyhow::Result<Answer> {
    let clock = Clock::system();
    let built = examine(&args.config.file, clock.now())?;
    let mut findings = settings::problems(&built.problems, built.snapshot.is_none());
    if let Some(snapshot) = &built.snapshot {
        findings.extend(runtime()?.block_on(look(args, snapshot, &clock)));
    }
    findings.sort_by_key(|finding| (finding.level, finding.check));
    let report = DoctorReport { findings };
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &report)?;
        writeln!(out)?;
    } else {
        print(&report.findings, out)?;
    }
    let fails = report.findings.iter().any(|finding| finding.level == Level::Fail);
    Ok(if fails { Answer::No } else { Answer::Yes })
}

/// Every check of a configuration that can be served.
async fn look(args: &DoctorArgs, snapshot: &Snapshot, clock: &Clock) -> Vec<Finding> {
    let config = &snapshot.config;
    let at = clock.now();
    // The admin address is this machine's: it is asked offline too.
    let running = tokio::time::timeout(PATIENCE, running::status(config)).await;
    let running = running.ok().and_then(Result::ok);
    let process = running.as_ref().and_then(|status| status["process"]["pid"].as_u64());
    let mut findings = settings::risks(config);
    findings.extend(settings::top_level_domains(snapshot));
    let (certificates, issuers) = certificates::check(snapshot, at);
    findings.extend(certificates);
    findings.extend(sinks::clear_text(config));
    findings.push(disk::check(config));
    findings.push(clock::synchronized());
    findings.extend(ports::check(config, running.as_ref()));
    findings.push(system::descriptors(config, process));
    findings.extend(system::kernel(config));
    let cloud = if args.offline {
        CloudAddresses::NotAsked
    } else {
        let bound = ports::held(running.as_ref());
        let (cloud, names, sinks, offsets, pages) = tokio::join!(
            cloud::ask(args.metadata),
            names::check(snapshot, &issuers, Moment::at(at)),
            sinks::promises(config),
            clock::offsets(&args.ntp, clock),
            pages::check(snapshot, &bound, Moment::at(at)),
        );
        findings.extend([names, sinks, offsets, pages].into_iter().flatten());
        cloud
    };
    findings.extend(addresses::check(snapshot, &machine::addresses(), &cloud));
    findings
}

fn print(findings: &[Finding], out: &mut dyn Write) -> io::Result<()> {
    for (level, heading) in
        [(Level::Fail, "fails"), (Level::Warn, "needs a look"), (Level::Ok, "is as it should be")]
    {
        let of_level = || findings.iter().filter(|finding| finding.level == level);
        if of_level().next().is_none() {
            continue;
        }
        writeln!(out, "{heading}:")?;
        for Finding { check, subject, message, hint, .. } in of_level() {
            writeln!(out, "  {} {subject}: {message}", check.label())?;
            if let Some(hint) = hint {
                writeln!(out, "      -> {hint}")?;
            }
        }
    }
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let (fails, warns, fine) = (count(Level::Fail), count(Level::Warn), count(Level::Ok));
    writeln!(out, "{fails} fail, {warns} need a look, {fine} are fine")
}
