//! The copy of the last good allowlist on disk.
//!
//! One file, replaced by rename: its first line is a YAML comment with the serial, the version and the hash of the rest.
//! It is in the folder of the record store, so that whatever keeps the records across restarts keeps it too.

use std::fs::Permissions;
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::config::filings::MAX_BYTES;
use crate::config::filings_source::RemoteFilings;
use crate::regular_file;

/// The folder in `access_log.directory`.
const FOLDER: &str = "filings";
/// The first line: a serial, an ETag, a key, a hash, a URL.
const HEAD_BYTES: u64 = 32 << 10;
/// A time.
const CONFIRMED_BYTES: u64 = 256;

/// The first line of a copy.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct Head {
    /// Where it came from.
    pub(super) source: String,
    /// SHA-256 of the allowlist, in hex.
    pub(super) sha256: String,
    /// The ETag, or the revision of etcd.
    pub(super) version: Option<String>,
    /// The serial of its signature.
    pub(super) serial: Option<u64>,
    /// The key that its signature was verified by.
    pub(super) verified_by: Option<String>,
    /// When it was fetched, for people.
    pub(super) fetched: String,
}

/// The copy of one source.
#[derive(Clone, Debug)]
pub struct Copy {
    folder: PathBuf,
    file: PathBuf,
    confirmed: PathBuf,
    source: String,
}

impl Copy {
    /// The copy of `source` in the record store at `store`.
    pub fn of(store: &Path, source: &RemoteFilings) -> Self {
        let source = source.to_string();
        let name = &digest(source.as_bytes())[..16];
        let folder = store.join(FOLDER);
        let (file, confirmed) =
            (folder.join(format!("{name}.yaml")), folder.join(format!("{name}.confirmed")));
        Self { folder, file, confirmed, source }
    }

    /// Its file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The allowlist; `None` if there is no copy. `key` is the text of the public key that has to have verified it.
    pub fn body(&self, key: Option<&str>) -> Result<Option<Bytes>, String> {
        Ok(self.read(key)?.map(|(_, body)| body))
    }

    pub(super) fn read(&self, key: Option<&str>) -> Result<Option<(Head, Bytes)>, String> {
        let bytes = match regular_file::read_up_to(&self.file, HEAD_BYTES + MAX_BYTES) {
            Ok(bytes) => Bytes::from(bytes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.unusable(error)),
        };
        let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
        let line = bytes[..end].strip_prefix(b"# ").unwrap_or_default();
        let head: Head =
            serde_json::from_slice(line).map_err(|_| self.unusable("its first line is damaged"))?;
        let body = bytes.slice((end + 1).min(bytes.len())..);
        if head.source != self.source || head.sha256 != digest(&body) {
            return Err(self.unusable("its content is not what its first line says"));
        }
        if key.is_some_and(|key| head.verified_by.as_deref() != Some(key)) {
            return Err(self.unusable("the key in use has not verified it"));
        }
        Ok(Some((head, body)))
    }

    fn unusable(&self, reason: impl std::fmt::Display) -> String {
        format!("the copy {} cannot be used: {reason}", self.file.display())
    }

    /// Replaces the copy.
    pub(super) fn write(&self, head: &Head, body: &[u8]) -> io::Result<()> {
        let mut line = serde_json::to_vec(head).map_err(io::Error::other)?;
        line.insert(0, b' ');
        line.insert(0, b'#');
        line.push(b'\n');
        self.replace(&self.file, &[&line, body])
    }

    /// Notes that the source held this allowlist at `at`.
    pub(super) fn confirm(&self, at: Timestamp) -> io::Result<()> {
        self.replace(&self.confirmed, &[at.to_string().as_bytes()])
    }

    /// When the source last held what the copy holds; `None` without a copy.
    pub(super) fn last_confirmed(&self) -> Option<Timestamp> {
        let noted = regular_file::read(&self.confirmed, CONFIRMED_BYTES).ok();
        let noted = noted.and_then(|bytes| String::from_utf8(bytes).ok()?.parse().ok());
        let written = || Timestamp::try_from(fs_err::metadata(&self.file).ok()?.modified().ok()?).ok();
        if !self.file.exists() {
            return None;
        }
        noted.or_else(written)
    }

    /// Writes `path` whole: a new file, readable by owner and group, renamed to it.
    fn replace(&self, path: &Path, parts: &[&[u8]]) -> io::Result<()> {
        fs_err::create_dir_all(&self.folder)?;
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        file.as_file().set_permissions(Permissions::from_mode(0o640))?;
        parts.iter().try_for_each(|part| file.write_all(part))?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        fs_err::File::open(&self.folder)?.sync_all()
    }
}

/// SHA-256, in hex.
pub(super) fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::filings_source::UrlSource;
    use crate::config::sinks::{Endpoint, ServerAddress, SinkHost};

    fn source(target: &str) -> RemoteFilings {
        let address = ServerAddress { host: SinkHost::Address([127, 0, 0, 1].into()), port: 80 };
        RemoteFilings::Url(UrlSource {
            endpoint: Endpoint { is_tls: false, address },
            target: target.to_owned(),
            interval: Duration::from_secs(10),
            public_key: None,
            trust: None,
        })
    }

    fn head(body: &[u8]) -> Head {
        Head {
            source: source("/a").to_string(),
            sha256: digest(body),
            version: Some("\"1\"".to_owned()),
            serial: Some(7),
            verified_by: Some("key".to_owned()),
            fetched: Timestamp::UNIX_EPOCH.to_string(),
        }
    }

    #[test]
    fn a_copy_is_read_as_it_was_written_or_not_at_all() {
        let folder = tempfile::tempdir().expect("a folder");
        let copy = Copy::of(folder.path(), &source("/a"));
        assert!(copy.read(None).expect("no copy is no error").is_none());
        copy.write(&head(b"filings: []\n"), b"filings: []\n").expect("written");
        let (read, body) = copy.read(Some("key")).expect("usable").expect("there");
        assert_eq!((read, &*body), (head(b"filings: []\n"), &b"filings: []\n"[..]));
        let mode = fs_err::metadata(copy.file()).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
        assert!(copy.read(Some("another")).expect_err("not by this key").contains("has not verified it"));
        assert!(Copy::of(folder.path(), &source("/b")).read(None).expect("another source").is_none());
        assert!(copy.last_confirmed().is_some(), "the file's time, without a note");
        copy.confirm(Timestamp::UNIX_EPOCH).expect("noted");
        assert_eq!(copy.last_confirmed(), Some(Timestamp::UNIX_EPOCH));

        let whole = fs_err::read(copy.file()).expect("there");
        for damaged in [&whole[..whole.len() - 1], b"filings: []\n", b""] {
            fs_err::write(copy.file(), damaged).expect("written");
            assert!(copy.read(None).is_err(), "{damaged:?}");
        }
    }
}
