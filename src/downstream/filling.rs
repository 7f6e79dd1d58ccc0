//! A response that the cache watches on its way to a client.
//!
//! While it is being stored, a slow client does not slow it: what the client has not taken waits here, bounded as what
//! is stored is. A client that leaves does not end it: others wait for the same response.

use std::collections::VecDeque;
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use super::ClientFailure;
use super::client::ClientSession;
use crate::cache::Fill;
use crate::net::timer::Timer;

pub(crate) struct Filling {
    pub(crate) fill: Fill,
    /// What the client is given next.
    backlog: VecDeque<Bytes>,
    /// Whether the session still has bytes that the client has not taken.
    is_busy: bool,
    /// Whether the client has left.
    pub(super) has_left: bool,
    /// Bytes that no client will get.
    lost: u64,
}

impl Filling {
    pub(super) fn new(fill: Fill) -> Self {
        Self { fill, backlog: VecDeque::new(), is_busy: false, has_left: false, lost: 0 }
    }

    /// Bytes of the body that the client was not given.
    pub(crate) fn unsent(&self) -> u64 {
        self.lost + self.waiting()
    }

    fn waiting(&self) -> u64 {
        self.backlog.iter().map(|bytes| bytes.len() as u64).sum()
    }

    pub(crate) fn has_left(&self) -> bool {
        self.has_left
    }

    pub(super) fn is_busy(&self) -> bool {
        self.is_busy
    }

    /// Goes on without the client, if the fill does; else fails as the client did.
    pub(super) fn leave(
        &mut self,
        session: &mut ClientSession<'_>,
        failure: ClientFailure,
    ) -> Result<(), ClientFailure> {
        if !self.has_left && !self.fill.outlives_client() {
            return Err(failure);
        }
        self.lost += self.waiting();
        self.backlog.clear();
        (self.is_busy, self.has_left) = (false, true);
        *session = ClientSession::Absent(Timer::default());
        Ok(())
    }

    pub(super) fn put(&mut self, session: &mut ClientSession<'_>, bytes: Bytes) -> Result<(), ClientFailure> {
        if self.fill.answered_by().is_some() {
            // A stored response answers: the rest of this one is not wanted.
            return Err(ClientFailure::Gone);
        }
        self.fill.push(&bytes);
        if self.has_left {
            self.lost += bytes.len() as u64;
            // Stored no longer, and nobody is left who wants it.
            return if self.fill.is_storing() { Ok(()) } else { Err(ClientFailure::Gone) };
        }
        if self.is_busy {
            self.backlog.push_back(bytes);
            return Ok(());
        }
        self.is_busy = true;
        session.put_body(bytes).or_else(|failure| self.leave(session, failure))
    }

    /// Ready once the client has taken one more piece, or all.
    pub(super) fn poll_piece(
        &mut self,
        session: &mut ClientSession<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), ClientFailure>> {
        if !self.is_busy {
            return Poll::Ready(Ok(()));
        }
        let taken = ready!(session.poll_taken(cx)).and_then(|()| match self.backlog.pop_front() {
            Some(next) => session.put_body(next),
            None => {
                self.is_busy = false;
                Ok(())
            }
        });
        Poll::Ready(taken.or_else(|failure| self.leave(session, failure)))
    }

    /// Ready once there is room for more: always while the response is being stored.
    pub(super) fn poll_room(
        &mut self,
        session: &mut ClientSession<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), ClientFailure>> {
        if !self.fill.is_storing() {
            return self.poll_piece(session, cx);
        }
        while self.is_busy {
            match self.poll_piece(session, cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(failure)) => return Poll::Ready(Err(failure)),
                Poll::Pending => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}
