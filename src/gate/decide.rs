//! The decision itself.
//!
//! No I/O, no clock, no log: whatever the answer depends on is in the arguments.

use std::sync::Arc;

use super::{BindPermit, CertificateNeed, Filing, Gate, ListenerGate, ListenerId, Permit, Refusal};
use crate::clock::Moment;
use crate::hostname::{HostPattern, Hostname};

/// Decides whether `host` may be served on `listener` at `at`.
pub fn decide(gate: &Gate, listener: ListenerId, host: &Hostname, at: Moment) -> Result<Permit, Refusal> {
    let listener = gate.listeners.get(listener.0).ok_or(Refusal::NoSite)?;
    let filing = filing_for(gate, listener, host, at)?;
    let served = listener.hosts.get(host).ok_or(Refusal::NoSite)?;
    if listener.certificate == CertificateNeed::Required && !served.certified.covers(host, at) {
        return Err(Refusal::NoCertificate);
    }
    Ok(Permit { host: host.clone(), site: served.site, filing: Arc::clone(filing) })
}

/// Decides whether the addresses of `listener` may be bound at `at`: while a host is permitted on it.
/// The refusal is that of the host that is nearest to being served.
pub fn bind(gate: &Gate, listener: ListenerId, at: Moment) -> Result<BindPermit, Refusal> {
    let mut nearest = Refusal::NoSite;
    for pattern in gate.listeners.get(listener.0).map_or(&[][..], |known| &known.patterns) {
        match decide_pattern(gate, listener, pattern, at) {
            Ok(_) => return Ok(BindPermit { listener }),
            Err(refusal) => nearest = nearer(nearest, refusal),
        }
    }
    Err(nearest)
}

/// For each configured host of a listener, the permit or the refusal.
pub fn permitted_patterns(
    gate: &Gate,
    listener: ListenerId,
    at: Moment,
) -> impl Iterator<Item = (&HostPattern, Result<Permit, Refusal>)> {
    gate.listeners
        .get(listener.0)
        .map_or(&[][..], |known| &known.patterns)
        .iter()
        .map(move |pattern| (pattern, decide_pattern(gate, listener, pattern, at)))
}

/// A wildcard is permitted while any name it stands for is: one that the filing or the certificate
/// names, or else any.
fn decide_pattern(
    gate: &Gate,
    listener: ListenerId,
    pattern: &HostPattern,
    at: Moment,
) -> Result<Permit, Refusal> {
    let representative = pattern.representative().map_err(Refusal::from)?;
    let answer = decide(gate, listener, &representative, at);
    let HostPattern::Wildcard(base) = pattern else { return answer };
    let Err(mut refusal) = answer else { return answer };
    let filed = filings_of(gate, &representative)
        .iter()
        .filter_map(|filing| filing.hosts.as_ref())
        .flat_map(|hosts| hosts.patterns().iter().map(HostPattern::base));
    let served = gate.listeners.get(listener.0).and_then(|known| known.hosts.get(&representative));
    let covered = served.into_iter().flat_map(|served| served.certified.names());
    for host in filed.chain(covered).filter(|host| host.parent() == Some(base.as_str())) {
        match decide(gate, listener, host, at) {
            Ok(permit) => return Ok(permit),
            Err(other) => refusal = nearer(refusal, other),
        }
    }
    Err(refusal)
}

fn filings_of<'g>(gate: &'g Gate, host: &Hostname) -> &'g [Arc<Filing>] {
    host.registrable_domain().map_or(&[], |domain| gate.filings.of_domain(domain))
}

fn filing_for<'g>(
    gate: &'g Gate,
    listener: &ListenerGate,
    host: &Hostname,
    at: Moment,
) -> Result<&'g Arc<Filing>, Refusal> {
    // A filing that leaves the host out says less than one that does not, however far either has come.
    let rank = |(names_it, refusal): (bool, Refusal)| (names_it, reached(refusal));
    let mut nearest = (false, Refusal::NotFiled);
    for filing in filings_of(gate, host) {
        match filing.covers(listener, host, at) {
            Ok(()) => return Ok(filing),
            Err(refusal) => {
                let other = (filing.names(host), refusal);
                nearest = if rank(other) > rank(nearest) { other } else { nearest };
            }
        }
    }
    Err(nearest.1)
}

/// Of several refusals, the one that the decision reached last says most.
fn nearer(one: Refusal, other: Refusal) -> Refusal {
    if reached(other) > reached(one) { other } else { one }
}

fn reached(refusal: Refusal) -> u8 {
    match refusal {
        Refusal::NotFiled => 1,
        Refusal::NotApproved => 2,
        Refusal::NotYetValid | Refusal::Expired => 3,
        Refusal::HostExcluded => 4,
        Refusal::AddressNotFiled => 5,
        Refusal::NoCertificate => 6,
        _ => 0,
    }
}

#[cfg(test)]
mod tests;
