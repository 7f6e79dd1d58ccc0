//! Loads the configuration from its file.

use std::path::Path;

use super::findings::Findings;
use super::problem::LoadResult;
use super::reader::Value;
use super::{Config, Unreadable, convert, file};

/// 4 MiB: thousands of sites.
pub(super) const MAX_BYTES: u64 = 4 << 20;

/// Reads the configuration `path`. An invalid file is reported as problems; an unreadable one is the error.
pub fn load(path: &Path) -> Result<LoadResult<Config>, Unreadable> {
    Ok(parse(path, &file::read(path, MAX_BYTES)?))
}

/// Converts the bytes of the configuration `path`. Relative paths in it are relative to its folder.
pub fn parse(path: &Path, bytes: &[u8]) -> LoadResult<Config> {
    let findings = Findings::new(path);
    match file::parse(bytes, MAX_BYTES) {
        Ok(node) => {
            let value = convert::config(&Value::root(&node, &findings), path);
            findings.loaded(value)
        }
        Err(malformed) => findings.malformed(&malformed, None),
    }
}
