//! Syncs beside the writer: records go on being written while the disk takes its time, so that a
//! killed process loses no more of them because a sync is slow.

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
    /// Starts the thread, which ends with the value.
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

    /// Begins to sync `file`, once; how that ended is told once.
    pub(super) fn begin(&self, file: Arc<File>) -> io::Result<()> {
        self.files.send(file).map_err(|_| ended())
    }

    /// How the sync ended that was begun, if it did.
    pub(super) fn poll(&self) -> Option<io::Result<()>> {
        match self.done.try_recv() {
            Ok(synced) => Some(synced),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err(ended())),
        }
    }

    /// Waits until the sync ended that was begun.
    pub(super) fn wait(&self) -> io::Result<()> {
        self.done.recv().unwrap_or_else(|RecvError| Err(ended()))
    }
}

fn ended() -> io::Error {
    io::Error::other("the thread that syncs has ended")
}
