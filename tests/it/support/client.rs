//! Clients: HTTP/1 over raw bytes, HTTP/2 through a crate of its own, and HTTP/2 frame by frame.
//!
//! Every wait has a deadline, so that a test fails where the edge hangs.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Buf, Bytes};
use http::Method;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::edge::Edge;
use super::message::{Body, Head, Wire};
use super::origin::Stream;
use super::time::within;
use super::{PATIENCE, pki};

/// How to reach a listener.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// What is trusted; `None` in clear text.
    pub(crate) roots: Option<Arc<RootCertStore>>,
}

impl Target {
    /// The edge's TLS listener.
    pub(crate) fn https(edge: &Edge) -> Self {
        Self { address: edge.https(), roots: Some(Arc::new(edge.authority.roots())) }
    }

    /// The edge's listener in clear text.
    pub(crate) fn http(edge: &Edge) -> Self {
        Self { address: edge.http(), roots: None }
    }

    /// TLS with that server name and protocol.
    pub(crate) async fn tls(&self, name: &str, protocol: &[u8]) -> io::Result<Box<dyn Stream>> {
        self.tls_over(TcpStream::connect(self.address).await?, name, protocol).await
    }

    /// The same over a connection that is there already.
    pub(crate) async fn tls_over(
        &self,
        tcp: TcpStream,
        name: &str,
        protocol: &[u8],
    ) -> io::Result<Box<dyn Stream>> {
        let roots = self.roots.clone().expect("a TLS listener");
        let versions =
            ClientConfig::builder_with_provider(pki::provider()).with_safe_default_protocol_versions();
        let mut config = versions.unwrap().with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let tls = within("the handshake", TlsConnector::from(Arc::new(config)).connect(name, tcp)).await?;
        assert_eq!(tls.get_ref().1.alpn_protocol(), Some(protocol));
        Ok(Box::new(tls))
    }

    /// An HTTP/1 connection: over TLS for `name`, or in clear text.
    pub(crate) async fn http1(&self, name: &str) -> Http1 {
        match &self.roots {
            Some(_) => Http1::over(self.tls(name, b"http/1.1").await.unwrap()),
            None => Http1::over(Box::new(TcpStream::connect(self.address).await.unwrap())),
        }
    }

    /// An HTTP/2 connection for `name`.
    pub(crate) async fn http2(&self, name: &str) -> Http2 {
        Http2::over(self.tls(name, b"h2").await.unwrap(), h2::client::Builder::new()).await
    }

    /// An HTTP/2 connection for `name` that is spoken frame by frame. Nothing is sent yet.
    pub(crate) async fn frames(&self, name: &str) -> Frames {
        Frames { wire: Wire::new(self.tls(name, b"h2").await.unwrap()) }
    }

    /// One GET over a connection of its own.
    pub(crate) async fn get(&self, host: &str, path: &str) -> Answer {
        self.http1(host).await.get(host, path).await
    }
}

/// A whole answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.get(name)
    }
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum End {
    /// In order; in TLS with its goodbye.
    Closed,
    /// With FIN, without TLS's goodbye.
    Cut,
    /// With RST.
    Reset,
}

/// An HTTP/1 connection.
pub(crate) struct Http1 {
    pub(crate) wire: Wire<Box<dyn Stream>>,
}

impl Http1 {
    pub(crate) fn over(stream: Box<dyn Stream>) -> Self {
        Self { wire: Wire::new(stream) }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).await.expect("sent");
    }

    pub(crate) async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        within("room to send", async {
            self.wire.stream.write_all(bytes.as_ref()).await?;
            self.wire.stream.flush().await
        })
        .await
    }

    /// Asks for a path.
    pub(crate) async fn ask(&mut self, method: &str, host: &str, path: &str) {
        self.send(format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
    }

    pub(crate) async fn get(&mut self, host: &str, path: &str) -> Answer {
        self.ask("GET", host, path).await;
        self.answer("GET").await
    }

    /// The next head.
    pub(crate) async fn head(&mut self) -> Head {
        within("a head", self.wire.head()).await.expect("a head").expect("a head before the end")
    }

    /// The answer to a request with that method, interim ones passed over.
    pub(crate) async fn answer(&mut self, method: &str) -> Answer {
        self.try_answer(method).await.expect("an answer")
    }

    pub(crate) async fn try_answer(&mut self, method: &str) -> io::Result<Answer> {
        within("an answer", async {
            loop {
                let head = self.wire.head().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
                let status = status_of(&head);
                if status / 100 == 1 && status != 101 {
                    continue;
                }
                let mut body = Body::of_answer(&head, method);
                let mut bytes = Vec::new();
                while let Some(more) = body.next(&mut self.wire).await? {
                    bytes.extend_from_slice(&more);
                }
                return Ok(Answer { status, head, body: bytes });
            }
        })
        .await
    }

    /// Exactly so many bytes.
    pub(crate) async fn read(&mut self, length: usize) -> Vec<u8> {
        within("bytes", async {
            while self.wire.ahead.len() < length {
                self.wire.fill().await.expect("bytes before the end");
            }
        })
        .await;
        self.wire.ahead.split_to(length).to_vec()
    }

    /// Waits for the end of the connection, and shows what came before it.
    pub(crate) async fn end(&mut self) -> (Vec<u8>, End) {
        let end = within("the end of the connection", async {
            loop {
                match self.wire.read().await {
                    Ok(false) => return End::Closed,
                    Ok(true) => {}
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return End::Cut,
                    Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return End::Reset,
                    Err(error) => panic!("{error}"),
                }
            }
        })
        .await;
        (self.wire.ahead.split().to_vec(), end)
    }
}

pub(crate) fn status_of(head: &Head) -> u16 {
    let status = head.start.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.unwrap_or_else(|| panic!("no status line: {:?}", head.start))
}

/// An HTTP/2 connection.
pub(crate) struct Http2 {
    send: h2::client::SendRequest<Bytes>,
    connection: JoinHandle<Result<(), h2::Error>>,
}

impl Http2 {
    pub(crate) async fn over(stream: Box<dyn Stream>, builder: h2::client::Builder) -> Self {
        let (send, connection) = within("HTTP/2", builder.handshake(stream)).await.unwrap();
        Self { send, connection: tokio::spawn(connection) }
    }

    /// Begins a request; `end` when it has no body.
    pub(crate) async fn begin(
        &mut self,
        method: Method,
        host: &str,
        path: &str,
        fields: &[(&str, &str)],
        end: bool,
    ) -> (h2::client::ResponseFuture, h2::SendStream<Bytes>) {
        let uri = format!("https://{host}{path}");
        let mut request = http::Request::builder().method(method).uri(uri).version(http::Version::HTTP_2);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let ready = within("room for a stream", self.send.clone().ready()).await;
        self.send = ready.expect("an open connection");
        self.send.send_request(request.body(()).unwrap(), end).expect("sent")
    }

    /// Asks for a WebSocket (RFC 8441), once the server has said that it takes them.
    pub(crate) async fn websocket(
        &mut self,
        host: &str,
        path: &str,
    ) -> (h2::client::ResponseFuture, h2::SendStream<Bytes>) {
        let allowed = super::eventually("the setting", PATIENCE, async || {
            self.send.is_extended_connect_protocol_enabled().then_some(())
        });
        allowed.await;
        let request = http::Request::builder()
            .method(Method::CONNECT)
            .uri(format!("https://{host}{path}"))
            .version(http::Version::HTTP_2)
            .extension(h2::ext::Protocol::from_static("websocket"))
            .header("sec-websocket-version", "13")
            .body(())
            .unwrap();
        self.send.send_request(request, false).expect("sent")
    }

    /// A request without a body, and its whole answer.
    pub(crate) async fn request(
        &mut self,
        method: Method,
        host: &str,
        path: &str,
        fields: &[(&str, &str)],
    ) -> Result<Answer, h2::Error> {
        let (response, _) = self.begin(method, host, path, fields, true).await;
        answer(response).await
    }

    pub(crate) async fn get(&mut self, host: &str, path: &str) -> Answer {
        self.request(Method::GET, host, path, &[]).await.expect("an answer")
    }

    /// Waits for the end of the connection.
    pub(crate) async fn end(self) {
        // Whether the client's own goodbye still finds somebody is a matter of luck.
        let _ = within("the end of the connection", self.connection).await.unwrap();
    }

    /// Whether the connection has ended.
    pub(crate) fn is_ended(&self) -> bool {
        self.connection.is_finished()
    }
}

/// The head of an answer over HTTP/2, and its body to come.
pub(crate) async fn head_of(
    response: h2::client::ResponseFuture,
) -> Result<(Answer, h2::RecvStream), h2::Error> {
    let (parts, body) = within("a head", response).await?.into_parts();
    let fields = parts.headers.iter().map(|(name, value)| {
        (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    });
    let head = Head { start: parts.status.to_string(), fields: fields.collect() };
    Ok((Answer { status: parts.status.as_u16(), head, body: Vec::new() }, body))
}

/// The next bytes of a body over HTTP/2.
pub(crate) async fn next_data(body: &mut h2::RecvStream) -> Option<Result<Bytes, h2::Error>> {
    let data = within("a part of the body", body.data()).await?;
    Some(data.inspect(|bytes| body.flow_control().release_capacity(bytes.len()).unwrap()))
}

/// A whole answer over HTTP/2.
pub(crate) async fn answer(response: h2::client::ResponseFuture) -> Result<Answer, h2::Error> {
    let (mut answer, mut body) = head_of(response).await?;
    while let Some(bytes) = next_data(&mut body).await {
        answer.body.extend_from_slice(&bytes?);
    }
    Ok(answer)
}

/// An HTTP/2 connection without a client behind it.
pub(crate) struct Frames {
    pub(crate) wire: Wire<Box<dyn Stream>>,
}

/// A frame as it came.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Bytes,
}

/// The preface and empty settings.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const GOAWAY: u8 = 7;

/// A frame's bytes.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The header block of a GET, in literals that need no table.
pub(crate) fn get_block(host: &str, path: &str) -> Vec<u8> {
    // Indexed: `:method: GET`, `:scheme: https`; then literal values for `:authority` and `:path`.
    let mut block = vec![0x82, 0x87];
    for (index, value) in [(0x01, host), (0x04, path)] {
        block.extend_from_slice(&[index, u8::try_from(value.len()).unwrap()]);
        block.extend_from_slice(value.as_bytes());
    }
    block
}

impl Frames {
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.wire.stream.write_all(bytes).await?;
        self.wire.stream.flush().await
    }

    /// The next frame; `None` at the end of the connection, however it came.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        within("a frame, or the end", async {
            while self.wire.ahead.len() < 9 {
                self.wire.fill().await.ok()?;
            }
            let mut head = self.wire.ahead.split_to(9);
            let length = usize::try_from(head.get_uint(3)).unwrap();
            let (kind, flags, stream) = (head.get_u8(), head.get_u8(), head.get_u32());
            while self.wire.ahead.len() < length {
                self.wire.fill().await.ok()?;
            }
            Some(Frame { kind, flags, stream, payload: self.wire.ahead.split_to(length).freeze() })
        })
        .await
    }

    /// The next frame of that kind; `None` when the connection ends before one.
    pub(crate) async fn next_of(&mut self, kind: u8) -> Option<Frame> {
        loop {
            let frame = self.next().await?;
            if frame.kind == kind {
                return Some(frame);
            }
        }
    }
}
