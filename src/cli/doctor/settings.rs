//! The configuration's own problems and risks.

use super::finding::{Check, Finding};
use crate::config::problem::{Problem, Severity};
use crate::config::{ClientAddressSource, Config, WhenFull};
use crate::gate::top_level::{TopLevel, top_level};
use crate::rewrite::FooterPages;
use crate::snapshot::Snapshot;

/// Every problem of the files. Those that a check of its own looks at are left to it, unless `alone`: then no other
/// check runs.
pub(super) fn problems(problems: &[Problem], alone: bool) -> Vec<Finding> {
    let kept = problems.iter().filter(|problem| alone || !has_check_of_its_own(problem));
    kept.map(|problem| {
        let is_certificate = problem.place.starts_with("sites[") && problem.place.contains("].certificate");
        let check = if is_certificate { Check::Certificate } else { Check::Configuration };
        let file = problem.file.file_name().unwrap_or_default().to_string_lossy();
        let subject =
            if problem.place.is_empty() { file.into_owned() } else { format!("{file}: {}", problem.place) };
        let hint =
            problem.hint.clone().unwrap_or_else(|| "correct it; `icpgate check` shows it too".to_owned());
        match problem.severity {
            Severity::Warning => Finding::warn(check, subject, &*problem.message, hint),
            Severity::Degraded | Severity::Fatal => Finding::fail(check, subject, &*problem.message, hint),
        }
    })
    .collect()
}

fn has_check_of_its_own(problem: &Problem) -> bool {
    let Problem { place, message, .. } = problem;
    let certificate = place.ends_with("].certificate.chain") || place.ends_with("].certificate.key");
    let top_level = place.ends_with("].domain") && message.contains("top-level domain");
    let sink = place.starts_with("access_log.sinks[") && message.starts_with("records go to ");
    certificate || top_level || sink
}

/// Settings that are allowed, and that an operator should have chosen knowingly.
pub(super) fn risks(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    for listener in &config.listeners {
        let everyone = listener.trusted_proxies.iter().find(|network| network.prefix_len() == 0);
        if let Some(network) = everyone {
            findings.push(Finding::fail(
                Check::Configuration,
                format!("listener {}", listener.name),
                format!("trusted_proxies has {network}: every client can write any address into the records"),
                "name the addresses of your own proxies alone",
            ));
        }
        if matches!(&listener.client_address, ClientAddressSource::ProxyHeader(trusted) if trusted.iter().any(|network| network.prefix_len() == 0))
        {
            findings.push(Finding::fail(
                Check::Configuration,
                format!("listener {}", listener.name),
                "proxy_protocol.trusted is everywhere: every peer can claim any client address",
                "name the load balancer's own addresses",
            ));
        }
    }
    if config.access_log.when_full == WhenFull::Drop {
        findings.push(Finding::warn(
            Check::Configuration,
            "access_log.when_full",
            "drop: on a full disk requests are served without a record",
            "write `when_full: refuse`, unless service matters more to you than the evidence",
        ));
    }
    if config.sinks.is_empty() {
        findings.push(Finding::warn(
            Check::Configuration,
            "access_log.sinks",
            "there is no sink: when this disk is lost, so is the evidence",
            "ship records to a store with a lock: docs/sinks.md",
        ));
    }
    for site in config.sites.iter().filter(|site| site.footer.pages == FooterPages::Off) {
        findings.push(Finding::warn(
            Check::Configuration,
            format!("site {}", site.name),
            "footer: off: pages show the filing's number only if the origin writes it",
            "see that every page has the number with its link, or remove `footer: off`",
        ));
    }
    findings
}

/// Whether the domains' top-level domains can be filed. What is not known is not reported: the list of what the
/// ministry has approved is not complete.
pub(super) fn top_level_domains(snapshot: &Snapshot) -> Vec<Finding> {
    let mut findings = Vec::new();
    for filing in snapshot.gate.filings.iter() {
        let top = filing.domain.top_level_domain();
        if top_level(top) == TopLevel::NotApproved {
            findings.push(Finding::warn(
                Check::TopLevelDomain,
                &filing.domain,
                format!("the ministry has not approved .{top} (estimate)"),
                "look it up at domain.miit.gov.cn; only filings from before 2018 stay valid: choose another domain \
                 for a new one",
            ));
        }
    }
    if findings.is_empty() {
        let message = "none is known to be refused by the ministry (estimate)";
        findings.push(Finding::ok(Check::TopLevelDomain, "filings", message));
    }
    findings
}
