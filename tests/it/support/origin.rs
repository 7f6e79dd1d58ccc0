//! A scripted upstream server for HTTP/1.1 that remembers what it received.
//!
//! A [`Script`] answers each request. [`Origin::seen`] has everything as soon as it arrives.

mod connection;
mod script;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::message::Head;
use super::{PATIENCE, eventually};

pub(crate) use script::{Gate, Script, Step, answer, chunk, head, html, ok, raw};

/// A clear-text or TLS stream.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// A request as received.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// The number of its connection, from 0.
    pub(crate) connection: usize,
    pub(crate) head: Head,
    /// The body so far.
    pub(crate) body: Vec<u8>,
    /// Whether the body is complete.
    pub(crate) whole: bool,
}

impl Request {
    pub(crate) fn target(&self) -> &str {
        self.head.start.split(' ').nth(1).unwrap_or_default()
    }

    pub(crate) fn method(&self) -> &str {
        self.head.start.split(' ').next().unwrap_or_default()
    }
}

type Answer = dyn Fn(&Request) -> Script + Send + Sync;

/// A server on a port of its own, which stays reserved while the server is down.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    seen: Arc<Seen>,
    shared: Arc<Shared>,
    listening: Option<tokio::task::JoinHandle<()>>,
    /// Reserves the port.
    _reserved: Socket,
}

#[derive(Debug, Default)]
struct Seen {
    connections: AtomicUsize,
    open: AtomicUsize,
    resumed: AtomicUsize,
    requests: Mutex<Vec<Request>>,
    nonsense: AtomicUsize,
}

struct Shared {
    answer: Box<Answer>,
    tls: Option<Arc<ServerConfig>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Origin {
    /// Answers each request as `answer` says.
    pub(crate) async fn start(answer: impl Fn(&Request) -> Script + Send + Sync + 'static) -> Self {
        let mut origin = Self::down(answer, None);
        origin.up();
        origin
    }

    /// Answers each request with that page.
    pub(crate) async fn html(page: &'static str) -> Self {
        Self::start(move |_| html(page)).await
    }

    /// Answers each request with that text.
    pub(crate) async fn text(text: &'static str) -> Self {
        Self::start(move |_| ok(text)).await
    }

    /// At a chosen address.
    pub(crate) async fn text_at(address: SocketAddr, text: &'static str) -> Self {
        Self::start_at(address, move |_| ok(text)).await
    }

    /// Answers each request as `answer` says, at a chosen address.
    pub(crate) async fn start_at(
        address: SocketAddr,
        answer: impl Fn(&Request) -> Script + Send + Sync + 'static,
    ) -> Self {
        let mut origin = Self::down_at(address, answer, None);
        origin.up();
        origin
    }

    /// Answers each request as `answer` says, over TLS.
    pub(crate) async fn tls(
        config: Arc<ServerConfig>,
        answer: impl Fn(&Request) -> Script + Send + Sync + 'static,
    ) -> Self {
        let mut origin = Self::down(answer, Some(config));
        origin.up();
        origin
    }

    /// A port that refuses connections until [`Origin::up`].
    pub(crate) fn down(
        answer: impl Fn(&Request) -> Script + Send + Sync + 'static,
        tls: Option<Arc<ServerConfig>>,
    ) -> Self {
        Self::down_at(SocketAddr::from(([127, 0, 0, 1], 0)), answer, tls)
    }

    /// At a chosen address.
    pub(crate) fn down_at(
        address: SocketAddr,
        answer: impl Fn(&Request) -> Script + Send + Sync + 'static,
        tls: Option<Arc<ServerConfig>>,
    ) -> Self {
        let reserved = socket(address);
        let address = reserved.local_addr().unwrap().as_socket().unwrap();
        let shared = Arc::new(Shared { answer: Box::new(answer), tls });
        Self { address, seen: Arc::default(), shared, listening: None, _reserved: reserved }
    }

    /// Starts to accept connections.
    pub(crate) fn up(&mut self) {
        let socket = socket(self.address);
        socket.listen(1024).unwrap();
        let listener = TcpListener::from_std(socket.into()).unwrap();
        let (seen, shared) = (Arc::clone(&self.seen), Arc::clone(&self.shared));
        self.listening = Some(tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let number = seen.connections.fetch_add(1, Ordering::Relaxed);
                connections.spawn(connection::serve(tcp, number, Arc::clone(&seen), Arc::clone(&shared)));
            }
        }));
    }

    /// Closes open connections, and keeps accepting new ones.
    pub(crate) fn hang_up(&mut self) {
        let before = self.listening.take();
        self.up();
        before.expect("it is up").abort();
    }

    /// Closes open connections, and refuses new ones.
    pub(crate) async fn stop(&mut self) {
        if let Some(listening) = self.listening.take() {
            listening.abort();
            let _ = listening.await;
        }
    }

    /// The number of connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::Relaxed)
    }

    /// The number of resumed TLS sessions.
    pub(crate) fn resumed(&self) -> usize {
        self.seen.resumed.load(Ordering::Relaxed)
    }

    /// The number of open connections.
    pub(crate) fn open(&self) -> usize {
        self.seen.open.load(Ordering::Relaxed)
    }

    /// The number of connections with malformed requests.
    pub(crate) fn nonsense(&self) -> usize {
        self.seen.nonsense.load(Ordering::Relaxed)
    }

    /// Every request so far, complete or not.
    pub(crate) fn seen(&self) -> Vec<Request> {
        self.seen.requests.lock().unwrap().clone()
    }

    /// The number of requests so far.
    pub(crate) fn seen_count(&self) -> usize {
        self.seen.requests.lock().unwrap().len()
    }

    /// The only request; fails unless there is exactly one.
    #[track_caller]
    pub(crate) fn only(&self) -> Request {
        let mut seen = self.seen();
        assert_eq!(seen.len(), 1, "one request: {seen:?}");
        seen.remove(0)
    }

    /// Waits until `holds` is true of the requests so far.
    pub(crate) async fn until(&self, what: &str, mut holds: impl FnMut(&[Request]) -> bool) {
        eventually(what, PATIENCE, async || holds(&self.seen.requests.lock().unwrap()).then_some(())).await;
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        if let Some(listening) = self.listening.take() {
            listening.abort();
        }
    }
}

fn socket(address: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None).unwrap();
    socket.set_reuse_port(true).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket.bind(&address.into()).unwrap();
    socket
}
