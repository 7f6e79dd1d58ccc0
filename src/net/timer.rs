//! A timer for waits that usually end early.
//!
//! The timer is only reset if it would fire too late. Moving a deadline later, as every request does, costs
//! nothing; a timer that fires too early is reset then.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep, sleep_until};

#[derive(Debug, Default)]
pub(crate) struct Timer {
    timer: Option<Pin<Box<Sleep>>>,
}

impl Timer {
    /// Waits until `at`. Cancel-safe.
    pub(crate) async fn reached(&mut self, at: Instant) {
        poll_fn(|cx| self.poll_reached(cx, at)).await;
    }

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
