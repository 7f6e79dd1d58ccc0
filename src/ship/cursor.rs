//! How far a sink has got, in a small file beside the store.
//!
//! The file is a convenience: without it, everything in the store is shipped again, and repeats are told by their
//! identity. It is bound to where the sink points, so that another bucket or topic begins with the oldest record.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::config::sinks::{Sink, SinkSettings};
use crate::regular_file;
use crate::retention::format::note;

/// The folder of cursors, in the store.
const FOLDER: &str = "sinks";
const MAX_BYTES: u64 = 4096;

/// How far a sink has got.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct Cursor {
    /// Where the sink points.
    target: String,
    /// The number of the first record that is not acknowledged.
    pub next_seq: u64,
    /// The epoch of the record before it.
    #[serde(default)]
    pub epoch: String,
    /// For sinks of segments: the first block of the last segment that was shipped.
    #[serde(default)]
    pub last_segment: Option<u64>,
    /// Blocks before this one are all in the sink, each found immutable for the whole retention.
    #[serde(default)]
    pub confirmed_before: u64,
}

/// The file of one sink's cursor.
#[derive(Debug)]
pub struct CursorFile {
    folder: PathBuf,
    name: String,
    target: String,
}

impl CursorFile {
    /// Of `sink`, whose records are in `store`.
    pub fn of(store: &Path, sink: &Sink) -> Self {
        let digest = Sha256::digest(sink.name.as_bytes());
        let plain = |character: char| character.is_ascii_alphanumeric() || "-_".contains(character);
        let readable: String = sink.name.chars().filter(|one| plain(*one)).take(40).collect();
        let name = format!("{readable}-{:02x}{:02x}{:02x}{:02x}", digest[0], digest[1], digest[2], digest[3]);
        Self { folder: store.join(FOLDER), name, target: target(&sink.settings) }
    }

    /// How far the sink has got; the beginning if nothing is known, or if it pointed elsewhere then.
    pub fn read(&self) -> Cursor {
        let beginning = Cursor { target: self.target.clone(), next_seq: 1, ..Cursor::default() };
        let path = self.folder.join(&self.name);
        let bytes = match regular_file::read(&path, MAX_BYTES) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return beginning,
            Err(error) => {
                tracing::warn!(%error, "a sink's cursor cannot be read: everything is shipped again");
                return beginning;
            }
        };
        match serde_json::from_slice::<Cursor>(&bytes) {
            Ok(cursor) if cursor.target == self.target => cursor,
            Ok(_) => beginning,
            Err(error) => {
                let path = path.display();
                tracing::warn!(%error, %path, "a sink's cursor is damaged: everything is shipped again");
                beginning
            }
        }
    }

    /// Puts `cursor` on the disk.
    pub(super) fn write(&self, cursor: &Cursor) -> io::Result<()> {
        self.create_folder()?;
        note::replace(&self.folder, &self.name, serde_json::to_string(cursor)?.as_bytes(), 0o640)
    }

    /// The path of a file for what the sink's lane makes on its way.
    pub(super) fn scratch(&self) -> io::Result<PathBuf> {
        self.create_folder()?;
        Ok(self.folder.join(format!("{}.part", self.name)))
    }

    fn create_folder(&self) -> io::Result<()> {
        if self.folder.exists() {
            return Ok(());
        }
        use std::os::unix::fs::DirBuilderExt as _;
        std::fs::DirBuilder::new().mode(0o750).create(&self.folder)
    }
}

/// Where a sink points, so that a change of it is noticed. Credentials may change.
fn target(settings: &SinkSettings) -> String {
    match settings {
        SinkSettings::Directory(directory) => format!("directory {}", directory.path.display()),
        SinkSettings::S3(s3) => format!("s3 {} {} {}", s3.endpoint, s3.bucket, s3.prefix),
        SinkSettings::Oss(oss) => format!("oss {} {} {}", oss.endpoint, oss.bucket, oss.prefix),
        SinkSettings::Sls(sls) => format!("sls {} {} {}", sls.endpoint, sls.project, sls.logstore),
        SinkSettings::Kafka(kafka) => {
            let brokers: Vec<_> = kafka.brokers.iter().map(ToString::to_string).collect();
            format!("kafka {} {}", brokers.join(","), kafka.topic)
        }
        SinkSettings::Relp(relp) => format!("relp {}", relp.address),
    }
}
