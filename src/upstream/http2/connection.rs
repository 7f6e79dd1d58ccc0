//! One HTTP/2 connection to a server, driven by its own task and shared by its streams.
//!
//! A slot is taken before a stream is opened and returned with it, so that no request waits on a full
//! connection. A closing connection gives out no slots; its streams may finish.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, SendRequest};
use h2::{Ping, PingPong};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tokio::time::{Instant, Sleep};

use super::liveness::{Liveness, Observation, Turn};
use super::windows::{self, STREAMS};
use crate::edge::holding::Ahead;
use crate::net::frame_budget::PeerFrames;

/// Bytes of a request body buffered per stream for a slow server.
const SEND_BUFFER: usize = 64 * 1024;
/// The longest response head or trailers, in bytes.
const HEAD_BYTES: u32 = 128 * 1024;
/// Stands for a stream limit that the server has not sent yet.
const UNSETTLED: usize = 0x7ead_beef;
/// Bytes that are read in one turn of a connection.
const TURN_BYTES: usize = 256 * 1024;
/// Time for a connection to close after GOAWAY.
const CLOSING: Duration = Duration::from_secs(1);

/// The state shared by a connection's streams and its driver.
#[derive(Debug)]
pub(crate) struct Http2Connection {
    slots: Mutex<Slots>,
    heard: AtomicBool,
    news: AtomicBool,
    /// Notified when a slot may have become free.
    room: Arc<watch::Sender<()>>,
}

#[derive(Debug)]
struct Slots {
    /// Opens streams; `None` once the connection is closing.
    send: Option<SendRequest<Bytes>>,
    taken: usize,
    /// The server's stream limit; `None` until it has sent one.
    limit: Option<usize>,
}

#[derive(Debug)]
pub(crate) struct StreamSlot {
    pub(crate) send: SendRequest<Bytes>,
    pub(crate) connection: Arc<Http2Connection>,
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        self.connection.slots().taken -= 1;
        self.connection.tell();
    }
}

/// The number of connections in the process.
#[derive(Clone, Debug, Default)]
pub(crate) struct ConnectionCount(Arc<AtomicUsize>);

/// Counts one connection until dropped.
#[derive(Debug)]
struct CountedConnection(ConnectionCount);

impl Drop for CountedConnection {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Http2Connection {
    /// Starts HTTP/2 over `io`. The connection closes after `idle` without streams.
    pub(crate) async fn begin<T>(
        io: T,
        ahead: Ahead,
        idle: Duration,
        count: &ConnectionCount,
        room: Arc<watch::Sender<()>>,
    ) -> io::Result<Arc<Self>>
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let shared = windows::shared(count.0.fetch_add(1, Ordering::Relaxed) + 1);
        let counted = CountedConnection(count.clone());
        let stream_window = windows::of_stream(ahead, shared, 1);
        let connection = Arc::new(Self {
            slots: Mutex::new(Slots { send: None, taken: 0, limit: None }),
            heard: AtomicBool::new(false),
            news: AtomicBool::new(false),
            room,
        });
        let frames = PeerFrames::of_server();
        let io = Heard { io, connection: Arc::clone(&connection), frames, turn: 0 };
        let handshake = Builder::new()
            .enable_push(false)
            .initial_window_size(stream_window)
            .initial_connection_window_size(windows::CONNECTION)
            .max_header_list_size(HEAD_BYTES)
            .max_send_buffer_size(SEND_BUFFER)
            .initial_max_send_streams(UNSETTLED)
            .handshake(io);
        let (send, mut driven) = handshake.await.map_err(io::Error::other)?;
        connection.slots().send = Some(send);
        let pings = driven.ping_pong().ok_or(io::ErrorKind::Other)?;
        let driver = Driver {
            driven,
            pings,
            connection: Arc::clone(&connection),
            began: Instant::now(),
            liveness: Liveness::new(Duration::ZERO),
            timer: Box::pin(tokio::time::sleep(idle)),
            idle,
            ahead,
            shared,
            stream_window,
            closing: None,
            _counted: counted,
        };
        tokio::spawn(driver);
        Ok(connection)
    }

    /// A slot for one more stream, if there is room.
    pub(crate) fn claim(self: &Arc<Self>) -> Option<StreamSlot> {
        let mut slots = self.slots();
        // Before the server has sent its limit, one stream is certainly allowed.
        if slots.taken >= slots.limit.unwrap_or(1) {
            return None;
        }
        let send = slots.send.clone()?;
        slots.taken += 1;
        self.news.store(true, Ordering::Relaxed);
        Some(StreamSlot { send, connection: Arc::clone(self) })
    }

    pub(crate) fn close(&self) {
        let send = self.slots().send.take();
        // Outside of the lock: it wakes the driver.
        drop(send);
    }

    /// Closes the connection if it has no streams; returns whether it did.
    fn retire(&self) -> bool {
        let mut slots = self.slots();
        let send = if slots.taken == 0 { slots.send.take() } else { None };
        let retires = slots.taken == 0;
        drop(slots);
        drop(send);
        retires
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.slots().send.is_none()
    }

    /// The server's stream limit; `None` until it has sent one.
    pub(crate) fn limit(&self) -> Option<usize> {
        self.slots().limit
    }

    /// Waits until the server has sent its limit, or the connection ends.
    pub(crate) async fn settled(&self) {
        let mut room = self.room.subscribe();
        while self.limit().is_none() && !self.is_closing() && room.changed().await.is_ok() {}
    }

    /// Notifies requests that wait for room, if there are any.
    fn tell(&self) {
        if self.room.receiver_count() > 0 {
            self.room.send_replace(());
        }
    }

    /// Notes that the server has sent something other than a reply to a ping.
    pub(crate) fn has_news(&self) {
        self.news.store(true, Ordering::Relaxed);
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Drives a connection's I/O, and watches its liveness.
struct Driver<T> {
    driven: h2::client::Connection<Heard<T>, Bytes>,
    pings: PingPong,
    connection: Arc<Http2Connection>,
    began: Instant,
    liveness: Liveness,
    timer: Pin<Box<Sleep>>,
    idle: Duration,
    ahead: Ahead,
    shared: u32,
    stream_window: u32,
    /// When a closing connection is dropped at the latest.
    closing: Option<Instant>,
    _counted: CountedConnection,
}

impl<T> Drop for Driver<T> {
    fn drop(&mut self) {
        self.connection.close();
        self.connection.tell();
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Future for Driver<T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        loop {
            // Its streams know how it ended.
            if Pin::new(&mut this.driven).poll(cx).is_ready() {
                return Poll::Ready(());
            }
            let streams = this.learn(cx);
            this.share_window(streams);
            // `Heard` notices that it arrived.
            let _ = this.pings.poll_pong(cx);
            let now = this.began.elapsed();
            let observed = Observation {
                streams,
                heard: this.connection.heard.swap(false, Ordering::Relaxed),
                news: this.connection.news.swap(false, Ordering::Relaxed),
            };
            let until = match this.liveness.look(observed, now, this.idle) {
                Turn::Wait => return Poll::Pending,
                Turn::WaitUntil(time) => this.began + time,
                Turn::Ping => {
                    // A ping that is still outstanding serves as well.
                    let _ = this.pings.send_ping(Ping::opaque());
                    continue;
                }
                Turn::GiveUp => return Poll::Ready(()),
                Turn::Retire => match this.closing {
                    Some(until) if until <= Instant::now() => return Poll::Ready(()),
                    Some(until) => until,
                    None => {
                        if this.connection.retire() {
                            this.closing = Some(Instant::now() + CLOSING);
                        }
                        continue;
                    }
                },
            };
            if until < this.timer.deadline() || this.timer.is_elapsed() {
                this.timer.as_mut().reset(until);
            }
            if this.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Driver<T> {
    /// Updates the stream limit from the server's settings, and closes when it takes no more streams. Returns
    /// the number of open streams.
    fn learn(&mut self, cx: &mut Context<'_>) -> usize {
        let allowed = self.driven.max_concurrent_send_streams();
        let limit = (allowed != UNSETTLED).then_some(allowed.min(STREAMS));
        let mut slots = self.connection.slots();
        let more = limit > slots.limit;
        slots.limit = limit;
        let failed = |send: &mut SendRequest<_>| matches!(send.poll_ready(cx), Poll::Ready(Err(_)));
        let ends = if slots.send.as_mut().is_some_and(failed) { slots.send.take() } else { None };
        let taken = slots.taken;
        drop(slots);
        if more || ends.is_some() {
            self.connection.tell();
        }
        taken
    }

    fn share_window(&mut self, streams: usize) {
        let share = windows::of_stream(self.ahead, self.shared, streams);
        // Fails until the server has acknowledged the previous change; tried again later.
        if share != self.stream_window && self.driven.set_initial_window_size(share).is_ok() {
            self.stream_window = share;
        }
    }
}

/// Notes that bytes have arrived, and holds the server to its frames.
struct Heard<T> {
    io: T,
    connection: Arc<Http2Connection>,
    frames: PeerFrames,
    /// Bytes read in this turn.
    turn: usize,
}

impl<T: AsyncRead + Unpin> AsyncRead for Heard<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.turn >= TURN_BYTES {
            // Streams take what has come, and others have their turn.
            self.turn = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut self.io).poll_read(cx, buffer);
        let read = buffer.filled().len() - before;
        if read > 0 {
            self.connection.heard.store(true, Ordering::Relaxed);
            self.turn += read;
            if !self.frames.received(&buffer.filled()[before..]) {
                let flood = "the server sends frames without end that move no message";
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, flood)));
            }
        } else if outcome.is_pending() {
            self.turn = 0;
        }
        outcome
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Heard<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.io).poll_write(cx, bytes);
        if let Poll::Ready(Ok(written)) = outcome {
            self.frames.sent(&bytes[..written]);
        }
        outcome
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        if let Poll::Ready(Ok(mut left)) = outcome {
            for slice in slices {
                let of_slice = left.min(slice.len());
                self.frames.sent(&slice[..of_slice]);
                left -= of_slice;
            }
        }
        outcome
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
