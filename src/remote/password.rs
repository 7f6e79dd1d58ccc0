//! Passwords that the configuration names by their file.

use std::path::Path;

use super::failure::{FailureKind, RemoteFailure};
use crate::regular_file;

const MAX_PASSWORD_FILE: u64 = 4096;

/// The first line of the file `path`. No error shows it.
pub(crate) fn read(path: &Path) -> Result<String, RemoteFailure> {
    let unusable = |what: String| RemoteFailure::new(FailureKind::Unauthorized, what);
    let bytes = regular_file::read(path, MAX_PASSWORD_FILE).map_err(|error| unusable(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_| unusable(format!("{} is not UTF-8", path.display())))?;
    match text.lines().next() {
        Some(password) if !password.is_empty() => Ok(password.to_owned()),
        _ => Err(unusable(format!("the first line of {} holds no password", path.display()))),
    }
}
