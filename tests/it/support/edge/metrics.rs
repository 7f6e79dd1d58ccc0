//! The metrics page.

/// The text of one scrape.
#[derive(Clone, Debug)]
pub(crate) struct Metrics(pub(crate) String);

impl Metrics {
    /// The value of a series; labels are in the order of the page.
    #[track_caller]
    pub(crate) fn value(&self, series: &str) -> f64 {
        self.get(series).unwrap_or_else(|| panic!("there is no {series} in\n{}", self.0))
    }

    pub(crate) fn get(&self, series: &str) -> Option<f64> {
        let value = self.0.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '))?;
        Some(value.parse().expect("a number"))
    }
}
