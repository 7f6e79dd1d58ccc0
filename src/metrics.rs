//! Metrics in Prometheus' terms: families of counters, gauges and histograms, and their text.
//!
//! Every room registers its own families, beside what they count. Labels come from closed sets and from
//! configured names alone, so that no client can make a family grow.

mod registry;
mod samples;

pub use prometheus::core::{Collector, Desc};
pub use prometheus::local::LocalHistogram;
pub use prometheus::proto::MetricFamily;
pub use prometheus::{Error, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};
pub use registry::{Labels, Registry, counters, histogram};
pub use samples::{Family, Samples};
