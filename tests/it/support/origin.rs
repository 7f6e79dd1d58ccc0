//! An upstream server that does what a test tells it, over raw sockets, and remembers what it saw.
//!
//! A request is answered by a [`Script`]; the body is read before the first step unless the script
//! says when. Everything that came is in [`Origin::seen`] as soon as it came.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::{HandshakeKind, ServerConfig};
use socket2::{Domain, SockRef, Socket, Type};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::message::{Body, Head, Wire};
use super::{PATIENCE, eventually};

/// What is done with a request, step by step. The connection goes on with the next request afterwards.
pub(crate) type Script = Vec<Step>;

#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Sends bytes.
    Send(Vec<u8>),
    /// Sends bytes one by one, with a pause after each.
    Drip(Vec<u8>, Duration),
    /// Sends bytes until the other side is gone.
    Flood,
    /// Goes on once the gate is open, unless the other side goes away.
    Wait(Gate),
    /// Reads the request's body to its end.
    ReadBody,
    /// Sends back whatever comes, until the other side ends.
    Echo,
    /// Ends the connection.
    Close,
    /// Ends the connection with RST.
    Reset,
}

/// Holds a script back until the test opens it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate(Arc<watch::Sender<bool>>);

impl Gate {
    pub(crate) fn open(&self) {
        self.0.send_replace(true);
    }

    /// Holds back what comes to it from now on.
    pub(crate) fn close(&self) {
        self.0.send_replace(false);
    }

    pub(crate) fn is_open(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it is open.
    pub(crate) async fn passed(&self) {
        let _ = self.0.subscribe().wait_for(|open| *open).await;
    }
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    /// The connection it came on, counted from 0.
    pub(crate) connection: usize,
    pub(crate) head: Head,
    /// What has come of the body.
    pub(crate) body: Vec<u8>,
    /// Whether all of the body has come.
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

/// A server on a port of its own. Its port stays its own while it is down.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    seen: Arc<Seen>,
    shared: Arc<Shared>,
    listening: Option<tokio::task::JoinHandle<()>>,
    /// Keeps the port while nobody listens.
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

    /// The same at an address of the test's choice.
    pub(crate) async fn text_at(address: SocketAddr, text: &'static str) -> Self {
        Self::start_at(address, move |_| ok(text)).await
    }

    /// Answers each request as `answer` says, at an address of the test's choice.
    pub(crate) async fn start_at(
        address: SocketAddr,
        answer: impl Fn(&Request) -> Script + Send + Sync + 'static,
    ) -> Self {
        let mut origin = Self::down_at(address, answer, None);
        origin.up();
        origin
    }

    /// The same over TLS.
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

    /// The same at an address of the test's choice.
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

    /// Accepts connections from now on.
    pub(crate) fn up(&mut self) {
        let socket = socket(self.address);
        socket.listen(1024).unwrap();
        let listener = TcpListener::from_std(socket.into()).unwrap();
        let (seen, shared) = (Arc::clone(&self.seen), Arc::clone(&self.shared));
        self.listening = Some(tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let connection = seen.connections.fetch_add(1, Ordering::Relaxed);
                connections.spawn(serve(tcp, connection, Arc::clone(&seen), Arc::clone(&shared)));
            }
        }));
    }

    /// Ends the connections that are open, and accepts new ones without a gap.
    pub(crate) fn hang_up(&mut self) {
        let before = self.listening.take();
        self.up();
        before.expect("it is up").abort();
    }

    /// Refuses connections from now on, and ends those that are open.
    pub(crate) async fn stop(&mut self) {
        if let Some(listening) = self.listening.take() {
            listening.abort();
            let _ = listening.await;
        }
    }

    /// Connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::Relaxed)
    }

    /// Handshakes that resumed an earlier session.
    pub(crate) fn resumed(&self) -> usize {
        self.seen.resumed.load(Ordering::Relaxed)
    }

    /// Connections that are open.
    pub(crate) fn open(&self) -> usize {
        self.seen.open.load(Ordering::Relaxed)
    }

    /// Connections on which something came that is no HTTP/1.1.
    pub(crate) fn nonsense(&self) -> usize {
        self.seen.nonsense.load(Ordering::Relaxed)
    }

    /// Every request so far, as far as it came.
    pub(crate) fn seen(&self) -> Vec<Request> {
        self.seen.requests.lock().unwrap().clone()
    }

    /// How many requests there were so far.
    pub(crate) fn seen_count(&self) -> usize {
        self.seen.requests.lock().unwrap().len()
    }

    /// The one request there was.
    #[track_caller]
    pub(crate) fn only(&self) -> Request {
        let mut seen = self.seen();
        assert_eq!(seen.len(), 1, "one request: {seen:?}");
        seen.remove(0)
    }

    /// Waits until it holds of the requests so far.
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

/// One more open connection, for as long as it is.
struct Open(Arc<Seen>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn serve(tcp: TcpStream, connection: usize, seen: Arc<Seen>, shared: Arc<Shared>) {
    seen.open.fetch_add(1, Ordering::Relaxed);
    let _open = Open(Arc::clone(&seen));
    tcp.set_nodelay(true).unwrap();
    let reset = SockRef::from(&tcp).try_clone().unwrap();
    let stream: Box<dyn Stream> = match &shared.tls {
        None => Box::new(tcp),
        Some(config) => match TlsAcceptor::from(Arc::clone(config)).accept(tcp).await {
            Ok(tls) => {
                let resumed = tls.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
                seen.resumed.fetch_add(usize::from(resumed), Ordering::Relaxed);
                Box::new(tls)
            }
            Err(_) => return,
        },
    };
    // The other side may go away at any time, which many tests are about; it must not talk nonsense.
    if let Err(error) = converse(Wire::new(stream), connection, &seen, &shared, &reset).await
        && error.kind() == io::ErrorKind::InvalidData
    {
        seen.nonsense.fetch_add(1, Ordering::Relaxed);
    }
}

/// What an origin speaks over.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

async fn converse(
    mut wire: Wire<Box<dyn Stream>>,
    connection: usize,
    seen: &Seen,
    shared: &Shared,
    reset: &Socket,
) -> io::Result<()> {
    while let Some(head) = wire.head().await? {
        let mut body = Body::of_request(&head);
        let request = Request { connection, whole: body.is_done(), head, body: Vec::new() };
        let place = {
            let mut requests = seen.requests.lock().unwrap();
            requests.push(request.clone());
            requests.len() - 1
        };
        let script = (shared.answer)(&request);
        if !script.iter().any(|step| matches!(step, Step::ReadBody)) {
            read_body(&mut wire, &mut body, seen, place).await?;
        }
        for step in script {
            match step {
                Step::Send(bytes) => wire.stream.write_all(&bytes).await?,
                Step::Drip(bytes, pause) => {
                    for byte in bytes {
                        wire.stream.write_all(&[byte]).await?;
                        tokio::time::sleep(pause).await;
                    }
                }
                Step::Flood => loop {
                    wire.stream.write_all(&[b'x'; 16 * 1024]).await?;
                },
                Step::Wait(gate) => tokio::select! {
                    () = gate.passed() => {}
                    gone = async { while wire.read().await? {} io::Result::Ok(()) } => return gone,
                },
                Step::ReadBody => read_body(&mut wire, &mut body, seen, place).await?,
                Step::Echo => loop {
                    if wire.ahead.is_empty() && !wire.read().await? {
                        return wire.stream.shutdown().await;
                    }
                    let bytes = wire.ahead.split();
                    wire.stream.write_all(&bytes).await?;
                },
                Step::Close => return wire.stream.shutdown().await,
                Step::Reset => return reset.set_linger(Some(Duration::ZERO)),
            }
        }
        // TLS keeps bytes back otherwise.
        wire.stream.flush().await?;
    }
    Ok(())
}

async fn read_body(
    wire: &mut Wire<Box<dyn Stream>>,
    body: &mut Body,
    seen: &Seen,
    place: usize,
) -> io::Result<()> {
    while let Some(bytes) = body.next(wire).await? {
        seen.requests.lock().unwrap()[place].body.extend_from_slice(&bytes);
    }
    seen.requests.lock().unwrap()[place].whole = true;
    Ok(())
}

/// A head alone: status and fields, as written.
pub(crate) fn head(status: &str, fields: &[&str]) -> Step {
    let mut text = format!("HTTP/1.1 {status}\r\n");
    for field in fields {
        text += field;
        text += "\r\n";
    }
    Step::Send((text + "\r\n").into_bytes())
}

/// Bytes of a body.
pub(crate) fn raw(bytes: impl AsRef<[u8]>) -> Step {
    Step::Send(bytes.as_ref().to_vec())
}

/// One chunk of a chunked body; the empty one ends it.
pub(crate) fn chunk(bytes: impl AsRef<[u8]>) -> Step {
    let bytes = bytes.as_ref();
    Step::Send([format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat())
}

/// A whole answer with a length.
pub(crate) fn answer(status: &str, fields: &[&str], body: impl AsRef<[u8]>) -> Script {
    let body = body.as_ref();
    let length = format!("content-length: {}", body.len());
    let fields: Vec<&str> = fields.iter().copied().chain([length.as_str()]).collect();
    vec![head(status, &fields), raw(body)]
}

/// 200 with a text.
pub(crate) fn ok(text: impl AsRef<[u8]>) -> Script {
    answer("200 OK", &["content-type: text/plain"], text)
}

/// 200 with a page.
pub(crate) fn html(page: impl AsRef<[u8]>) -> Script {
    answer("200 OK", &["content-type: text/html; charset=utf-8"], page)
}
