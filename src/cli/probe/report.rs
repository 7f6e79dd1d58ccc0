//! The output of `probe`: a row per server, its failures, and the curl command to compare with.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::time::Duration;

use http::Method;
use serde::Serialize;

use crate::origin::{ProxyProtocol, Scheme};
use crate::snapshot::OriginState;
use crate::upstream::measure::{Question, Round};

#[derive(Debug, Serialize)]
pub(super) struct ProbeReport {
    pub(super) count: u32,
    pub(super) servers: Vec<ServerReport>,
}

/// One server; times are in milliseconds.
#[derive(Debug, Serialize)]
pub(super) struct ServerReport {
    origin: String,
    region: &'static str,
    server: String,
    link: String,
    /// The address of the last connection.
    address: Option<String>,
    status: Option<u16>,
    dns: Option<Times>,
    connect: Option<Times>,
    tls: Option<Times>,
    first_byte: Option<Times>,
    failed: usize,
    failures: BTreeMap<String, usize>,
    curl: String,
}

/// The times of one step, over the rounds that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
struct Times {
    min: f64,
    median: f64,
    p95: f64,
}

impl Times {
    /// `None` without any time.
    fn of(parts: impl Iterator<Item = Duration>) -> Option<Self> {
        let mut sorted: Vec<Duration> = parts.collect();
        sorted.sort_unstable();
        // The nearest-rank percentile.
        let percentile = |percent: usize| {
            let place = (sorted.len() * percent).div_ceil(100).max(1) - 1;
            sorted.get(place).map(|time| (time.as_secs_f64() * 1e5).round() / 1e2)
        };
        Some(Self { min: percentile(0)?, median: percentile(50)?, p95: percentile(95)? })
    }
}

impl ServerReport {
    pub(super) fn new(state: &OriginState, place: usize, rounds: &[Result<Round, String>]) -> Self {
        let server = state.origin.servers.get(place);
        let good = || rounds.iter().flatten();
        let mut failures = BTreeMap::new();
        for failure in rounds.iter().filter_map(|round| round.as_ref().err()) {
            *failures.entry(failure.clone()).or_default() += 1;
        }
        Self {
            origin: state.origin.name.to_string(),
            region: state.origin.region.label(),
            server: server.map(ToString::to_string).unwrap_or_default(),
            link: server.map(|server| server.link.to_string()).unwrap_or_default(),
            address: good().last().map(|round| round.address.to_string()),
            status: good().last().map(|round| round.status.as_u16()),
            dns: Times::of(good().filter_map(|round| round.lookup)),
            connect: Times::of(good().map(|round| round.connect)),
            tls: Times::of(good().filter_map(|round| round.tls)),
            first_byte: Times::of(good().map(|round| round.first_byte)),
            failed: failures.values().sum(),
            failures,
            curl: curl(state, place),
        }
    }

    pub(super) fn failed(&self) -> usize {
        self.failed
    }
}

/// The same request by curl. All of its times count from the start.
fn curl(state: &OriginState, place: usize) -> String {
    let Question { method, path, host } = Question::of(state, place);
    let server = state.origin.servers.get(place).map(ToString::to_string).unwrap_or_default();
    let mut words = vec!["curl -so /dev/null".to_owned()];
    if method == Method::HEAD {
        words.push("-I".to_owned());
    }
    if state.origin.proxy_protocol == ProxyProtocol::V2 {
        // curl sends version 1 only, which servers that expect version 2 usually accept too.
        words.push("--haproxy-protocol".to_owned());
    }
    let format = "DNS %{time_namelookup} connect %{time_connect} TLS %{time_appconnect} first byte %{time_starttransfer}\\n";
    words.push(format!("-w {}", quoted(format)));
    let (authority, url) = match &state.origin.scheme {
        Scheme::Https { server_name, trust } => {
            if let Some(trust) = trust {
                words.push(format!("--cacert {}", quoted(&trust.display().to_string())));
            }
            words.push(format!("--connect-to {}", quoted(&format!("{server_name}::{server}"))));
            (server_name.to_string(), format!("https://{server_name}{path}"))
        }
        Scheme::Http => (server.clone(), format!("http://{server}{path}")),
        Scheme::H2c => {
            words.push("--http2-prior-knowledge".to_owned());
            (server.clone(), format!("http://{server}{path}"))
        }
    };
    if host != authority {
        words.push(format!("-H {}", quoted(&format!("host: {host}"))));
    }
    words.push(quoted(&url));
    words.join(" ")
}

/// Quotes a text for a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

const HEADINGS: [&str; 9] =
    ["origin", "region", "server", "link", "DNS", "connect", "TLS", "first byte", "failed"];

pub(super) fn print(report: &ProbeReport, out: &mut dyn Write) -> io::Result<()> {
    let mut rows = vec![HEADINGS.map(str::to_owned)];
    rows.extend(report.servers.iter().map(|server| row(server, report.count)));
    let widths: Vec<usize> = (0..HEADINGS.len())
        .map(|column| rows.iter().map(|row| row.get(column).map_or(0, |cell| cell.chars().count())).max())
        .map(Option::unwrap_or_default)
        .collect();
    writeln!(out, "milliseconds: min / median / p95, over {} rounds", report.count)?;
    for row in &rows {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    for server in &report.servers {
        for (failure, count) in &server.failures {
            writeln!(
                out,
                "{} {}: {count} of {} failed: {failure}",
                server.origin, server.server, report.count
            )?;
        }
    }
    writeln!(out, "\nto compare (curl counts every time from the start):")?;
    for server in &report.servers {
        writeln!(out, "{}", server.curl)?;
    }
    Ok(())
}

fn row(server: &ServerReport, count: u32) -> [String; 9] {
    let times = |times: Option<Times>| {
        times.map_or_else(
            || "-".to_owned(),
            |Times { min, median, p95 }| format!("{min:.1} / {median:.1} / {p95:.1}"),
        )
    };
    [
        server.origin.clone(),
        server.region.to_owned(),
        server.server.clone(),
        server.link.clone(),
        times(server.dns),
        times(server.connect),
        times(server.tls),
        times(server.first_byte),
        format!("{} of {count}", server.failed),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_rounds_that_did_not_fail() {
        let times = |count: u64| Times::of((1..=count).rev().map(Duration::from_millis));
        assert_eq!(times(0), None);
        assert_eq!(times(1), Some(Times { min: 1.0, median: 1.0, p95: 1.0 }));
        assert_eq!(times(10), Some(Times { min: 1.0, median: 5.0, p95: 10.0 }));
        assert_eq!(times(100), Some(Times { min: 1.0, median: 50.0, p95: 95.0 }));
    }

    #[test]
    fn words_survive_a_shell() {
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }
}
