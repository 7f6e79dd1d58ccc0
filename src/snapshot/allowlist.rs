//! The allowlist of a snapshot whose source is no file: what was fetched, or the copy on disk.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;

use super::sources::Read;
use super::stamps::Stamps;
use crate::config::filings_source::RemoteFilings;
use crate::config::problem::{Problem, Severity};
use crate::config::{self, Config, LoadResult};
use crate::fleet::copy::Copy;
use crate::fleet::{self, Fetched};
use crate::gate::Filings;
use crate::tls::roots::Roots;

/// The allowlist of `source`: the last one that was fetched, else the one in use, else the copy on disk. With none of
/// them it is empty, unless the one in use is of another source: then that is a fatal problem.
pub(super) fn fetched(
    config: &Config,
    source: &Arc<RemoteFilings>,
    known: Option<&Read<Filings>>,
    fetched: &[Fetched],
    at: Timestamp,
) -> Read<Filings> {
    let name = source.to_string();
    if let Some(fetched) = fetched.iter().find(|fetched| fetched.source == *source) {
        return Read::fetched(&name, sharing(fetched.filings.clone(), known));
    }
    if let Some(known) = known.filter(|known| known.is_from(&name)) {
        return known.clone();
    }
    let (severity, mut problems) = match copied(config, source, at) {
        Ok(Some(loaded)) => return Read::fetched(&name, sharing(loaded, known)),
        Ok(None) => (Severity::Warning, Vec::new()),
        Err(reason) => (Severity::Warning, vec![problem(config, Severity::Warning, reason, None)]),
    };
    let severity = if known.is_some() { Severity::Fatal } else { severity };
    let message = format!("there is no allowlist of {name} yet");
    let hint = match severity {
        Severity::Fatal => "the one in use stays until the new source gives one",
        _ => "nothing is bound until the source gives one; `icpgate run` fetches it",
    };
    problems.push(problem(config, severity, message, Some(hint.to_owned())));
    Read::fetched(&name, LoadResult { value: (severity != Severity::Fatal).then(Filings::default), problems })
}

/// The copy on disk; `None` if there is none.
fn copied(
    config: &Config,
    source: &RemoteFilings,
    at: Timestamp,
) -> Result<Option<LoadResult<Filings>>, String> {
    let key = source.public_key().map(fleet::key_text).transpose()?;
    let copy = Copy::of(&config.access_log.directory, source);
    let Some(body) = copy.body(key.as_deref())? else { return Ok(None) };
    let loaded = config::filings::parse(copy.file(), &body, at);
    match (&loaded.value, loaded.problems.first()) {
        (None, Some(first)) => Err(format!("the copy of the allowlist cannot be used: {first}")),
        _ => Ok(Some(loaded)),
    }
}

/// `loaded`, with the filings that have not changed shared with the allowlist in use.
pub(super) fn sharing(loaded: LoadResult<Filings>, known: Option<&Read<Filings>>) -> LoadResult<Filings> {
    let LoadResult { value, problems } = loaded;
    let before = known.and_then(|known| known.value.as_ref());
    LoadResult { value: value.map(|filings| before.into_iter().fold(filings, Filings::sharing)), problems }
}

/// Problems of the files that `source` names.
pub(super) fn problems_of_keys(config: &Path, source: &RemoteFilings, files: &mut Stamps) -> Vec<Problem> {
    let at = |key: &str, message: String, hint: &str| Problem {
        severity: Severity::Fatal,
        file: config.to_owned(),
        place: match source {
            RemoteFilings::Url(_) => format!("filings.{key}"),
            RemoteFilings::Etcd(_) => format!("filings.etcd.{key}"),
        },
        message,
        hint: Some(hint.to_owned()),
    };
    let mut problems = Vec::new();
    if let Some(trust) = source.trust() {
        files.take(trust);
        let hint = "give a PEM file with the certificates of the source's CA";
        problems.extend(Roots::load(Some(trust)).err().map(|error| at("trust", error, hint)));
    }
    if let Some(key) = source.public_key() {
        files.take(key);
        let hint = "give the .pub file that minisign -G wrote";
        problems.extend(fleet::key_text(key).err().map(|error| at("public_key", error, hint)));
    }
    problems
}

fn problem(config: &Config, severity: Severity, message: String, hint: Option<String>) -> Problem {
    Problem { severity, file: config.file.clone(), place: "filings".to_owned(), message, hint }
}
