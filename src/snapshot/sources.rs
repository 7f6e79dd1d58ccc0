//! What a snapshot was read from, lent to the next one: a file that is what it was is not read again.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::pairs::Pairs;
use super::stamps::{Stamp, Stamps};
use crate::config::problem::Problem;
use crate::config::{Config, Loaded};
use crate::gate::Filings;

/// What was read for a snapshot.
#[derive(Debug)]
pub(super) struct Sources {
    pub(super) config: Read<Arc<Config>>,
    pub(super) filings: Read<Filings>,
    pub(super) pairs: Pairs,
}

/// What a file was found to hold.
#[derive(Clone, Debug)]
pub(super) struct Read<T> {
    file: PathBuf,
    /// Taken before the file was read.
    stamp: Option<Stamp>,
    /// `None` when a problem is fatal.
    pub(super) value: Option<T>,
    pub(super) problems: Vec<Problem>,
}

impl<T: Clone> Read<T> {
    /// What `file` holds: what `known` says while it is the same file, or else what `load` does.
    pub(super) fn again<E>(
        file: &Path,
        known: Option<&Self>,
        stamps: &mut Stamps,
        load: impl FnOnce() -> Result<Loaded<T>, E>,
    ) -> Result<Self, E> {
        let stamp = stamps.stamp(file);
        let is_same = |known: &&Self| known.file == file && known.stamp == stamp && stamp.is_some();
        match known.filter(is_same) {
            Some(known) => Ok(known.clone()),
            None => {
                let Loaded { value, problems } = load()?;
                Ok(Self { file: file.to_owned(), stamp, value, problems })
            }
        }
    }
}
