//! Certificates and keys: chains that clients can verify, days left, keys that only their owner reads.
//!
//! Names, order and dates that are problems already come from `settings`.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use jiff::Timestamp;

use super::finding::{Check, Finding};
use crate::clock::shanghai_time;
use crate::config::{CertificateFiles, Site};
use crate::snapshot::Snapshot;
use crate::tls::Certificate;
use crate::tls::completeness::{ChainEnd, ChainFacts, SystemRoots};

/// Fewer days left than these are near, as on the status page.
const NEAR: f64 = 14.0;

/// The findings, and by site who issued its certificate.
pub(super) fn check(snapshot: &Snapshot, now: Timestamp) -> (Vec<Finding>, Vec<Option<String>>) {
    let roots = SystemRoots::load();
    let (mut findings, mut issuers) = (Vec::new(), Vec::new());
    for (site, certificate) in snapshot.config.sites.iter().zip(&snapshot.certificates) {
        let Some(files) = &site.certificate else {
            issuers.push(None);
            continue;
        };
        findings.extend(key(&files.key));
        let facts = ChainFacts::read(&files.chain, &roots);
        // A file that cannot be read is a problem already.
        findings.extend(facts.as_ref().ok().map(|facts| chain(site, files, facts)));
        if let Some(certificate) = certificate {
            findings.extend(order(site, files, certificate));
            findings.extend(days_left(site, certificate, now));
        }
        issuers.push(facts.ok().map(|facts| facts.issuer));
    }
    (findings, issuers)
}

fn subject(site: &Site) -> String {
    format!("site {}", site.name)
}

fn chain(site: &Site, files: &CertificateFiles, facts: &ChainFacts) -> Finding {
    let (subject, file) = (subject(site), files.chain.display());
    let issuer = &facts.issuer;
    match &facts.end {
        ChainEnd::SystemRoot => {
            Finding::ok(Check::Certificate, subject, format!("{file}: complete, issued by {issuer}"))
        }
        ChainEnd::NoIntermediate => Finding::fail(
            Check::Certificate,
            subject,
            format!(
                "{file}: the intermediate certificate is missing: the issuer ({issuer}) is not in the file"
            ),
            format!(
                "append the issuer's certificate: openssl x509 -in {file} -noout -ext authorityInfoAccess says where \
                 it is"
            ),
        ),
        ChainEnd::SelfSigned => Finding::warn(
            Check::Certificate,
            subject,
            format!("{file}: the certificate signs itself, and no browser trusts it"),
            "have one issued by a certification authority, by DNS-01",
        ),
        ChainEnd::OtherRoot => Finding::warn(
            Check::Certificate,
            subject,
            format!("{file}: it ends at a root that this system does not trust ({issuer})"),
            "see that your clients trust that root; browsers need a public one",
        ),
        ChainEnd::Open { issuer } => Finding::warn(
            Check::Certificate,
            subject,
            format!("{file}: the chain ends at an issuer that is no root of this system ({issuer})"),
            "append that issuer's certificate if it is an intermediate one",
        ),
    }
}

/// Wrong order, and certificates that do not belong.
fn order(site: &Site, files: &CertificateFiles, certificate: &Certificate) -> Vec<Finding> {
    let remarks = certificate.remarks.iter().filter(|remark| !remark.is_missing_issuer());
    remarks
        .map(|remark| {
            let (message, hint) = remark.describe(&files.chain);
            match remark.is_problem() {
                true => Finding::fail(Check::Certificate, subject(site), message, hint),
                false => Finding::warn(Check::Certificate, subject(site), message, hint),
            }
        })
        .collect()
}

/// `None` for a certificate outside its dates: that is a problem already.
fn days_left(site: &Site, certificate: &Certificate, now: Timestamp) -> Option<Finding> {
    let ends = certificate.coverage.ends;
    let days = ends.duration_since(now).as_secs_f64() / 86_400.0;
    let message = format!("it ends at {}, in {days:.0} days", shanghai_time(ends));
    let renewal = "the files are watched: replace both, and the new pair is served without a reload";
    if days <= 0.0 {
        return None;
    }
    Some(if days < NEAR {
        let hint = format!("renew it now, by DNS-01; {renewal}");
        Finding::warn(Check::Certificate, subject(site), message, hint)
    } else {
        Finding::ok(Check::Certificate, subject(site), format!("{message}; {renewal}"))
    })
}

/// Who may read a key. `None` if it cannot be found out: the pair is a problem then.
fn key(file: &Path) -> Option<Finding> {
    let mode = fs_err::metadata(file).ok()?.mode();
    let shown = file.display();
    Some(if mode & 0o007 != 0 {
        Finding::fail(
            Check::Key,
            shown,
            format!("every user of this machine may read it (mode {:04o})", mode & 0o7777),
            format!(
                "chmod o= {}; if others had access, have the certificate issued anew for a new key",
                file.display()
            ),
        )
    } else {
        Finding::ok(
            Check::Key,
            shown,
            format!("only its owner and group may read it (mode {:04o})", mode & 0o7777),
        )
    })
}
