//! Files of `acme.store`: written whole by rename, for their owner alone.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::job::{Failure, Wanted};
use crate::config::acme::file_name;

/// The largest file of the store that is read: a chain of dozens of certificates.
pub(super) const MAX_BYTES: u64 = 1 << 20;

/// The file of the account, and of an order that is not done.
pub(super) fn pending_order(wanted: &Wanted) -> PathBuf {
    wanted.settings.store.join("orders").join(format!("{}.json", file_name(&wanted.site)))
}

/// Writes `content` to `file` by rename. Only its owner may read it (0600), or look into its folder (0700).
pub(super) fn write(file: &Path, content: &[u8]) -> Result<(), Failure> {
    write_all(file, content).map_err(|error| Failure::store(format_args!("{}: {error}", file.display())))
}

fn write_all(file: &Path, content: &[u8]) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    let folder = file.parent().unwrap_or(Path::new("."));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let mut aside = tempfile::Builder::new().prefix(".new-").tempfile_in(folder)?;
    aside.write_all(content)?;
    aside.as_file().sync_all()?;
    aside.persist(file)?;
    std::fs::File::open(folder)?.sync_all()
}

/// The content of a file; `None` if there is none.
pub(super) fn read(file: &Path) -> Result<Option<Vec<u8>>, Failure> {
    match crate::regular_file::read(file, MAX_BYTES) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::store(format_args!("{}: {error}", file.display()))),
    }
}

/// Removes a file, if it is there.
pub(super) fn remove(file: &Path) {
    match std::fs::remove_file(file) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => {
            tracing::warn!(file = %file.display(), %error, "a file of acme.store cannot be removed")
        }
    }
}
