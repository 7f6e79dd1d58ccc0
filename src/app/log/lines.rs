//! The queue of log lines, and the thread that writes them to stderr.
//!
//! Nobody who logs waits for stderr: a line that finds the queue full is dropped and counted.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use tracing_subscriber::fmt::MakeWriter;

/// Lines that wait for stderr: a burst of a second on a slow terminal.
const LINES: usize = 1024;
/// The longest line: a path of 8 KiB is cut. With `LINES` it bounds the queue to 8 MiB.
const LINE_BYTES: usize = 8 * 1024;

/// How often the writer looks for something to report.
const SECOND: Duration = Duration::from_secs(1);

/// Lines on their way to stderr. Clones are the same queue.
#[derive(Clone, Debug, Default)]
pub(super) struct LineQueue(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// A line has arrived, or the last one is written.
    changed: Condvar,
    dropped: AtomicU64,
}

#[derive(Debug, Default)]
struct Waiting {
    lines: VecDeque<Vec<u8>>,
    /// The writer is at a line that is no longer in `lines`.
    is_writing: bool,
}

impl LineQueue {
    /// Starts the writer. It calls `each_second` about once a second, between two lines.
    pub(super) fn start(&self, mut each_second: impl FnMut() + Send + 'static) -> io::Result<()> {
        let queue = self.clone();
        let write = move || {
            let mut due = Instant::now() + SECOND;
            loop {
                if let Some(line) = queue.next(due) {
                    write_to_stderr(&line);
                }
                if Instant::now() >= due {
                    due = Instant::now() + SECOND;
                    each_second();
                }
            }
        };
        thread::Builder::new().name("log".to_owned()).spawn(write).map(drop)
    }

    /// Lines that were dropped because the queue was full.
    pub(super) fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// Waits until every line is written, at most for `patience`.
    pub(super) fn flush(&self, patience: Duration) {
        let unwritten = |waiting: &mut Waiting| waiting.is_writing || !waiting.lines.is_empty();
        // If stderr is blocked, the lines are lost with the process.
        let _ = self.0.changed.wait_timeout_while(self.waiting(), patience, unwritten);
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: &[u8]) {
        let mut waiting = self.waiting();
        if waiting.lines.len() >= LINES {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        waiting.lines.push_back(cut(line));
        drop(waiting);
        self.0.changed.notify_all();
    }

    /// The next line; `None` if none comes before `due`.
    fn next(&self, due: Instant) -> Option<Vec<u8>> {
        let mut waiting = self.waiting();
        waiting.is_writing = false;
        if waiting.lines.is_empty() {
            self.0.changed.notify_all();
        }
        let wait = due.saturating_duration_since(Instant::now());
        let no_line = |waiting: &mut Waiting| waiting.lines.is_empty();
        let (mut waiting, _) =
            self.0.changed.wait_timeout_while(waiting, wait, no_line).unwrap_or_else(PoisonError::into_inner);
        let line = waiting.lines.pop_front();
        waiting.is_writing = line.is_some();
        line
    }
}

/// A copy of `line` of at most [`LINE_BYTES`] that ends with a line feed.
fn cut(line: &[u8]) -> Vec<u8> {
    if line.len() <= LINE_BYTES {
        return line.to_vec();
    }
    let mut cut = line[..LINE_BYTES - 1].to_vec();
    cut.push(b'\n');
    cut
}

/// Writes without the lock of [`io::stderr`]: if stderr is blocked, nobody else must wait for that lock.
fn write_to_stderr(mut line: &[u8]) {
    let stderr = io::stderr();
    while !line.is_empty() {
        match rustix::io::write(&stderr, line) {
            Ok(written) => line = &line[written..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let _ = rustix::event::poll(&mut [PollFd::new(&stderr, PollFlags::OUT)], None);
            }
            // Nobody is left to tell.
            Err(_) => return,
        }
    }
}

impl<'w> MakeWriter<'w> for LineQueue {
    type Writer = Line<'w>;

    fn make_writer(&'w self) -> Line<'w> {
        Line(self)
    }
}

/// Takes one line, which comes in one write.
#[derive(Debug)]
pub(super) struct Line<'w>(&'w LineQueue);

impl io::Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_drops_and_counts_and_keeps_the_order() {
        let queue = LineQueue::default();
        let line = |number: usize| format!("{number}\n").into_bytes();
        for number in 0..LINES + 3 {
            queue.push(&line(number));
        }
        assert_eq!(queue.dropped(), 3);
        for number in 0..LINES {
            assert_eq!(queue.next(Instant::now()), Some(line(number)));
        }
        assert_eq!(queue.next(Instant::now()), None);
        queue.flush(Duration::MAX);
    }

    #[test]
    fn a_long_line_is_cut_and_stays_a_line() {
        let queue = LineQueue::default();
        queue.push(&[b'x'; 3 * LINE_BYTES]);
        let line = queue.next(Instant::now()).expect("a line");
        assert_eq!((line.len(), line.last()), (LINE_BYTES, Some(&b'\n')));
        // Nobody writes it.
        queue.flush(Duration::ZERO);
    }
}
