//! The bytes of a request body that come before a server is chosen.
//!
//! They are few: all of a small body, or the first read of a large one.

use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use tokio::time::Instant;

use super::client::ClientSession;
use super::{ClientFailure, Wanted};
use crate::net::timer::Timer;

/// 16 KiB: a body of this size, such as a form, is read whole before a server is chosen.
const SMALL: u64 = 16 * 1024;

/// The first bytes as they came, and those behind them, gathered: a client may send one at a time.
#[derive(Default)]
pub(super) struct EarlyBody {
    first: Bytes,
    more: BytesMut,
}

impl EarlyBody {
    pub(super) fn is_empty(&self) -> bool {
        self.first.is_empty() && self.more.is_empty()
    }

    pub(super) fn pop(&mut self) -> Option<Bytes> {
        if self.is_empty() {
            return None;
        }
        Some(if self.first.is_empty() { self.more.split().freeze() } else { std::mem::take(&mut self.first) })
    }

    /// Ready with the first bytes of a body of `length`, or with all of a small one; at the deadline with what has come.
    pub(super) fn poll_begin(
        &mut self,
        length: u64,
        session: &mut ClientSession<'_>,
        cx: &mut Context<'_>,
        (deadline, until): (&mut Timer, Instant),
    ) -> Poll<Result<(), ClientFailure>> {
        while (length <= SMALL || self.is_empty()) && !session.is_body_done() {
            match session.poll_body(cx, Wanted::Body) {
                Poll::Ready(bytes) => self.push(bytes?.unwrap_or_default()),
                Poll::Pending => {
                    ready!(deadline.poll_reached(cx, until));
                    return Poll::Ready(if self.is_empty() { Err(ClientFailure::Slow) } else { Ok(()) });
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    fn push(&mut self, bytes: Bytes) {
        if self.is_empty() {
            self.first = bytes;
        } else {
            self.more.extend_from_slice(&bytes);
        }
    }
}
