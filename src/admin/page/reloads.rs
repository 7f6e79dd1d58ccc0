//! The reload journal: what each reload added, removed, replaced, or why it was rejected.

use super::language::Language;
use super::listing::{Level, second};
use crate::edge::journal::{ReloadEntry, ReloadJournal, ReloadOutcome};
use crate::snapshot::changes::{Names, PartChanges};

#[derive(Debug)]
pub(crate) struct ReloadRow {
    pub(crate) at: String,
    pub(crate) generation: u64,
    pub(crate) result: &'static str,
    pub(crate) level: Level,
    pub(crate) lines: Vec<String>,
}

/// The newest first.
pub(crate) fn rows(journal: &ReloadJournal, language: Language) -> Vec<ReloadRow> {
    journal.look().iter().map(|entry| row(entry, language)).collect()
}

fn row(entry: &ReloadEntry, language: Language) -> ReloadRow {
    let (level, lines) = match &entry.outcome {
        ReloadOutcome::Applied(changes) => {
            (Level::Good, changes.parts.iter().map(|part| changed(part, language)).collect())
        }
        ReloadOutcome::Rejected(rejection) => {
            let more = rejection.count.saturating_sub(rejection.problems.len());
            let more = (more > 0).then(|| format!("+{more}"));
            (Level::Bad, rejection.problems.iter().cloned().chain(more).collect())
        }
        ReloadOutcome::Stale => (Level::Bad, vec!["filings_stale_after".to_owned()]),
    };
    let result = language.reload(&entry.outcome);
    ReloadRow { at: second(entry.at), generation: entry.generation, result, level, lines }
}

fn changed(part: &PartChanges, language: Language) -> String {
    let words = language.words();
    let kinds =
        [(words.added, &part.added), (words.removed, &part.removed), (words.replaced, &part.replaced)];
    let kinds: Vec<String> = kinds
        .into_iter()
        .filter(|(_, names)| names.count > 0)
        .map(|(word, names)| format!("{word} {}", listed(names)))
        .collect();
    format!("{}: {}", language.part(part.part), kinds.join("; "))
}

fn listed(names: &Names) -> String {
    let more = names.count.saturating_sub(names.first.len());
    let more = if more > 0 { format!(" +{more}") } else { String::new() };
    format!("{}{more}", names.first.join(", "))
}
