//! The parsed files of a snapshot, for the next build: unchanged files are not read again.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::assets::AssetFolders;
use super::pairs::Pairs;
use super::stamps::{Stamp, Stamps};
use crate::config::problem::Problem;
use crate::config::{Config, LoadResult};
use crate::gate::Filings;

#[derive(Debug)]
pub(super) struct Sources {
    pub(super) config: Read<Arc<Config>>,
    pub(super) filings: Read<Filings>,
    pub(super) pairs: Pairs,
    pub(super) assets: AssetFolders,
}

#[derive(Clone, Debug)]
pub(super) struct Read<T> {
    file: PathBuf,
    /// The stamp, taken before the file was read.
    stamp: Option<Stamp>,
    pub(super) value: Option<T>,
    pub(super) problems: Vec<Problem>,
}

impl<T: Clone> Read<T> {
    /// What came from `name`, which is no file.
    pub(super) fn fetched(name: &str, loaded: LoadResult<T>) -> Self {
        let LoadResult { value, problems } = loaded;
        Self { file: name.into(), stamp: None, value, problems }
    }

    /// Whether it came from `name`.
    pub(super) fn is_from(&self, name: &str) -> bool {
        self.file == Path::new(name)
    }

    /// The content of `file`: `known` while the file is unchanged, else the result of `load`.
    pub(super) fn again<E>(
        file: &Path,
        known: Option<&Self>,
        stamps: &mut Stamps,
        load: impl FnOnce() -> Result<LoadResult<T>, E>,
    ) -> Result<Self, E> {
        let stamp = stamps.stamp(file);
        let is_same = |known: &&Self| known.file == file && known.stamp == stamp && stamp.is_some();
        match known.filter(is_same) {
            Some(known) => Ok(known.clone()),
            None => {
                let LoadResult { value, problems } = load()?;
                Ok(Self { file: file.to_owned(), stamp, value, problems })
            }
        }
    }
}
