//! `icpgate audit`: what a checker sees of a page, live or in a file.

pub(super) mod fetch;

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Serialize;

use super::Answer;
use crate::app::examine;
use crate::clock::Clock;
use crate::config::report::Report;
use crate::gate::{Filing, FilingNumber, FilingStatus, SiteId};
use crate::hostname::Hostname;
use crate::regular_file;
use crate::rewrite::{
    self, AssetMapper, Audit, Charset, FooterDisplay, LinkFound, Mapped, Mapping, NumberFound,
};
use crate::snapshot::Snapshot;
use fetch::PAGE_BYTES;

/// The arguments of `audit`.
#[derive(Debug, clap::Args)]
pub(super) struct AuditArgs {
    /// The URL (http:// or https://) or the file.
    page: String,
    /// Look for the numbers of this configuration's filings; without it any valid number counts.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Look for the numbers of this host's filings alone. If the URL has an IP address, ask it for this host.
    #[arg(long, value_name = "HOST", requires = "config", value_parser = Hostname::from_unicode)]
    host: Option<Hostname>,
    /// Roots that verify the URL's server, in PEM; the system's by default.
    #[arg(long, value_name = "FILE")]
    trust: Option<PathBuf>,
    /// Print one JSON document.
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Found<'a> {
    number: &'static str,
    link: &'static str,
    foreign_assets: Vec<Asset<'a>>,
}

#[derive(Serialize)]
struct Asset<'a> {
    host: &'a str,
    url: &'a str,
    verdict: &'static str,
}

/// Audits a page. The answer is no unless it shows the number and the link, and loads nothing from a listed host.
pub(super) fn audit(args: &AuditArgs, out: &mut dyn Write, notes: &mut dyn Write) -> anyhow::Result<Answer> {
    let snapshot = match &args.config {
        Some(file) => Some(snapshot(file, notes)?),
        None => None,
    };
    let filed = match &snapshot {
        Some(snapshot) => Some(filed(snapshot, args.host.as_ref(), notes)?),
        None => None,
    };
    let (page, charset) = page(args, snapshot.as_ref())?;
    let audit = rewrite::audit(&page, charset, filed.as_deref());
    let found = Found::of(&audit);
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &found)?;
        writeln!(out)?;
    } else {
        found.print(out)?;
    }
    Ok(if audit.is_clean() { Answer::Yes } else { Answer::No })
}

/// The page and what its head says of its charset. What is in a file is mapped as the site would serve it.
fn page(args: &AuditArgs, snapshot: Option<&Snapshot>) -> anyhow::Result<(Vec<u8>, Charset)> {
    let is_url = |scheme: &str| {
        args.page.split_at_checked(scheme.len()).is_some_and(|(start, _)| start.eq_ignore_ascii_case(scheme))
    };
    if is_url("http://") || is_url("https://") {
        let fetched = fetch::fetch(&args.page, args.host.as_ref(), args.trust.as_deref());
        return super::run::runtime()?.block_on(fetched).with_context(|| args.page.clone());
    }
    anyhow::ensure!(args.trust.is_none(), "--trust is for a URL, and {} is none", args.page);
    let page = regular_file::read(Path::new(&args.page), PAGE_BYTES)?;
    let page = snapshot.and_then(|snapshot| mapped(&page, snapshot, args.host.as_ref())).unwrap_or(page);
    Ok((page, Charset::Undeclared))
}

/// The page with references to the copied assets of the host's site, or of the only one.
fn mapped(page: &[u8], snapshot: &Snapshot, host: Option<&Hostname>) -> Option<Vec<u8>> {
    let sites = &snapshot.config.sites;
    let place = match host {
        Some(host) => sites.iter().position(|site| site.hosts.iter().any(|pattern| pattern.matches(host)))?,
        None if sites.len() == 1 => 0,
        None => return None,
    };
    let map = snapshot.asset_map(SiteId(place))?;
    let mapping = Mapping { kind: Mapped::Page, coding: None, charset: Charset::Undeclared };
    let mut mapper = AssetMapper::new(mapping, map, host.map_or("", Hostname::as_str));
    let mut mapped = mapper.push(page.to_vec().into()).to_vec();
    mapped.extend(mapper.finish().0);
    Some(mapped)
}

/// The snapshot of a configuration; its problems go to `notes`.
fn snapshot(file: &Path, notes: &mut dyn Write) -> anyhow::Result<Snapshot> {
    let built = examine(file, Clock::system().now())?;
    let Some(snapshot) = built.snapshot else {
        let report: Report = built.problems.iter().collect();
        write!(notes, "{report}")?;
        anyhow::bail!("nothing was audited: mend the problems above (`icpgate check` shows them too)");
    };
    Ok(snapshot)
}

/// The numbers of `snapshot`; says so in `notes` if there is none.
fn filed(
    snapshot: &Snapshot,
    host: Option<&Hostname>,
    notes: &mut dyn Write,
) -> anyhow::Result<Vec<(FilingNumber, FooterDisplay)>> {
    let numbers = numbers(snapshot, host);
    if numbers.is_empty() {
        let of = host.map_or_else(String::new, |host| format!(" of {host}"));
        writeln!(notes, "the allowlist has no approved filing{of}: no number is the right one")?;
    }
    Ok(numbers)
}

/// The numbers of the approved filings, or of those of one host, with what its site shows of each.
pub(super) fn numbers(snapshot: &Snapshot, host: Option<&Hostname>) -> Vec<(FilingNumber, FooterDisplay)> {
    let is_wanted = |filing: &Filing| {
        let is_of_host =
            |host: &Hostname| host.registrable_domain() == Some(filing.domain.as_str()) && filing.names(host);
        filing.status == FilingStatus::Approved && host.is_none_or(is_of_host)
    };
    let filings = snapshot.gate.filings.iter().filter(|filing| is_wanted(filing));
    filings.filter_map(|filing| Some((filing.number.clone()?, display(snapshot, filing)))).collect()
}

/// What the first site with a host of the filing's domain shows.
fn display(snapshot: &Snapshot, filing: &Filing) -> FooterDisplay {
    let has_host = |site: &&crate::config::Site| {
        site.hosts.iter().any(|host| host.base().registrable_domain() == Some(filing.domain.as_str()))
    };
    snapshot.config.sites.iter().find(has_host).map(|site| site.footer.display).unwrap_or_default()
}

impl<'a> Found<'a> {
    fn of(audit: &'a Audit) -> Self {
        let asset = |asset: &'a rewrite::ForeignAsset| Asset {
            host: &asset.host,
            url: &asset.url,
            verdict: asset.verdict.label(),
        };
        Self {
            number: match audit.number {
                NumberFound::Present => "present",
                NumberFound::WrongNumber => "wrong_number",
                NumberFound::Missing => "missing",
            },
            link: match audit.link {
                LinkFound::Ok => "ok",
                LinkFound::Missing => "missing",
                LinkFound::WrongHost => "wrong_host",
            },
            foreign_assets: audit.foreign_assets.iter().map(asset).collect(),
        }
    }

    fn print(&self, out: &mut dyn Write) -> anyhow::Result<()> {
        writeln!(out, "number: {}\nlink: {}", self.number, self.link)?;
        for Asset { host, url, verdict } in &self.foreign_assets {
            // The page's author chose it: nothing in it may move the terminal's cursor.
            writeln!(out, "foreign asset: {host} is {verdict}: {}", url.escape_debug())?;
        }
        if self.foreign_assets.is_empty() {
            writeln!(out, "foreign assets: none")?;
        }
        Ok(())
    }
}
