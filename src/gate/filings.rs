//! The allowlist: every filing, by the domain that it was made for.
//!
//! A domain may have several filings, as long as no two of them speak of the same host; `config`
//! sees to that.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::Filing;
use crate::hostname::Hostname;

/// Every filing of the allowlist. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Filings(Arc<Table>);

#[derive(Clone, Debug, Default)]
struct Table {
    by_domain: HashMap<Hostname, Vec<Arc<Filing>>>,
    all: Vec<Arc<Filing>>,
}

impl Filings {
    /// The filings of one domain.
    pub fn of_domain(&self, domain: &str) -> &[Arc<Filing>] {
        self.0.by_domain.get(domain).map_or(&[], Vec::as_slice)
    }

    /// Every filing, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Filing>> {
        self.0.all.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.all.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.all.is_empty()
    }

    /// Every instant at which a filing begins or ends.
    pub fn dates(&self) -> impl Iterator<Item = Timestamp> {
        self.iter().flat_map(|filing| [filing.begins, filing.ends]).flatten()
    }

    /// The same filings; those that are in `before` as they are here share its values, so that what has not
    /// changed is in memory once.
    pub fn sharing(mut self, before: &Self) -> Self {
        let table = Arc::make_mut(&mut self.0);
        for filing in table.by_domain.values_mut().flatten().chain(&mut table.all) {
            let known = before.of_domain(filing.domain.as_str());
            if let Some(known) = known.iter().find(|known| known == &filing) {
                *filing = Arc::clone(known);
            }
        }
        self
    }
}

impl FromIterator<Filing> for Filings {
    fn from_iter<I: IntoIterator<Item = Filing>>(filings: I) -> Self {
        let all: Vec<Arc<Filing>> = filings.into_iter().map(Arc::new).collect();
        let mut by_domain: HashMap<Hostname, Vec<Arc<Filing>>> = HashMap::with_capacity(all.len());
        for filing in &all {
            // Most domains have one.
            let filings = by_domain.entry(filing.domain.clone()).or_insert_with(|| Vec::with_capacity(1));
            filings.push(Arc::clone(filing));
        }
        Self(Arc::new(Table { by_domain, all }))
    }
}
