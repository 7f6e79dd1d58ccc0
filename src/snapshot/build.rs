//! Builds a snapshot from files: configuration, allowlist, certificates, roots.
//!
//! Everything is read and every problem collected first. A fatal problem means no snapshot.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use rustls::pki_types::ServerName;

use super::allowlist;
use super::assets::AssetFolders;
use super::pairs::{PairPlace, Pairs};
use super::sources::{Read, Sources};
use super::{OriginState, OriginTls, Regions, ServerState, Snapshot, Stamps, kernel};
use crate::access::QueryRedaction;
use crate::clock::Moment;
use crate::config::problem::{Problem, Severity};
use crate::config::{self, Config, FilingsSource, LoadResult, NamedFiles, Protocol, Site, Unreadable};
use crate::fleet::Fetched;
use crate::gate::{CertificateNeed, Filings, Gate, ListenerGate, ListenerId, SiteId};
use crate::hostname::Hostname;
use crate::origin::ring::Ring;
use crate::origin::{Balance, Links, Origin, Scheme};
use crate::rate::RateLimiter;
use crate::rewrite::Footers;
use crate::tls::roots::{Roots, http1_alone};
use crate::tls::{Certificate, Tickets};

/// The result of a build.
#[derive(Debug)]
pub struct BuildResult {
    /// `None` if a problem is fatal.
    pub snapshot: Option<Snapshot>,
    /// Every problem, in the order of the files.
    pub problems: Vec<Problem>,
    /// The files that were read or looked for. A change of any of them calls for another build.
    pub files: Stamps,
    /// The configuration, if it can be read: with a fatal problem elsewhere too.
    pub config: Option<Arc<Config>>,
}

/// Builds from the configuration at `file`. Unchanged files are taken from `previous`, and so is the certificate
/// of a site whose new one cannot be used. An allowlist that is no file is taken from `fetched`, from `previous`, or
/// from the copy on disk.
///
/// Fails if the configuration or the allowlist cannot be read.
pub fn build(
    file: &Path,
    previous: Option<&Snapshot>,
    fetched: &[Fetched],
    tickets: &Tickets,
    at: Timestamp,
) -> Result<BuildResult, Unreadable> {
    let mut files = Stamps::default();
    let known = previous.map(|previous| &*previous.sources);
    let read_config = Read::again(file, known.map(|known| &known.config), &mut files, || {
        let LoadResult { value, problems } = config::load(file)?;
        Ok::<_, Unreadable>(LoadResult { value: value.map(Arc::new), problems })
    })?;
    let mut problems = read_config.problems.clone();
    let Some(config) = read_config.value.clone() else {
        problems.extend(problems_of_named_files(file, tickets, at, &mut files));
        return Ok(BuildResult { snapshot: None, problems, files, config: None });
    };
    let known_filings = known.map(|known| &known.filings);
    let read_filings = match &config.filings {
        FilingsSource::File(allowlist) => Read::again(allowlist, known_filings, &mut files, || {
            let loaded = config::filings::load(allowlist, at)?;
            Ok::<_, Unreadable>(allowlist::sharing(loaded, known_filings))
        })?,
        FilingsSource::Remote(source) => {
            problems.extend(allowlist::problems_of_keys(&config.file, source, &mut files));
            allowlist::fetched(&config, source, known_filings, fetched, at)
        }
    };
    problems.extend(read_filings.problems.iter().cloned());

    let wanted = config.sites.iter().filter_map(|site| site.certificate.as_ref());
    let pairs = Pairs::load(wanted, known.map(|known| &known.pairs), tickets, &mut files);
    let kept = previous.map(certificates_by_site).unwrap_or_default();
    let places = config.sites.iter().enumerate();
    let certificates: Vec<_> = places
        .map(|(place, site)| {
            let kept = kept.get(&*site.name).copied();
            certificate(&config, place, site, &pairs, kept, at, &mut problems)
        })
        .collect();
    let mut origins = Vec::with_capacity(config.origins.len());
    for (place, origin) in config.origins.iter().enumerate() {
        if let Scheme::Https { trust: Some(trust), .. } = &origin.scheme {
            files.take(trust);
        }
        origins.extend(origin_state(&config, place, origin, previous, &mut problems).map(Arc::new));
    }

    let assets = AssetFolders::load(&config, known.map(|known| &known.assets), &mut files, &mut problems);
    let regions = match &config.client_regions {
        Some(file) => regions(file, previous, &mut files, &mut problems),
        None => None,
    };
    let fatal = problems.iter().any(|problem| problem.severity == Severity::Fatal);
    let snapshot = read_filings.value.clone().filter(|_| !fatal).map(|filings| {
        let gate = gate(&config, filings, &certificates);
        let generation = previous.map_or(1, |previous| previous.generation + 1);
        let redaction = QueryRedaction::new(&config.access_log.redact_query);
        let dates = dates(&gate.filings, &certificates);
        let config = Arc::clone(&config);
        let sources = Arc::new(Sources { config: read_config, filings: read_filings, pairs, assets });
        let footers = Footers::new(config.sites.iter().map(|site| &site.footer));
        let rate_limiters = rate_limiters(&config, previous);
        let asset_maps = sources.assets.maps(&config);
        Snapshot {
            generation,
            config,
            gate,
            certificates,
            origins,
            redaction,
            regions,
            rate_limiters,
            footers,
            asset_maps,
            sources,
            dates,
        }
    });
    Ok(BuildResult { snapshot, problems, files, config: Some(config) })
}

/// The problems of the configuration at `file` and of every file that it names, for a [`build`] that fails because the
/// allowlist cannot be read, which is one of them.
pub fn problems(file: &Path, tickets: &Tickets, at: Timestamp) -> Result<Vec<Problem>, Unreadable> {
    let mut problems = config::load(file)?.problems;
    problems.extend(problems_of_named_files(file, tickets, at, &mut Stamps::default()));
    Ok(problems)
}

/// The problems of the files that a broken configuration names, so that all are reported at once.
fn problems_of_named_files(
    file: &Path,
    tickets: &Tickets,
    at: Timestamp,
    files: &mut Stamps,
) -> Vec<Problem> {
    let named = NamedFiles::of(file);
    let mut problems = Vec::new();
    if let Some(allowlist) = &named.filings {
        files.take(allowlist);
        problems.extend(problems_of_allowlist(allowlist, at));
    }
    let pairs = Pairs::load(named.certificates.iter().map(|(_, pair)| pair), None, tickets, files);
    for (site, pair_files) in &named.certificates {
        if let Some(pair) = pairs.get(pair_files) {
            let place = PairPlace { config: file, site: *site, files: pair_files };
            let _ = pair.judge(&place, false, at, &mut problems);
        }
    }
    for (place, trust) in &named.trust {
        files.take(trust);
        problems.extend(Roots::load(Some(trust)).err().map(|error| bad_trust(file, *place, error)));
    }
    if let Some(regions) = &named.client_regions {
        files.take(regions);
        problems.extend(config::regions::load(regions).problems);
    }
    problems
}

fn problems_of_allowlist(file: &Path, at: Timestamp) -> Vec<Problem> {
    match config::filings::load(file, at) {
        Ok(loaded) => loaded.problems,
        Err(Unreadable { path, reason }) => vec![Problem {
            severity: Severity::Fatal,
            file: path,
            place: String::new(),
            message: format!("it cannot be read: {reason}"),
            hint: None,
        }],
    }
}

fn bad_trust(config: &Path, place: usize, message: String) -> Problem {
    Problem {
        severity: Severity::Fatal,
        file: config.to_owned(),
        place: format!("origins[{place}].trust"),
        message,
        hint: Some("give a PEM file with the certificates of the origin's CA".to_owned()),
    }
}

/// The client regions of `file`. A country database is large: it is read again only when it has changed.
fn regions(
    file: &Path,
    previous: Option<&Snapshot>,
    files: &mut Stamps,
    problems: &mut Vec<Problem>,
) -> Option<Regions> {
    let mut stamp = Stamps::default();
    stamp.take(file);
    files.take(file);
    let known = previous.and_then(|previous| previous.regions.as_ref());
    if let Some(known) = known.filter(|known| known.stamp == stamp) {
        return Some(known.clone());
    }
    let loaded = config::regions::load(file);
    problems.extend(loaded.problems);
    Some(Regions { table: Arc::new(loaded.value?), stamp })
}

/// The limiters of the sites. What was counted stays while a site's limit is the same.
fn rate_limiters(config: &Config, previous: Option<&Snapshot>) -> Vec<Option<Arc<RateLimiter>>> {
    let known: HashMap<&str, &Arc<RateLimiter>> = previous
        .into_iter()
        .flat_map(|previous| previous.config.sites.iter().zip(&previous.rate_limiters))
        .filter_map(|(site, limiter)| Some((&*site.name, limiter.as_ref()?)))
        .collect();
    let limiter = |site: &Site| {
        let limit = site.rate_limit?;
        let same = known.get(&*site.name).filter(|known| known.limit() == limit);
        Some(same.map_or_else(|| Arc::new(RateLimiter::new(limit)), |known| Arc::clone(known)))
    };
    config.sites.iter().map(limiter).collect()
}

fn certificates_by_site(snapshot: &Snapshot) -> HashMap<&str, &Arc<Certificate>> {
    let sites = snapshot.config.sites.iter().zip(&snapshot.certificates);
    sites.filter_map(|(site, certificate)| Some((&*site.name, certificate.as_ref()?))).collect()
}

/// Every instant at which the gate's answer may change without a reload, sorted.
fn dates(filings: &Filings, certificates: &[Option<Arc<Certificate>>]) -> Vec<Timestamp> {
    let of_certificates = certificates
        .iter()
        .flatten()
        .flat_map(|certificate| [certificate.coverage.begins, certificate.coverage.ends]);
    let all: BTreeSet<Timestamp> = filings.dates().chain(of_certificates).collect();
    all.into_iter().collect()
}

/// The certificate of a site; the previous one while the new one cannot be used.
fn certificate(
    config: &Config,
    place: usize,
    site: &Site,
    pairs: &Pairs,
    kept: Option<&Arc<Certificate>>,
    at: Timestamp,
    problems: &mut Vec<Problem>,
) -> Option<Arc<Certificate>> {
    let files = site.certificate.as_ref()?;
    let pair = pairs.get(files)?;
    let of_pair = PairPlace { config: &config.file, site: place, files };
    if site.acme.is_some() && pair.is_missing() {
        let message = format!("{} is not there yet: the certificate is to be ordered", files.chain.display());
        let hint = "`icpgate run` orders it; until it is issued, the site is refused with no_certificate";
        problems.push(of_pair.problem(Severity::Warning, ".acme", message, hint));
        return kept.map(Arc::clone);
    }
    let Some(loaded) = pair.judge(&of_pair, kept.is_some(), at, problems) else {
        return kept.map(Arc::clone);
    };
    for host in site.hosts.iter().filter(|host| !loaded.covers(host)) {
        let message = format!("the certificate in {} is not for {host}", files.chain.display());
        let (severity, hint) = match site.acme {
            Some(_) => (Severity::Warning, "a new one is ordered for every host of the site"),
            None => (Severity::Degraded, "have it issued for every host of the site"),
        };
        problems.push(of_pair.problem(severity, "", message, hint));
    }
    // The previous certificate stays while the new one serves no host and the previous one does.
    let serves = |pair: &Arc<Certificate>| pair.serves(&site.hosts, Moment::at(at));
    let stays = kept.filter(|kept| !serves(loaded) && serves(kept));
    Some(Arc::clone(stays.unwrap_or(loaded)))
}

fn origin_state(
    config: &Config,
    place: usize,
    origin: &Origin,
    previous: Option<&Snapshot>,
    problems: &mut Vec<Problem>,
) -> Option<OriginState> {
    let before =
        previous.and_then(|previous| previous.origins.iter().find(|known| known.origin.name == origin.name));
    if let Some(congestion) = &origin.congestion
        && let Err(message) = kernel::offers_congestion(congestion)
    {
        problems.push(Problem {
            severity: Severity::Warning,
            file: config.file.clone(),
            place: format!("origins[{place}].congestion"),
            message,
            hint: Some(format!(
                "load it (modprobe tcp_{congestion}) and allow it (sysctl net.ipv4.tcp_allowed_congestion_control); \
                 until then the system's own is used"
            )),
        });
    }
    let tls = match &origin.scheme {
        Scheme::Http | Scheme::H2c => None,
        Scheme::Https { server_name, trust } => match origin_tls(server_name, trust.as_deref(), before) {
            Ok(tls) => Some(tls),
            Err(message) => {
                problems.push(bad_trust(&config.file, place, message));
                return None;
            }
        },
    };
    // Server state is reused only if the scheme and the verification are unchanged, so that no idle connection
    // outlives the verification it was made under.
    let known: HashMap<&str, &Arc<ServerState>> = before
        .filter(|known| match (&known.tls, &tls) {
            (Some(known), Some(tls)) => tls.verifies_as(known),
            (None, None) => known.origin.scheme == origin.scheme,
            _ => false,
        })
        .map(|known| known.servers.iter().map(|server| (server.label.as_str(), server)).collect())
        .unwrap_or_default();
    let servers = origin
        .servers
        .iter()
        .map(|server| {
            let label = server.to_string();
            known.get(label.as_str()).map_or_else(
                || {
                    Arc::new(ServerState {
                        label: label.clone(),
                        health: Default::default(),
                        load: Default::default(),
                        connect_time: Default::default(),
                        tls_time: Default::default(),
                        path: Default::default(),
                        kept: Default::default(),
                    })
                },
                |known| Arc::clone(known),
            )
        })
        .collect();
    Some(OriginState {
        origin: origin.clone(),
        tls,
        servers,
        budget: before.map(|before| Arc::clone(&before.budget)).unwrap_or_default(),
        links: Links::new(origin, before.map(|before| &before.links)),
        ring: (origin.balance != Balance::LeastLoaded).then(|| Ring::new(&origin.servers)),
        turn: Default::default(),
    })
}

/// TLS to an origin. The previous value is reused while nothing has changed, so that sessions are resumed.
fn origin_tls(
    server_name: &Hostname,
    trust: Option<&Path>,
    before: Option<&Arc<OriginState>>,
) -> Result<OriginTls, String> {
    let loaded = Roots::load(trust)?;
    let server_name =
        ServerName::try_from(server_name.as_str().to_owned()).map_err(|error| error.to_string())?;
    let roots = loaded.fingerprint;
    let known = before.and_then(|before| before.tls.as_ref());
    match known.filter(|known| known.roots == roots && known.server_name == server_name) {
        Some(known) => Ok(known.clone()),
        None => {
            let config = loaded.client_config()?;
            Ok(OriginTls { http1: http1_alone(&config), config, server_name, roots })
        }
    }
}

fn gate(config: &Config, filings: Filings, certificates: &[Option<Arc<Certificate>>]) -> Gate {
    let listeners = config.listeners.iter().enumerate().map(|(place, listener)| {
        let need = match listener.protocol {
            Protocol::Https { .. } => CertificateNeed::Required,
            Protocol::Http { .. } => CertificateNeed::None,
        };
        let mut gate = ListenerGate::new(listener.public_addresses.clone(), need);
        let sites = config.sites.iter().zip(certificates).enumerate();
        for (site_place, (site, certificate)) in
            sites.filter(|(_, (site, _))| site.listeners.contains(&ListenerId(place)))
        {
            let coverage = certificate.as_ref().map(|certificate| &certificate.coverage);
            for pattern in &site.hosts {
                gate.serve(pattern, SiteId(site_place), coverage);
            }
        }
        gate
    });
    Gate { listeners: listeners.collect(), filings }
}
