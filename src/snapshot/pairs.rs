//! The pairs that sites are served with, each read once for all of its sites.
//!
//! A good pair is not read again while its files are what they were.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;

use super::stamps::{Stamp, Stamps};
use crate::config::CertificateFiles;
use crate::tls::{Certificate, Tickets};

/// Fewer are read by one thread: beginning others takes longer.
const FEW: usize = 32;

/// Pairs by their files.
#[derive(Debug, Default)]
pub(super) struct Pairs(HashMap<CertificateFiles, Pair>);

/// What came of reading a pair.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    /// The pair, or why it cannot be used.
    pub(super) certificate: Result<Arc<Certificate>, String>,
    /// Whether others than the owner and the group may read the key.
    pub(super) is_readable_by_others: bool,
    /// Of chain and key, taken before they were read.
    stamps: [Option<Stamp>; 2],
}

impl Pairs {
    /// Reads every pair of `wanted` that `previous` does not have as it is now.
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

    /// What is known of a pair.
    pub(super) fn get(&self, files: &CertificateFiles) -> Option<&Pair> {
        self.0.get(files)
    }
}

/// A pair that is to be read, and what it was before.
struct Unread<'p> {
    stamps: [Option<Stamp>; 2],
    known: Option<&'p Arc<Certificate>>,
}

impl Unread<'_> {
    fn read(&self, files: &CertificateFiles, tickets: &Tickets) -> Pair {
        let certificate = Certificate::load(files, tickets, self.known).map_err(|bad| bad.to_string());
        let is_readable_by_others = self.stamps[1].is_some_and(Stamp::is_readable_by_others);
        Pair { certificate, is_readable_by_others, stamps: self.stamps }
    }
}

/// `work` on every item: most of a pair's time is its key's arithmetic.
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
