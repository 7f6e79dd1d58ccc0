//! The sink `directory`: files copied to another directory, such as a mounted share.
//!
//! A file appears under its name whole and synced, or not at all. The directory is laid out as a store: `icpgate
//! logs verify` and `logs export` read it.

use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use fs_err::{File, OpenOptions};
use futures_util::FutureExt as _;
use jiff::Timestamp;

use super::sink::{Body, Promise, Put, SegmentSink, SinkResult, Stored};
use crate::remote::failure::RemoteFailure;
use crate::retention::format::note;

/// How much is copied at once.
const CHUNK: usize = 256 * 1024;
/// Keys in a page of a listing.
const PAGE: usize = 1000;

/// A directory.
#[derive(Debug)]
pub(super) struct DirectorySink {
    path: PathBuf,
    /// The file system that it was on at the first use: another one means that a share was mounted or is gone.
    device: Option<u64>,
}

impl DirectorySink {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), device: None }
    }

    /// Sees that the directory is there, and the same as before. Its last part is created if that is missing.
    fn check(&mut self) -> io::Result<()> {
        let found = match std::fs::metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs_err::create_dir(&self.path)?;
                fs_err::metadata(&self.path)?
            }
            found => found?,
        };
        if *self.device.get_or_insert(found.dev()) != found.dev() {
            self.device = Some(found.dev());
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                "another file system is there now: a share was mounted or unmounted",
            ));
        }
        Ok(())
    }

    fn put_now(&mut self, key: &str, body: &Body) -> io::Result<Put> {
        self.check()?;
        let path = self.path.join(key);
        if path.exists() {
            return if is_same(&path, body)? {
                Ok(Put::Present)
            } else {
                Err(io::Error::new(
                    io::ErrorKind::AlreadyExists,
                    "another file is there; each edge needs a directory of its own",
                ))
            };
        }
        let folder = path.parent().unwrap_or(&self.path);
        fs_err::create_dir_all(folder)?;
        let part = folder.join(format!(".{}.part", path.file_name().unwrap_or_default().display()));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(&part)?;
        match body {
            Body::Bytes(bytes) => file.write_all(bytes)?,
            Body::File(from) => copy(&mut File::open(from)?, &mut file)?,
        }
        file.sync_all()?;
        fs_err::rename(&part, &path)?;
        File::open(folder)?.sync_all()?;
        Ok(Put::Created)
    }

    fn list_now(&self, prefix: &str, after: &str) -> io::Result<Vec<String>> {
        // A prefix is a folder, or the beginning of names in the directory itself.
        let (folder, begins) =
            prefix.rsplit_once('/').map_or(("", prefix), |(folder, begins)| (folder, begins));
        let mut keys = Vec::new();
        let entries = match std::fs::read_dir(self.path.join(folder)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(keys),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let key = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
            if name.starts_with(begins) && !name.starts_with('.') && key.as_str() > after {
                if entry.file_type()?.is_dir() {
                    keys.extend(self.list_now(&format!("{key}/"), after)?);
                } else {
                    keys.push(key);
                }
            }
        }
        keys.sort_unstable();
        keys.truncate(PAGE);
        Ok(keys)
    }

    fn failed(&self, key: &str, error: &io::Error) -> RemoteFailure {
        RemoteFailure::of_io(self.path.join(key).display(), error)
    }
}

impl SegmentSink for DirectorySink {
    fn put<'a>(&'a mut self, key: &'a str, body: &'a Body, _: Timestamp) -> SinkResult<'a, Put> {
        // The lane has this thread for itself: it may wait for the disk.
        async move { self.put_now(key, body).map_err(|error| self.failed(key, &error)) }.boxed()
    }

    fn head<'a>(&'a mut self, key: &'a str) -> SinkResult<'a, Option<Stored>> {
        async move {
            match self.check().and_then(|()| std::fs::metadata(self.path.join(key))) {
                Ok(found) => Ok(Some(Stored { bytes: found.len(), retain_until: None })),
                Err(error) if error.kind() == io::ErrorKind::NotFound && self.path.exists() => Ok(None),
                Err(error) => Err(self.failed(key, &error)),
            }
        }
        .boxed()
    }

    fn list<'a>(&'a mut self, prefix: &'a str, after: &'a str) -> SinkResult<'a, Vec<String>> {
        async move { self.list_now(prefix, after).map_err(|error| self.failed(prefix, &error)) }.boxed()
    }

    fn get<'a>(&'a mut self, key: &'a str, to: &'a Path) -> SinkResult<'a, ()> {
        async move {
            let copied = File::open(self.path.join(key)).and_then(|mut from| {
                let mut to = OpenOptions::new().write(true).create_new(true).open(to)?;
                copy(&mut from, &mut to)
            });
            copied.map_err(|error| self.failed(key, &error))
        }
        .boxed()
    }

    fn is_locked<'a>(&'a mut self, _: &'a str, _: Timestamp) -> SinkResult<'a, bool> {
        async move { Ok(false) }.boxed()
    }

    fn publish<'a>(&'a mut self, name: &'a str, bytes: Bytes, _: Timestamp) -> SinkResult<'a, ()> {
        async move {
            let replaced = self.check().and_then(|()| note::replace(&self.path, name, &bytes, 0o644));
            replaced.map_err(|error| self.failed(name, &error))
        }
        .boxed()
    }

    fn replaces(&self) -> bool {
        true
    }

    fn promise(&mut self, _: Duration) -> SinkResult<'_, Promise> {
        async move {
            self.check().map_err(|error| self.failed("", &error))?;
            let why = "whoever can write to the directory can change and delete what is in it".to_owned();
            Ok(Promise::Nothing { why })
        }
        .boxed()
    }
}

fn copy(from: &mut File, to: &mut File) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK];
    loop {
        match from.read(&mut chunk)? {
            0 => return Ok(()),
            read => to.write_all(&chunk[..read])?,
        }
    }
}

/// Whether the file at `path` holds `body` and no more.
fn is_same(path: &Path, body: &Body) -> io::Result<bool> {
    match body {
        Body::Bytes(bytes) => {
            let length = fs_err::metadata(path)?.len();
            Ok(length == bytes.len() as u64 && fs_err::read(path)? == **bytes)
        }
        Body::File(other) => {
            if fs_err::metadata(path)?.len() != fs_err::metadata(other)?.len() {
                return Ok(false);
            }
            let (mut one, mut other) =
                (io::BufReader::with_capacity(CHUNK, File::open(path)?), File::open(other)?);
            let (mut left, mut right) = (vec![0; CHUNK], vec![0; CHUNK]);
            loop {
                let read = other.read(&mut right)?;
                if read == 0 {
                    return Ok(true);
                }
                one.read_exact(&mut left[..read])?;
                if left[..read] != right[..read] {
                    return Ok(false);
                }
            }
        }
    }
}
