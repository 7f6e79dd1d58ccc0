//! The predecessor: the process that wrote the store before and now finishes its last exchanges. It sends their
//! rows, which become blocks of this store.
//!
//! A block is acknowledged once it is synced. Until then the predecessor keeps it, and writes it itself if this
//! process ends.

use std::collections::VecDeque;
use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use jiff::Timestamp;
use rustix::net::{SendFlags, send};

use crate::access::{Gap, GapReason};
use crate::retention::format::rows::RowBlock;
use crate::retention::write::link::{Frame, read_frame};
use crate::retention::write::recorder::Shared;

/// Blocks that wait for the writer; the others wait in the predecessor.
const WAITING: usize = 16;

/// What the predecessor sent.
pub(super) enum Arrival {
    Block(RowBlock),
    /// It was killed: its last records may be missing.
    Gap(Gap),
}

pub(super) struct Predecessor {
    frames: Receiver<io::Result<Frame>>,
    link: UnixStream,
    /// For each block that is not synced yet, the `seq` after it.
    unsynced: VecDeque<u64>,
    /// Acknowledgements that are not sent yet.
    owed: usize,
    /// The time of its latest record, or of the handover.
    latest: Timestamp,
    ended: bool,
}

impl Predecessor {
    /// Starts to read the link, on a thread of its own.
    pub(super) fn start(link: UnixStream, shared: &Arc<Shared>, now: Timestamp) -> io::Result<Self> {
        let (sender, frames) = sync_channel(WAITING);
        let (reading, shared) = (link.try_clone()?, Arc::clone(shared));
        let read = move || read(reading, &sender, &shared);
        std::thread::Builder::new().name("predecessor".to_owned()).spawn(read)?;
        Ok(Self { frames, link, unsynced: VecDeque::new(), owed: 0, latest: now, ended: false })
    }

    /// What has arrived next, if anything has.
    pub(super) fn next(&mut self, now: Timestamp) -> Option<Arrival> {
        if self.ended {
            return None;
        }
        match self.frames.try_recv().ok()? {
            Ok(Frame::Block(block)) => {
                let latest = Timestamp::from_millisecond(block.span.1).unwrap_or(self.latest);
                self.latest = latest.max(self.latest);
                Some(Arrival::Block(block))
            }
            Ok(Frame::End) => {
                self.ended = true;
                None
            }
            Err(error) => {
                self.ended = true;
                tracing::error!(
                    "The previous process ended before it had sent all its access records: {error}"
                );
                let (time, since) = (now, self.latest);
                Some(Arrival::Gap(Gap { time, since, reason: GapReason::UncleanStop, count: None }))
            }
        }
    }

    /// The last block ends before `next_seq`, and is not synced yet.
    pub(super) fn written_before(&mut self, next_seq: u64) {
        self.unsynced.push_back(next_seq);
    }

    /// Acknowledges the blocks whose records all have a lower number than `seq`.
    pub(super) fn synced_before(&mut self, seq: u64) {
        while self.unsynced.pop_front_if(|next| *next <= seq).is_some() {
            self.owed += 1;
        }
        self.acknowledge(0);
    }

    /// Acknowledges `blocks` more.
    pub(super) fn acknowledge(&mut self, blocks: usize) {
        self.owed += blocks;
        while self.owed > 0 {
            let bytes = [0; 64];
            let some = &bytes[..self.owed.min(bytes.len())];
            // Waits for nobody. If the predecessor is gone, nobody waits for the acknowledgement.
            let Ok(sent) = send(&self.link, some, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) else { return };
            self.owed -= sent;
        }
    }

    /// Whether nothing follows, and all of it is synced.
    pub(super) fn is_done(&self) -> bool {
        self.ended && self.unsynced.is_empty()
    }
}

impl Drop for Predecessor {
    /// Tells the predecessor that this process writes no more, and ends the thread that reads.
    fn drop(&mut self) {
        let _ = self.link.shutdown(Shutdown::Both);
    }
}

fn read(mut link: UnixStream, sender: &SyncSender<io::Result<Frame>>, shared: &Shared) {
    loop {
        let frame = read_frame(&mut link);
        let is_last = !matches!(frame, Ok(Frame::Block(_)));
        if sender.send(frame).is_err() {
            return;
        }
        shared.wake();
        if is_last {
            return;
        }
    }
}
