//! What the requests of each thread add to, until somebody reads.
//!
//! Threads share no memory while they count. What one has counted moves to the families under its lock, so
//! that it is in exactly one of the two at any moment: who flushes finds all that was counted before.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use foldhash::HashMap;
use prometheus::IntCounter;
use prometheus::local::LocalHistogram;
use thread_local::ThreadLocal;

use super::prepared::{OfSite, Prepared};
use super::{Metrics, STATUS_CLASSES};
use crate::gate::SiteId;
use crate::origin::Region;
use crate::rewrite::FooterResult;

/// Those of all threads.
#[derive(Debug, Default)]
pub(super) struct Tallies {
    prepared: ArcSwap<Prepared>,
    threads: ThreadLocal<Own>,
}

/// A thread's place. No two are in one cache line, nor in two that are fetched together.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Own(Mutex<Option<Tally>>);

/// What one thread has counted of one generation, for those sites alone that it served.
#[derive(Debug)]
struct Tally {
    prepared: Arc<Prepared>,
    duration: LocalHistogram,
    sites: HashMap<SiteId, OfSite<u64>>,
}

/// What one exchange adds to the families.
#[derive(Clone, Copy, Debug)]
pub struct Counted<'c> {
    /// The class of its status.
    pub class: &'static str,
    /// Where its answer came from, and the bytes of the body, if it came from anywhere.
    pub egress: Option<(Region, u64)>,
    /// What became of the footer, if it is a page that is chosen for one.
    pub footer: Option<FooterResult>,
    /// From its head to its end.
    pub duration: Duration,
    /// The name of the site.
    pub site: &'c str,
}

impl Tallies {
    /// From now on, counts for the sites of `prepared`.
    pub(super) fn replace(&self, prepared: Prepared) {
        // Held until no thread counts for it, so that none of them has to free it.
        let before = self.prepared.swap(Arc::new(prepared));
        self.flush();
        drop(before);
    }

    /// Moves what was counted to the families.
    pub(super) fn flush(&self) {
        for own in &self.threads {
            // The assignment drops, and with that moves, what was there while the lock is held.
            *own.lock() = None;
        }
    }
}

impl Own {
    fn lock(&self) -> MutexGuard<'_, Option<Tally>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tally {
    /// `None` if there is no such site.
    fn exchanged(&mut self, site: SiteId, counted: Counted<'_>) -> Option<()> {
        self.prepared.sites.get(site.0)?;
        self.sites.entry(site).or_default().add(counted);
        self.duration.observe(counted.duration.as_secs_f64());
        Some(())
    }
}

impl Drop for Tally {
    /// The histograms of a thread move what they hold by themselves.
    fn drop(&mut self) {
        for (site, counts) in &self.sites {
            if let Some(counters) = self.prepared.sites.get(site.0) {
                counts.add_to(counters);
            }
        }
    }
}

impl OfSite<u64> {
    fn add(&mut self, counted: Counted<'_>) {
        if let Some(place) = STATUS_CLASSES.iter().position(|class| *class == counted.class) {
            self.requests[place] += 1;
        }
        if let Some((region, bytes)) = counted.egress
            && let Some(place) = Region::ALL.iter().position(|known| *known == region)
        {
            self.egress[place] += bytes;
        }
        let label = counted.footer.map(FooterResult::label);
        if let Some(place) = FooterResult::ALL_LABELS.iter().position(|known| Some(*known) == label) {
            self.footer[place] += 1;
        }
    }

    fn add_to(&self, counters: &OfSite<IntCounter>) {
        for (counter, count) in counters.all().zip(self.all()).filter(|(_, count)| **count > 0) {
            counter.inc_by(*count);
        }
    }
}

impl Metrics {
    /// An exchange of a site of that generation is over.
    pub fn exchanged(&self, generation: u64, site: SiteId, counted: Counted<'_>) {
        if self.tally(generation, |tally| tally.exchanged(site, counted)).is_none() {
            let mut counts = OfSite::default();
            counts.add(counted);
            counts.add_to(&OfSite::of(self, counted.site));
            self.request_duration.observe(counted.duration.as_secs_f64());
        }
        if let Some(FooterResult::Skipped(reason)) = counted.footer {
            self.footer_skipped.with_label_values(&[counted.site, reason.label()]).inc();
        }
    }

    /// Lets `add` count in this thread's tally; `None` if that is not of this generation, nor can be.
    fn tally(&self, generation: u64, add: impl FnOnce(&mut Tally) -> Option<()>) -> Option<()> {
        let mut own = self.tallies.threads.get_or_default().lock();
        if own.as_ref().is_none_or(|tally| tally.prepared.generation != generation) {
            // Asked under the lock: once a replacement has flushed it, no thread begins with what was replaced.
            let prepared = self.tallies.prepared.load();
            if prepared.generation != generation {
                return None;
            }
            *own = Some(Tally {
                prepared: Arc::clone(&prepared),
                duration: self.request_duration.local(),
                sites: HashMap::default(),
            });
        }
        add(own.as_mut()?)
    }
}

#[cfg(test)]
mod tests;
