//! The allowlist: every filing, by the domain that it was made for.
//!
//! A domain may have several filings, as long as no two of them speak of the same host; `config`
//! sees to that.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::Filing;
use crate::hostname::Hostname;

/// Every filing of the allowlist.
#[derive(Clone, Debug, Default)]
pub struct Filings {
    by_domain: HashMap<Hostname, Vec<Arc<Filing>>>,
    all: Vec<Arc<Filing>>,
}

impl Filings {
    /// The filings of one domain.
    pub fn of_domain(&self, domain: &str) -> &[Arc<Filing>] {
        self.by_domain.get(domain).map_or(&[], Vec::as_slice)
    }

    /// Every filing, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Filing>> {
        self.all.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Every instant at which a filing begins or ends.
    pub fn dates(&self) -> impl Iterator<Item = Timestamp> {
        self.all.iter().flat_map(|filing| [filing.begins, filing.ends]).flatten()
    }
}

impl FromIterator<Filing> for Filings {
    fn from_iter<I: IntoIterator<Item = Filing>>(filings: I) -> Self {
        let all: Vec<Arc<Filing>> = filings.into_iter().map(Arc::new).collect();
        let mut by_domain: HashMap<Hostname, Vec<Arc<Filing>>> = HashMap::with_capacity(all.len());
        for filing in &all {
            by_domain.entry(filing.domain.clone()).or_default().push(Arc::clone(filing));
        }
        Self { by_domain, all }
    }
}
