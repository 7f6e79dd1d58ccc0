//! Sites with their certificates. Those without a usable one come first.

use jiff::Timestamp;

use super::filings::{certificate_level, seconds_until};
use super::language::Language;
use super::listing::{Level, Listing, Search, minute};
use crate::clock::Moment;
use crate::config::Site;
use crate::gate::SiteId;
use crate::snapshot::Snapshot;

/// Sites that are shown.
const SHOWN: usize = 100;
/// Hosts of a site that are shown.
const HOSTS: usize = 3;

#[derive(Debug)]
pub(crate) struct SiteRow {
    pub(crate) name: String,
    pub(crate) hosts: Vec<String>,
    /// Hosts that are not shown.
    pub(crate) more: usize,
    pub(crate) certificate: CertificateCell,
}

#[derive(Debug)]
pub(crate) enum CertificateCell {
    /// None is configured: the site is served in clear text alone.
    None,
    Unusable,
    Until {
        at: String,
        left: String,
        level: Level,
    },
}

/// The sites that match, the most urgent first.
pub(crate) fn listing(
    snapshot: &Snapshot,
    at: Moment,
    search: &Search,
    language: Language,
) -> Listing<SiteRow> {
    Listing::first(
        SHOWN,
        snapshot.config.sites.iter().enumerate().map(|(index, site)| (site, ends(snapshot, index, site, at))),
        |(site, _)| search.is_in([&site.name]) || search.is_in(&site.hosts),
        |(_, certificate)| match certificate {
            Some(ends) => (0, *ends),
            None => (1, None),
        },
        |(site, certificate)| SiteRow {
            name: site.name.to_string(),
            hosts: site.hosts.iter().take(HOSTS).map(ToString::to_string).collect(),
            more: site.hosts.len().saturating_sub(HOSTS),
            certificate: match certificate {
                None => CertificateCell::None,
                Some(None) => CertificateCell::Unusable,
                Some(Some(ends)) => {
                    let seconds = seconds_until(ends, at);
                    let (left, level) = (language.left(seconds), certificate_level(seconds));
                    CertificateCell::Until { at: minute(ends), left, level }
                }
            },
        },
    )
}

/// The end of the certificate; `None` if none is configured, `Some(None)` if it is not usable.
fn ends(snapshot: &Snapshot, index: usize, site: &Site, at: Moment) -> Option<Option<Timestamp>> {
    site.certificate.as_ref()?;
    let certificate = snapshot.certificate(SiteId(index));
    let usable = certificate.filter(|certificate| certificate.serves(&site.hosts, at));
    Some(usable.map(|certificate| certificate.coverage.ends))
}
