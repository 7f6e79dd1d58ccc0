//! One HTTP/2 connection to a server, driven by a task of its own and shared by its streams.
//!
//! A slot is taken before a stream is begun, and given back with it, so that no head waits on a
//! connection that is full. One that is closing gives no slots; its streams may finish.

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

use super::liveness::{Liveness, Observed, Turn};
use super::windows::{self, STREAMS};

/// What is held of a request's body for a server that does not take it, in bytes.
const SEND_BUFFER: usize = 64 * 1024;
/// The longest head or trailers of an answer, in bytes.
const HEAD_BYTES: u32 = 128 * 1024;
/// Stands for the number of streams of a server that has not said it yet.
const UNSETTLED: usize = 0x7ead_beef;
/// How long the goodbye of a connection may take.
const CLOSING: Duration = Duration::from_secs(1);

/// What the streams of a connection and its driver share.
#[derive(Debug)]
pub(crate) struct Connection {
    slots: Mutex<Slots>,
    heard: AtomicBool,
    news: AtomicBool,
    /// Told when a slot may have become free.
    room: Arc<watch::Sender<()>>,
}

#[derive(Debug)]
struct Slots {
    /// Begins streams; `None` once the connection is closing.
    send: Option<SendRequest<Bytes>>,
    taken: usize,
    /// How many the server takes; `None` until it has said so.
    limit: Option<usize>,
}

/// Room for one stream of a connection.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) send: SendRequest<Bytes>,
    pub(crate) connection: Arc<Connection>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.connection.slots().taken -= 1;
        self.connection.tell();
    }
}

/// How many connections there are in the process.
#[derive(Clone, Debug, Default)]
pub(crate) struct Count(Arc<AtomicUsize>);

/// One more of them.
#[derive(Debug)]
struct Counted(Count);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Connection {
    /// Speaks HTTP/2 over `io`, until nobody has needed it for `idle`.
    pub(crate) async fn begin<T>(
        io: T,
        idle: Duration,
        count: &Count,
        room: Arc<watch::Sender<()>>,
    ) -> io::Result<Arc<Self>>
    where
        T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let shared = windows::shared(count.0.fetch_add(1, Ordering::Relaxed) + 1);
        let counted = Counted(count.clone());
        let stream_window = windows::of_stream(shared, 1);
        let connection = Arc::new(Self {
            slots: Mutex::new(Slots { send: None, taken: 0, limit: None }),
            heard: AtomicBool::new(false),
            news: AtomicBool::new(false),
            room,
        });
        let io = Heard { io, connection: Arc::clone(&connection) };
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
            shared,
            stream_window,
            closing: None,
            _counted: counted,
        };
        tokio::spawn(driver);
        Ok(connection)
    }

    /// Room for one more stream, if there is.
    pub(crate) fn claim(self: &Arc<Self>) -> Option<Slot> {
        let mut slots = self.slots();
        // Until the server has said how many it takes, it surely takes one.
        if slots.taken >= slots.limit.unwrap_or(1) {
            return None;
        }
        let send = slots.send.clone()?;
        slots.taken += 1;
        self.news.store(true, Ordering::Relaxed);
        Some(Slot { send, connection: Arc::clone(self) })
    }

    /// Gives no slots from now on.
    pub(crate) fn close(&self) {
        let send = self.slots().send.take();
        // Outside of the lock: it wakes the driver.
        drop(send);
    }

    /// The same, unless there is a stream. Whether it was so.
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

    /// How many streams the server takes at once; `None` until it has said so.
    pub(crate) fn limit(&self) -> Option<usize> {
        self.slots().limit
    }

    /// Until the server has said what it takes, or the connection ends.
    pub(crate) async fn settled(&self) {
        let mut room = self.room.subscribe();
        while self.limit().is_none() && !self.is_closing() && room.changed().await.is_ok() {}
    }

    /// Tells those who wait for room, if there are any.
    fn tell(&self) {
        if self.room.receiver_count() > 0 {
            self.room.send_replace(());
        }
    }

    /// The server has said something of its own.
    pub(crate) fn has_news(&self) {
        self.news.store(true, Ordering::Relaxed);
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Moves a connection's frames, and watches over it.
struct Driver<T> {
    driven: h2::client::Connection<Heard<T>, Bytes>,
    pings: PingPong,
    connection: Arc<Connection>,
    began: Instant,
    liveness: Liveness,
    timer: Pin<Box<Sleep>>,
    idle: Duration,
    shared: u32,
    stream_window: u32,
    /// When a connection that says goodbye is dropped all the same.
    closing: Option<Instant>,
    _counted: Counted,
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
            // However it ended, its streams know.
            if Pin::new(&mut this.driven).poll(cx).is_ready() {
                return Poll::Ready(());
            }
            let streams = this.learn(cx);
            this.share_window(streams);
            // That it came is heard by itself.
            let _ = this.pings.poll_pong(cx);
            let now = this.began.elapsed();
            let observed = Observed {
                streams,
                heard: this.connection.heard.swap(false, Ordering::Relaxed),
                news: this.connection.news.swap(false, Ordering::Relaxed),
            };
            let until = match this.liveness.look(observed, now, this.idle) {
                Turn::Wait => return Poll::Pending,
                Turn::WaitUntil(time) => this.began + time,
                Turn::Ping => {
                    // One that is still under way does as well.
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
    /// Learns from the server how many streams it takes, and whether it takes more at all. The number of
    /// those that are open.
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
        let share = windows::of_stream(self.shared, streams);
        // It is refused while the server has not confirmed the change before.
        if share != self.stream_window && self.driven.set_initial_window_size(share).is_ok() {
            self.stream_window = share;
        }
    }
}

/// Notes that bytes have come.
struct Heard<T> {
    io: T,
    connection: Arc<Connection>,
}

impl<T: AsyncRead + Unpin> AsyncRead for Heard<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let outcome = Pin::new(&mut self.io).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.connection.heard.store(true, Ordering::Relaxed);
        }
        outcome
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Heard<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, slices)
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
