//! Reads files that others write: bounded in size, and without blocking on a pipe.
//!
//! Anything but a regular file is an error: opening a pipe waits for its other end, and a device may never
//! end.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

/// Reads up to `limit` bytes of the file `path`, and one more if it is larger. Errors are those of the
/// system, or `InvalidInput` for anything but a regular file.
pub fn read_up_to(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    try_open(path)?.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Reads the whole file `path`. Errors name the path; a file larger than `limit` bytes is `FileTooLarge`.
pub fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let bytes = read_up_to(path, limit).map_err(|error| named(path, &error))?;
    if bytes.len() as u64 > limit {
        let text = format!("{} is larger than {limit} bytes", path.display());
        return Err(io::Error::new(ErrorKind::FileTooLarge, text));
    }
    Ok(bytes)
}

/// Opens the file `path` for reading. Errors name the path.
pub fn open(path: &Path) -> io::Result<File> {
    try_open(path).map_err(|error| named(path, &error))
}

fn named(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{} cannot be read: {error}", path.display()))
}

fn try_open(path: &Path) -> io::Result<File> {
    // Without it, opening a pipe waits for its writer.
    let file = OpenOptions::new().read(true).custom_flags(OFlags::NONBLOCK.bits() as i32).open(path)?;
    // Asked of the open file: the path may name another file by now.
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
