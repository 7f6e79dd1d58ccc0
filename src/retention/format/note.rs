//! Key and checkpoint files: read within a size limit, and replaced atomically.

use std::io::{self, Write};
use std::path::Path;

use fs_err::os::unix::fs::OpenOptionsExt;
use fs_err::{File, OpenOptions};
use signed_note::Note;
use tlog_tiles::Checkpoint;

use crate::regular_file;

/// The verifier keys: the key in use, then earlier ones.
pub(crate) const VERIFIER_FILE: &str = "verifier.key";
/// A copy of the newest checkpoint, to be kept elsewhere.
pub(crate) const CHECKPOINT_FILE: &str = "checkpoint";

/// The largest key or checkpoint file: 1 MiB, more than ten thousand verifier keys.
const NOTE_BYTES: u64 = 1024 * 1024;

pub(crate) fn read_note(path: &Path) -> io::Result<Vec<u8>> {
    regular_file::read(path, NOTE_BYTES)
}

/// Reads a key or checkpoint file; `None` if it does not exist.
pub(crate) fn read_note_if_there(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match read_note(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The checkpoint in `note`. Its signature is not checked.
pub(crate) fn unverified(note: &[u8]) -> Option<Checkpoint> {
    Checkpoint::from_bytes(Note::from_bytes(note).ok()?.text()).ok()
}

/// Replaces the file `name` atomically and durably.
pub(crate) fn replace(directory: &Path, name: &str, bytes: &[u8], mode: u32) -> io::Result<()> {
    let new = directory.join(format!("{name}.new"));
    // Left by a replacement that failed.
    match fs_err::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs_err::rename(new, directory.join(name))?;
    File::open(directory)?.sync_all()
}
