//! The registry of all families, and their text.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus::core::Collector;
use prometheus::proto::{LabelPair, Metric, MetricFamily};
use prometheus::{
    Error, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGaugeVec, Opts, TextEncoder,
};

use super::samples::{Family, OnScrape, Samples};

/// Every family of the program. Clones are the same registry.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    inner: prometheus::Registry,
    /// Families that are read on a scrape. Their types are in the text even while they have no sample.
    on_scrape: Arc<Mutex<Vec<Family>>>,
}

/// The labels of one series.
#[derive(Clone, Copy, Debug)]
pub struct Labels<'m>(&'m Metric);

impl<'m> Labels<'m> {
    /// The value of the label of that name, if the series has one.
    pub fn get(self, name: &str) -> Option<&'m str> {
        self.0.get_label().iter().find(|label| label.name() == name).map(LabelPair::value)
    }
}

impl Registry {
    /// Registers a counter without labels.
    pub fn counter(&self, name: &str, help: &str) -> Result<IntCounter, Error> {
        self.register(IntCounter::new(name, help)?)
    }

    /// Registers a family of counters.
    pub fn counters(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, Error> {
        self.register(counters(name, help, labels)?)
    }

    /// Registers a family of gauges.
    pub fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> Result<IntGaugeVec, Error> {
        self.register(IntGaugeVec::new(Opts::new(name, help), labels)?)
    }

    /// Registers a family of histograms with these upper bounds.
    pub fn histograms(
        &self,
        name: &str,
        help: &str,
        bounds: &[f64],
        labels: &[&str],
    ) -> Result<HistogramVec, Error> {
        self.register(HistogramVec::new(HistogramOpts::new(name, help).buckets(bounds.to_vec()), labels)?)
    }

    /// Registers what collects families by itself.
    pub fn register<C: Collector + Clone + 'static>(&self, collector: C) -> Result<C, Error> {
        self.inner.register(Box::new(collector.clone()))?;
        Ok(collector)
    }

    /// Registers families whose values `read` gives on every scrape.
    pub fn on_scrape(
        &self,
        families: &'static [Family],
        read: impl Fn(&mut Samples) + Send + Sync + 'static,
    ) -> Result<(), Error> {
        self.inner.register(Box::new(OnScrape::new(families, read)?))?;
        self.on_scrape.lock().unwrap_or_else(PoisonError::into_inner).extend(families);
        Ok(())
    }

    /// Every series that `keep` keeps, in Prometheus' text format.
    pub fn text(&self, keep: impl Fn(Labels<'_>) -> bool) -> Result<String, Error> {
        let mut families = self.inner.gather();
        for family in &mut families {
            family.mut_metric().retain(|series| keep(Labels(series)));
        }
        families.retain(|family| !family.get_metric().is_empty());
        let mut text = TextEncoder::new().encode_to_string(&families)?;
        let known = |family: &Family| families.iter().any(|known: &MetricFamily| known.name() == family.name);
        // The library leaves out families without a series, and dashboards would miss their names.
        let declared = self.on_scrape.lock().unwrap_or_else(PoisonError::into_inner);
        for family in declared.iter().filter(|family| !known(family)) {
            let Family { name, help, .. } = family;
            text += &format!("# HELP {name} {help}\n# TYPE {name} {}\n", family.kind_word());
        }
        Ok(text)
    }
}

/// A family of counters, for a collector that is registered in its place.
pub fn counters(name: &str, help: &str, labels: &[&str]) -> Result<IntCounterVec, Error> {
    IntCounterVec::new(Opts::new(name, help), labels)
}

/// A histogram with these upper bounds, for a collector that is registered in its place.
pub fn histogram(name: &str, help: &str, bounds: &[f64]) -> Result<Histogram, Error> {
    Histogram::with_opts(HistogramOpts::new(name, help).buckets(bounds.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    static FAMILIES: [Family; 3] = [
        Family::histogram("waits", "Waits.", &["what"]),
        Family::gauge("open", "Open.", &["where", "of"]),
        Family::counter("none", "None.", &[]),
    ];

    #[test]
    fn the_text_has_what_was_counted_and_what_is_read_on_a_scrape() {
        let registry = Registry::default();
        let asked = registry.counters("asked_total", "Asked.", &["by"]).expect("a family");
        asked.with_label_values(&["a\"b"]).inc();
        asked.with_label_values(&["gone"]).inc();
        let read = |samples: &mut Samples| {
            let [waits, open, _] = &FAMILIES;
            samples.histogram(waits, &["x"], [(0.5, 1), (2.0, 3)].into_iter(), 4, 9.5);
            samples.value(open, &["z", "a"], 7.0);
        };
        registry.on_scrape(&FAMILIES, read).expect("families");
        assert!(registry.on_scrape(&FAMILIES[1..], read).is_err(), "a name is registered once");
        let text = registry.text(|labels| labels.get("by") != Some("gone")).expect("text");
        assert_eq!(
            text,
            "# HELP asked_total Asked.\n# TYPE asked_total counter\nasked_total{by=\"a\\\"b\"} 1\n\
             # HELP open Open.\n# TYPE open gauge\nopen{where=\"z\",of=\"a\"} 7\n\
             # HELP waits Waits.\n# TYPE waits histogram\nwaits_bucket{what=\"x\",le=\"0.5\"} 1\n\
             waits_bucket{what=\"x\",le=\"2\"} 3\nwaits_bucket{what=\"x\",le=\"+Inf\"} 4\n\
             waits_sum{what=\"x\"} 9.5\nwaits_count{what=\"x\"} 4\n# HELP none None.\n# TYPE none counter\n"
        );
    }
}
