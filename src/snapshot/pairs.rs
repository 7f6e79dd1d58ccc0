//! The certificates and keys of sites, each pair read once for all of its sites.
//!
//! A usable pair is not read again while its files are unchanged.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use jiff::Timestamp;

use super::stamps::{Stamp, Stamps};
use crate::clock::{Moment, Within};
use crate::config::CertificateFiles;
use crate::config::problem::{Problem, Severity};
use crate::tls::{Certificate, Tickets};

/// Fewer pairs are read by one thread: starting others takes longer.
const FEW: usize = 32;

#[derive(Debug, Default)]
pub(super) struct Pairs(HashMap<CertificateFiles, Pair>);

#[derive(Clone, Debug)]
pub(super) struct Pair {
    /// The pair, or why it cannot be used.
    pub(super) certificate: Result<Arc<Certificate>, Unusable>,
    /// Whether users outside the owner and the group may read the key.
    pub(super) is_readable_by_others: bool,
    /// The stamps of chain and key, taken before they were read.
    stamps: [Option<Stamp>; 2],
}

#[derive(Clone, Copy, Debug)]
pub(super) struct PairPlace<'p> {
    pub(super) config: &'p Path,
    pub(super) site: usize,
    pub(super) files: &'p CertificateFiles,
}

impl PairPlace<'_> {
    /// A problem at `sites[N].certificate` followed by `key`, such as `.chain`.
    pub(super) fn problem(&self, severity: Severity, key: &str, message: String, hint: &str) -> Problem {
        let place = format!("sites[{}].certificate{key}", self.site);
        Problem { severity, file: self.config.to_owned(), place, message, hint: Some(hint.to_owned()) }
    }
}

impl Pair {
    /// Whether its file is not there.
    pub(super) fn is_missing(&self) -> bool {
        self.certificate.is_err() && self.stamps[0].is_none()
    }

    /// The certificate, if it can be used, and every problem of the pair itself.
    pub(super) fn judge(
        &self,
        place: &PairPlace<'_>,
        has_kept: bool,
        at: Timestamp,
        problems: &mut Vec<Problem>,
    ) -> Option<&Arc<Certificate>> {
        let files = place.files;
        let mut report = |severity, key: &str, message: String, hint: &str| {
            problems.push(place.problem(severity, key, message, hint));
        };
        if self.is_readable_by_others {
            let message = format!("{} is readable by others", files.key.display());
            report(Severity::Warning, ".key", message, "take the right away: chmod o= FILE");
        }
        let certificate = match &self.certificate {
            Ok(certificate) => certificate,
            Err(bad) => {
                let effect = match has_kept {
                    true => "the last good pair stays in use until this one is mended",
                    false => "the site is refused with no_certificate until there is a usable pair",
                };
                let hint = bad.hint.iter().map(String::as_str).chain([effect]).collect::<Vec<_>>().join("; ");
                report(Severity::Degraded, "", bad.message.clone(), &hint);
                return None;
            }
        };
        for remark in &certificate.remarks {
            let severity = if remark.is_problem() { Severity::Degraded } else { Severity::Warning };
            let (message, hint) = remark.describe(&files.chain);
            report(severity, ".chain", message, &hint);
        }
        let coverage = &certificate.coverage;
        let chain = files.chain.display();
        match Moment::at(at).within(Some(coverage.begins), Some(coverage.ends)) {
            Within::Yes => {}
            Within::Ended => {
                let message = format!("the certificate in {chain} ended at {}", coverage.ends);
                report(Severity::Degraded, "", message, "renew it");
            }
            Within::NotYet => {
                let message = format!("the certificate in {chain} begins at {}", coverage.begins);
                report(Severity::Degraded, "", message, "check the clock, or wait");
            }
        }
        Some(certificate)
    }
}

/// Why a pair cannot be used, and what to do about it.
#[derive(Clone, Debug)]
pub(super) struct Unusable {
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

impl Pairs {
    /// Reads every pair of `wanted` that has changed since `previous`.
    pub(super) fn load<'w>(
        wanted: impl Iterator<Item = &'w CertificateFiles>,
        previous: Option<&Self>,
        tickets: &Tickets,
        files: &mut Stamps,
    ) -> Self {
        let mut pairs = Self::default();
        let mut unread = HashMap::new();
        for pair in wanted {
            if pairs.0.contains_key(pair) || unread.contains_key(pair) {
                continue;
            }
            let stamps = [files.stamp(&pair.chain), files.stamp(&pair.key)];
            let known = previous.and_then(|previous| previous.get(pair));
            match known.filter(|known| known.stamps == stamps && known.certificate.is_ok()) {
                Some(known) => {
                    pairs.0.insert(pair.clone(), known.clone());
                }
                None => {
                    let known = known.and_then(|known| known.certificate.as_ref().ok());
                    unread.insert(pair, Unread { stamps, known });
                }
            }
        }
        let unread: Vec<_> = unread.into_iter().collect();
        let read = on_all_cores(&unread, |(files, unread)| unread.read(files, tickets));
        pairs.0.extend(unread.iter().map(|(files, _)| (*files).clone()).zip(read));
        pairs
    }

    pub(super) fn get(&self, files: &CertificateFiles) -> Option<&Pair> {
        self.0.get(files)
    }
}

/// A pair to read, and its previous result.
struct Unread<'p> {
    stamps: [Option<Stamp>; 2],
    known: Option<&'p Arc<Certificate>>,
}

impl Unread<'_> {
    fn read(&self, files: &CertificateFiles, tickets: &Tickets) -> Pair {
        let certificate = Certificate::load(files, tickets, self.known)
            .map_err(|bad| Unusable { message: bad.to_string(), hint: bad.hint() });
        let is_readable_by_others = self.stamps[1].is_some_and(Stamp::is_readable_by_others);
        Pair { certificate, is_readable_by_others, stamps: self.stamps }
    }
}

/// Runs `work` on every item, on several threads: checking a key takes CPU time.
fn on_all_cores<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    if items.len() < FEW || threads == 1 {
        return items.iter().map(work).collect();
    }
    let work = &work;
    thread::scope(|scope| {
        let parts = items.chunks(items.len().div_ceil(threads));
        let parts: Vec<_> =
            parts.map(|part| scope.spawn(|| part.iter().map(work).collect::<Vec<R>>())).collect();
        parts
            .into_iter()
            .flat_map(|part| part.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}
