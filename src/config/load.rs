//! From a file to a [`Config`], or to everything that is wrong with it.

use std::path::Path;

use super::findings::Findings;
use super::problem::Loaded;
use super::reader::Value;
use super::{Config, Unreadable, convert, file};

/// 4 MiB: thousands of sites.
pub(super) const MAX_BYTES: u64 = 4 << 20;

/// Reads and converts the configuration `path`. Bytes that are no configuration are problems; a file
/// that cannot be read is the error.
pub fn load(path: &Path) -> Result<Loaded<Config>, Unreadable> {
    Ok(parse(path, &file::read(path, MAX_BYTES)?))
}

/// Converts the bytes of the configuration `path`; relative paths in it begin at its folder.
pub fn parse(path: &Path, bytes: &[u8]) -> Loaded<Config> {
    let findings = Findings::new(path);
    match file::parse(bytes, MAX_BYTES) {
        Ok(node) => {
            let value = convert::config(&Value::root(&node, &findings), path);
            findings.loaded(value)
        }
        Err(malformed) => findings.malformed(&malformed, None),
    }
}
