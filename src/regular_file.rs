//! Reading files that others put there: no more of one than it may hold, and without waiting for anybody.
//!
//! What is no regular file is an error: a pipe would be waited for, and a device may have no end.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

/// Reads the file `path`, at most one byte more than `limit`. Errors are the system's, or `InvalidInput` for what is
/// no regular file.
pub fn read_up_to(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    try_open(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads the file `path` whole. Errors name it, and are of the same kinds; of more than `limit` bytes it is
/// `FileTooLarge`.
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let bytes = read_up_to(path, limit).map_err(|error| named(path, &error))?;
    if bytes.len() as u64 > limit {
        let text = format!("{} is larger than {limit} bytes", path.display());
        return Err(io::Error::new(ErrorKind::FileTooLarge, text));
    }
    Ok(bytes)
}

/// Opens the file `path` to be read. Errors name it, and are of the same kinds.
pub fn open(path: &Path) -> io::Result<File> {
    try_open(path).map_err(|error| named(path, &error))
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{} cannot be read: {error}", path.display()))
}

fn try_open(path: &Path) -> io::Result<File> {
    // Opening a pipe would wait for its writer.
    let file = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(path)?;
    // Of what was opened: at the path, something else may be by now.
    let kind = file.metadata()?;
    if kind.is_dir() {
        return Err(ErrorKind::IsADirectory.into());
    }
    if !kind.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_file_is_read_whole_or_not_at_all() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        std::fs::write(&path, [7; 10]).expect("written");
        assert_eq!(read(&path, 10).expect("read"), [7; 10]);
        let error = read(&path, 9).expect_err("it is larger");
        assert_eq!(error.kind(), ErrorKind::FileTooLarge);
        assert!(error.to_string().contains("file is larger than 9 bytes"), "{error}");
        assert_eq!(read_up_to(&path, 3).expect("read"), [7; 4]);
    }

    #[test]
    fn what_is_no_regular_file_is_neither_waited_for_nor_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let (pipe, endless) = (folder.path().join("pipe"), folder.path().join("endless"));
        assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
        std::os::unix::fs::symlink("/dev/zero", &endless).expect("a link");
        for path in [&pipe, &endless] {
            let error = read(path, 10).expect_err("no regular file");
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert!(error.to_string().contains(&path.display().to_string()), "{error}");
        }
        assert_eq!(read(folder.path(), 10).expect_err("a folder").kind(), ErrorKind::IsADirectory);
        let missing = read(&folder.path().join("missing"), 10).expect_err("nothing");
        assert_eq!(missing.kind(), ErrorKind::NotFound);
    }
}
