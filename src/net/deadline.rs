//! A timer for waits that mostly end well.
//!
//! It is set anew only where it would fire too late: moving a deadline away, as every request does,
//! costs nothing, and a timer that fires early is set again then.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep, sleep_until};

/// A timer that is used for one wait after the other.
#[derive(Debug, Default)]
pub(crate) struct Deadline {
    timer: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    /// Until `at`. Nothing is lost where it is dropped.
    pub(crate) async fn reached(&mut self, at: Instant) {
        poll_fn(|cx| self.poll_reached(cx, at)).await;
    }

    /// The same.
    pub(crate) fn poll_reached(&mut self, cx: &mut Context<'_>, at: Instant) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(at)));
        loop {
            if at < timer.deadline() || timer.is_elapsed() {
                timer.as_mut().reset(at);
            }
            ready!(timer.as_mut().poll(cx));
            if Instant::now() >= at {
                return Poll::Ready(());
            }
        }
    }
}
