//! Refused names of the last hour: who points other domains at this address?

use super::language::Language;
use super::listeners::{Explained, explained};
use super::listing::{Listing, Search, minute};
use crate::clock::Moment;
use crate::listen::metrics::ListenMetrics;
use crate::snapshot::Snapshot;

/// Names that are shown.
const SHOWN: usize = 100;

#[derive(Debug)]
pub(crate) struct RefusedRow {
    pub(crate) name: String,
    pub(crate) listener: String,
    pub(crate) reason: Explained,
    pub(crate) count: u64,
    pub(crate) last: String,
}

/// Refusals of one listener for one reason, with a name or without.
#[derive(Debug)]
pub(crate) struct ReasonRow {
    pub(crate) listener: String,
    pub(crate) reason: Explained,
    pub(crate) count: u64,
}

#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) names: Listing<RefusedRow>,
    pub(crate) reasons: Vec<ReasonRow>,
    pub(crate) total: u64,
}

/// The most refused first.
pub(crate) fn refused(
    snapshot: &Snapshot,
    listen: &ListenMetrics,
    at: Moment,
    search: &Search,
    language: Language,
) -> Refused {
    let mut names = Vec::new();
    let mut reasons = Vec::new();
    for listener in &snapshot.config.listeners {
        let look = listen.refused_names(&listener.name).look(at.now);
        names.extend(look.names.into_iter().map(|name| (&listener.name, name)));
        reasons.extend(look.reasons.into_iter().map(|(refusal, count)| ReasonRow {
            listener: listener.name.to_string(),
            reason: explained(refusal, language),
            count,
        }));
    }
    let names = Listing::first(
        SHOWN,
        names.into_iter(),
        |(_, name)| search.is_in([&name.name]),
        |(_, name)| std::cmp::Reverse(name.count),
        |(listener, name)| RefusedRow {
            name: name.name.to_string(),
            listener: listener.to_string(),
            reason: explained(name.refusal, language),
            count: name.count,
            last: minute(name.last),
        },
    );
    Refused { names, total: reasons.iter().map(|row| row.count).sum(), reasons }
}
