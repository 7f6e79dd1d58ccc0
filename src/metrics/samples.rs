//! Families whose values are read on a scrape.

use prometheus::Error;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};

/// A family whose values are read on a scrape.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// The samples of one scrape.
#[derive(Debug)]
pub struct Samples(Vec<MetricFamily>);

impl Family {
    /// Totals, which never fall. Samples give the values of `labels` in this order.
    pub const fn counter(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Self {
        Self { name, help, kind: Kind::Counter, labels }
    }

    /// Values of the moment.
    pub const fn gauge(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Self {
        Self { name, help, kind: Kind::Gauge, labels }
    }

    /// Histograms.
    pub const fn histogram(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Self {
        Self { name, help, kind: Kind::Histogram, labels }
    }

    fn desc(&self) -> Result<Desc, Error> {
        let labels = self.labels.iter().map(|label| (*label).to_owned()).collect();
        Desc::new(self.name.to_owned(), self.help.to_owned(), labels, Default::default())
    }

    pub(super) fn kind_word(&self) -> &'static str {
        match self.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }

    fn empty(&self) -> MetricFamily {
        let mut family = MetricFamily::default();
        family.set_name(self.name.to_owned());
        family.set_help(self.help.to_owned());
        family.set_field_type(match self.kind {
            Kind::Counter => MetricType::COUNTER,
            Kind::Gauge => MetricType::GAUGE,
            Kind::Histogram => MetricType::HISTOGRAM,
        });
        family
    }

    fn sample(&self, labels: &[&str]) -> Metric {
        let pairs = self.labels.iter().zip(labels).map(|(name, value)| {
            let mut pair = LabelPair::default();
            pair.set_name((*name).to_owned());
            pair.set_value((*value).to_owned());
            pair
        });
        Metric::from_label(pairs.collect())
    }
}

impl Samples {
    /// Adds the value of a counter or a gauge. `labels` are the values of the family's labels.
    pub fn value(&mut self, family: &Family, labels: &[&str], value: f64) {
        let mut sample = family.sample(labels);
        let (mut counter, mut gauge) = (Counter::default(), Gauge::default());
        counter.set_value(value);
        gauge.set_value(value);
        sample.set_counter(counter);
        sample.set_gauge(gauge);
        self.push(family, sample);
    }

    /// Adds a histogram: of each bucket its upper bound and the count of all values up to it.
    pub fn histogram(
        &mut self,
        family: &Family,
        labels: &[&str],
        buckets: impl Iterator<Item = (f64, u64)>,
        count: u64,
        sum: f64,
    ) {
        let buckets = buckets.map(|(bound, upto)| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(bound);
            bucket.set_cumulative_count(upto);
            bucket
        });
        let mut histogram = Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_count(count);
        histogram.set_sample_sum(sum);
        let mut sample = family.sample(labels);
        sample.set_histogram(histogram);
        self.push(family, sample);
    }

    fn push(&mut self, family: &Family, sample: Metric) {
        if let Some(family) = self.0.iter_mut().find(|known| known.name() == family.name) {
            family.mut_metric().push(sample);
        }
    }
}

/// Reads the values of its families on every scrape.
pub(super) struct OnScrape<F> {
    families: &'static [Family],
    descs: Vec<Desc>,
    read: F,
}

impl<F: Fn(&mut Samples) + Send + Sync> OnScrape<F> {
    pub(super) fn new(families: &'static [Family], read: F) -> Result<Self, Error> {
        let descs = families.iter().map(Family::desc).collect::<Result<_, _>>()?;
        Ok(Self { families, descs, read })
    }
}

impl<F: Fn(&mut Samples) + Send + Sync> Collector for OnScrape<F> {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut samples = Samples(self.families.iter().map(Family::empty).collect());
        (self.read)(&mut samples);
        samples.0
    }
}
