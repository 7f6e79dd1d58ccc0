//! What the streams of a client's HTTP/2 connection make the h2 crate hold: heads, frames of bodies that are not read, answers
//! that are not written.
//!
//! The crate limits each stream. These are the limits of a whole connection. Whatever is held leaves in frames that pass by, or goes
//! with its stream.

use std::task::{Context, Poll, Waker};

/// 256 KiB: answers that wait to be written, over all streams. Four streams fill it, and a write takes all of it.
const UNSENT_MOST: usize = 256 * 1024;
/// 1 MiB: heads of open streams. A hundred heads of a browser, with cookies of 4 KiB, take half of it.
const HEADS_MOST: usize = 1024 * 1024;
/// 2 MiB: bodies that are not read. The windows allow 1 MiB, and 4,096 frames take the rest.
const UNREAD_MOST: usize = 2 * 1024 * 1024;
/// What the h2 crate keeps for each frame that is not read, in bytes.
const FRAME_BYTES: usize = 256;
/// The pieces of answers in front of the h2 crate share 512 KiB.
const PIECES: usize = 512 * 1024;
const LEAST_PIECE: usize = 8 * 1024;
const LARGEST_PIECE: usize = 64 * 1024;

/// The streams of one connection, in growing order.
#[derive(Debug, Default)]
pub(super) struct Held {
    streams: Vec<StreamHeld>,
    heads: usize,
    unread: usize,
    unsent: usize,
}

#[derive(Debug)]
struct StreamHeld {
    stream: u32,
    /// Whether a request was made of it, which is not over.
    is_open: bool,
    head: usize,
    unread: usize,
    unsent: usize,
    /// Waits until others have sent.
    waits: Option<Waker>,
}

impl Held {
    /// A request of the `stream`, with a head of that many bytes. `false` if the heads of others leave no room.
    pub(super) fn open(&mut self, stream: u32, head: usize) -> bool {
        if self.heads > 0 && self.heads + head > HEADS_MOST {
            return false;
        }
        if let Err(place) = self.find(stream) {
            self.heads += head;
            let held = StreamHeld { stream, is_open: true, head, unread: 0, unsent: 0, waits: None };
            self.streams.insert(place, held);
        }
        true
    }

    /// The request is over. What it had to send may still leave.
    pub(super) fn close(&mut self, stream: u32) {
        let Ok(place) = self.find(stream) else { return };
        let held = &mut self.streams[place];
        self.heads -= std::mem::take(&mut held.head);
        self.unread -= std::mem::take(&mut held.unread);
        (held.is_open, held.waits) = (false, None);
        if held.unsent == 0 {
            self.streams.remove(place);
        }
    }

    /// The stream was reset: nothing of it is held any more.
    pub(super) fn reset(&mut self, stream: u32) {
        let Ok(place) = self.find(stream) else { return };
        let held = self.streams.remove(place);
        self.heads -= held.head;
        self.unread -= held.unread;
        self.wake(held.unsent);
        if let Some(waker) = held.waits {
            waker.wake();
        }
    }

    /// A DATA frame has come with that many bytes. `false` if it is one too many.
    pub(super) fn came(&mut self, stream: u32, bytes: usize) -> bool {
        if let Ok(place) = self.find(stream)
            && self.streams[place].is_open
            && bytes > 0
        {
            self.streams[place].unread += bytes + FRAME_BYTES;
            self.unread += bytes + FRAME_BYTES;
        }
        self.unread <= UNREAD_MOST
    }

    /// A DATA frame was read.
    pub(super) fn read(&mut self, stream: u32, bytes: usize) {
        if let Ok(place) = self.find(stream) {
            let held = &mut self.streams[place];
            let read = held.unread.min(bytes + FRAME_BYTES);
            held.unread -= read;
            self.unread -= read;
        }
    }

    /// How many bytes may be queued now; at least one.
    pub(super) fn poll_room(&mut self, stream: u32, cx: &mut Context<'_>) -> Poll<usize> {
        if self.unsent < UNSENT_MOST {
            return Poll::Ready(UNSENT_MOST - self.unsent);
        }
        match self.find(stream) {
            Ok(place) => {
                self.streams[place].waits = Some(cx.waker().clone());
                Poll::Pending
            }
            // It was reset, and the h2 crate says so.
            Err(_) => Poll::Ready(1),
        }
    }

    /// Bytes were queued.
    pub(super) fn queued(&mut self, stream: u32, bytes: usize) {
        if let Ok(place) = self.find(stream) {
            self.streams[place].unsent += bytes;
            self.unsent += bytes;
        }
    }

    /// A DATA frame was written with that many bytes.
    pub(super) fn sent(&mut self, stream: u32, bytes: usize) {
        let Ok(place) = self.find(stream) else { return };
        let held = &mut self.streams[place];
        let sent = held.unsent.min(bytes);
        held.unsent -= sent;
        if held.unsent == 0 && !held.is_open {
            self.streams.remove(place);
        }
        self.wake(sent);
    }

    /// How much of an answer may be read at once.
    pub(super) fn piece(&self) -> usize {
        (PIECES / self.streams.len().max(1)).clamp(LEAST_PIECE, LARGEST_PIECE)
    }

    /// Bytes in all.
    pub(super) fn bytes(&self) -> usize {
        self.heads + self.unread + self.unsent
    }

    /// Subtracts what was sent, and wakes those who wait once half of the room is free.
    fn wake(&mut self, sent: usize) {
        let was_full = self.unsent > UNSENT_MOST / 2;
        self.unsent -= sent;
        if was_full && self.unsent <= UNSENT_MOST / 2 {
            self.streams.iter_mut().filter_map(|held| held.waits.take()).for_each(Waker::wake);
        }
    }

    fn find(&self, stream: u32) -> Result<usize, usize> {
        self.streams.binary_search_by_key(&stream, |held| held.stream)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(held: &mut Held, stream: u32) -> Poll<usize> {
        held.poll_room(stream, &mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn all_streams_share_one_room() {
        let mut held = Held::default();
        assert!(held.open(1, 10) && held.open(3, 10) && held.open(5, 10));
        held.queued(1, UNSENT_MOST - 1);
        assert_eq!(room(&mut held, 3), Poll::Ready(1));
        held.queued(3, 1);
        assert!(room(&mut held, 5).is_pending());
        held.sent(1, 1000);
        assert_eq!(room(&mut held, 5), Poll::Ready(1000));
        held.reset(1);
        assert_eq!(held.bytes(), 21);
        // What a request that is over has to send still counts.
        held.close(3);
        assert_eq!(held.bytes(), 11);
        held.sent(3, 1);
        held.close(5);
        assert_eq!((held.bytes(), held.streams.len()), (0, 0));
    }

    #[test]
    fn heads_and_frames_have_limits() {
        let mut held = Held::default();
        assert!(held.open(1, 2 * HEADS_MOST), "one is always taken");
        assert!(!held.open(3, 1));
        let fits = (0..).take_while(|_| held.came(1, 1)).count();
        assert_eq!(fits, UNREAD_MOST / (FRAME_BYTES + 1));
        held.read(1, 1);
        assert!(held.came(1, 0), "the last one was read");
        held.close(1);
        assert!(held.came(1, 1), "nobody keeps it");
        assert_eq!(held.bytes(), 0);
    }

    #[test]
    fn pieces_become_smaller_the_more_streams_there_are() {
        let mut held = Held::default();
        let mut pieces = Vec::new();
        for stream in 0..100 {
            held.open(stream, 0);
            pieces.push(held.piece() / 1024);
        }
        assert_eq!((pieces[0], pieces[7], pieces[15], pieces[99]), (64, 64, 32, 8));
    }
}
