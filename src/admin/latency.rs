//! First-byte times of every link over the last ten minutes, for the curves of the status page.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::edge::Edge;
use crate::origin::timing::Histogram;

/// Between two samples.
const EVERY: Duration = Duration::from_secs(5);
/// Ten minutes.
pub(super) const KEPT: usize = 120;
/// Links that are sampled: 2 MiB at most.
const LINKS: usize = 1024;

/// Samples of every link. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Latencies(Arc<Mutex<HashMap<Key, Samples>>>);

/// Origin and link.
type Key = (Arc<str>, Arc<str>);

#[derive(Debug, Default)]
struct Samples {
    /// The sum at the last sample.
    last: Histogram,
    /// Means of five seconds each, the oldest first; `None` without an answer.
    means: VecDeque<Option<Duration>>,
}

impl Samples {
    fn take(&mut self, histogram: Histogram) {
        let answers = histogram.count.saturating_sub(self.last.count);
        let time = histogram.sum.saturating_sub(self.last.sum);
        let answers = u32::try_from(answers).unwrap_or(u32::MAX);
        self.last = histogram;
        if self.means.len() >= KEPT {
            self.means.pop_front();
        }
        self.means.push_back(time.checked_div(answers));
    }
}

impl Latencies {
    /// Takes samples for as long as it is polled.
    pub(super) async fn run(&self, edge: &Edge) {
        loop {
            self.sample(edge);
            tokio::time::sleep(EVERY).await;
        }
    }

    /// The means of a link, the oldest first.
    pub(super) fn of(&self, origin: &Arc<str>, link: &Arc<str>) -> Vec<Option<Duration>> {
        let known = self.samples();
        let samples = known.get(&(Arc::clone(origin), Arc::clone(link)));
        samples.map(|samples| samples.means.iter().copied().collect()).unwrap_or_default()
    }

    fn sample(&self, edge: &Edge) {
        let snapshot = edge.snapshots.load_full();
        let links = snapshot.origins.iter().flat_map(|state| {
            let origin = &state.origin.name;
            state.links.iter().map(move |link| ((Arc::clone(origin), Arc::clone(&link.name)), link))
        });
        let mut known = self.samples();
        let mut next = HashMap::new();
        for (key, link) in links.take(LINKS) {
            let histogram = link.histogram();
            // Answers from before the first sample belong to none.
            let mut samples =
                known.remove(&key).unwrap_or_else(|| Samples { last: histogram, means: VecDeque::new() });
            samples.take(histogram);
            next.insert(key, samples);
        }
        *known = next;
    }

    fn samples(&self) -> MutexGuard<'_, HashMap<Key, Samples>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_the_mean_since_the_last_one_and_ten_minutes_are_kept() {
        let mut samples = Samples::default();
        let millis = Duration::from_millis;
        let sums = [(2, 20), (2, 20), (4, 100)];
        for (count, sum) in sums {
            samples.take(Histogram { count, sum: millis(sum), ..Histogram::default() });
        }
        assert_eq!(samples.means, [Some(millis(10)), None, Some(millis(40))]);
        (0..2 * KEPT).for_each(|_| samples.take(Histogram::default()));
        assert_eq!(samples.means.len(), KEPT);
    }
}
