//! fsync on a thread of its own, so that the writer goes on writing meanwhile: a killed process then loses no
//! more records because a sync is slow.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvError, Sender, TryRecvError, channel};

use fs_err::File;

/// A thread that syncs files, one at a time.
#[derive(Debug)]
pub(super) struct Syncer {
    files: Sender<Arc<File>>,
    done: Receiver<io::Result<()>>,
}

impl Syncer {
    /// Starts the thread; it ends when this value is dropped.
    pub(super) fn start() -> io::Result<Self> {
        let (files, given) = channel::<Arc<File>>();
        let (tell, done) = channel();
        std::thread::Builder::new().name("access-sync".to_owned()).spawn(move || {
            while let Ok(file) = given.recv() {
                if tell.send(file.sync_data()).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { files, done })
    }

    /// Begins to sync `file`. The result is returned once, by `poll` or `wait`.
    pub(super) fn begin(&self, file: Arc<File>) -> io::Result<()> {
        self.files.send(file).map_err(|_| ended())
    }

    /// The result of the sync, if it has ended.
    pub(super) fn poll(&self) -> Option<io::Result<()>> {
        match self.done.try_recv() {
            Ok(synced) => Some(synced),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err(ended())),
        }
    }

    /// Waits for the sync, and returns its result.
    pub(super) fn wait(&self) -> io::Result<()> {
        self.done.recv().unwrap_or_else(|RecvError| Err(ended()))
    }
}

fn ended() -> io::Error {
    io::Error::other("the sync thread has ended")
}
