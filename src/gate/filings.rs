//! The allowlist: every filing, by the domain that it was made for.
//!
//! A domain may have several filings, as long as no two of them speak of the same host; `config`
//! sees to that.

use std::sync::Arc;

use foldhash::{HashMap, HashMapExt as _};
use jiff::Timestamp;

use super::Filing;
use crate::hostname::Hostname;

/// Every filing of the allowlist. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Filings(Arc<Table>);

#[derive(Clone, Debug, Default)]
struct Table {
    by_domain: HashMap<Hostname, OfDomain>,
    all: Vec<Arc<Filing>>,
}

/// The filings of a domain. Most have one, which is found a step sooner where it stands in the table itself.
#[derive(Clone, Debug)]
enum OfDomain {
    One(Arc<Filing>),
    Several(Vec<Arc<Filing>>),
}

impl OfDomain {
    fn push(&mut self, filing: Arc<Filing>) {
        match self {
            Self::One(first) => *self = Self::Several(vec![Arc::clone(first), filing]),
            Self::Several(filings) => filings.push(filing),
        }
    }

    fn as_slice(&self) -> &[Arc<Filing>] {
        match self {
            Self::One(filing) => std::slice::from_ref(filing),
            Self::Several(filings) => filings,
        }
    }

    fn as_mut_slice(&mut self) -> &mut [Arc<Filing>] {
        match self {
            Self::One(filing) => std::slice::from_mut(filing),
            Self::Several(filings) => filings,
        }
    }
}

impl Filings {
    /// The filings of one domain.
    pub fn of_domain(&self, domain: &str) -> &[Arc<Filing>] {
        self.0.by_domain.get(domain).map_or(&[], OfDomain::as_slice)
    }

    /// The filings of each domain, in no order.
    pub fn by_domain(&self) -> impl Iterator<Item = (&Hostname, &[Arc<Filing>])> {
        self.0.by_domain.iter().map(|(domain, filings)| (domain, filings.as_slice()))
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
        let by_domain = table.by_domain.values_mut().flat_map(OfDomain::as_mut_slice);
        for filing in by_domain.chain(&mut table.all) {
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
        let mut by_domain: HashMap<Hostname, OfDomain> = HashMap::with_capacity(all.len());
        for filing in &all {
            by_domain
                .entry(filing.domain.clone())
                .and_modify(|filings| filings.push(Arc::clone(filing)))
                .or_insert_with(|| OfDomain::One(Arc::clone(filing)));
        }
        Self(Arc::new(Table { by_domain, all }))
    }
}
