//! An upstream server that speaks HTTP/2, in clear text or over TLS.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response, StatusCode};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use super::origin::Stream;

type Connected = Connection<Box<dyn Stream>, Bytes>;
type Served = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A server on a port of its own.
#[derive(Debug)]
pub(crate) struct Http2Origin {
    pub(crate) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
    listening: JoinHandle<()>,
}

impl Http2Origin {
    /// Serves each request with `answer`, in clear text.
    pub(crate) async fn start<F>(answer: impl Fn(Exchange) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::configured(Builder::new(), None, answer).await
    }

    /// Serves each request with `answer`, with these settings, over TLS if `tls` is given.
    pub(crate) async fn configured<F>(
        builder: Builder,
        tls: Option<Arc<ServerConfig>>,
        answer: impl Fn(Exchange) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let requests = Arc::new(AtomicUsize::new(0));
        let (counted, answer) = (Arc::clone(&requests), Arc::new(answer));
        let mut origin = Self::connected(builder, tls, move |mut connection, number| {
            let (counted, answer) = (Arc::clone(&counted), Arc::clone(&answer));
            Box::pin(async move {
                let mut exchanges = JoinSet::new();
                while let Some(Ok((request, respond))) = connection.accept().await {
                    counted.fetch_add(1, Ordering::Relaxed);
                    exchanges.spawn(answer(Exchange::new(number, request, respond)));
                }
            })
        })
        .await;
        origin.requests = requests;
        origin
    }

    /// Serves each HTTP/2 connection, numbered from 0, with `serve`.
    pub(crate) async fn connected(
        builder: Builder,
        tls: Option<Arc<ServerConfig>>,
        serve: impl Fn(Connected, usize) -> Served + Send + Sync + 'static,
    ) -> Self {
        let serve = Arc::new(serve);
        Self::raw(tls, move |stream, number| {
            let (builder, serve) = (builder.clone(), Arc::clone(&serve));
            Box::pin(async move {
                if let Ok(connection) = builder.handshake(stream).await {
                    serve(connection, number).await;
                }
            })
        })
        .await
    }

    /// Serves the bytes of each connection, numbered from 0, with `serve`.
    pub(crate) async fn raw(
        tls: Option<Arc<ServerConfig>>,
        serve: impl Fn(Box<dyn Stream>, usize) -> Served + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let (counted, serve) = (Arc::clone(&connections), Arc::new(serve));
        let listening = tokio::spawn(async move {
            let mut open = JoinSet::new();
            loop {
                let (tcp, _) = listener.accept().await.unwrap();
                let number = counted.fetch_add(1, Ordering::Relaxed);
                let (serve, tls) = (Arc::clone(&serve), tls.clone());
                open.spawn(async move {
                    if let Some(stream) = over(tcp, tls).await {
                        serve(stream, number).await;
                    }
                });
            }
        });
        Self { address, connections, requests: Arc::default(), listening }
    }

    /// The number of connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// The number of requests so far.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }
}

impl Drop for Http2Origin {
    fn drop(&mut self) {
        self.listening.abort();
    }
}

async fn over(tcp: TcpStream, tls: Option<Arc<ServerConfig>>) -> Option<Box<dyn Stream>> {
    tcp.set_nodelay(true).unwrap();
    Some(match tls {
        None => Box::new(tcp),
        Some(config) => Box::new(TlsAcceptor::from(config).accept(tcp).await.ok()?),
    })
}

/// A request, and the means to answer it.
#[derive(Debug)]
pub(crate) struct Exchange {
    /// The number of its connection, from 0.
    pub(crate) connection: usize,
    pub(crate) head: http::request::Parts,
    pub(crate) body: RecvStream,
    pub(crate) respond: SendResponse<Bytes>,
}

impl Exchange {
    fn new(connection: usize, request: Request<RecvStream>, respond: SendResponse<Bytes>) -> Self {
        let (head, body) = request.into_parts();
        Self { connection, head, body, respond }
    }

    pub(crate) fn path(&self) -> &str {
        self.head.uri.path()
    }

    /// The next bytes of the body.
    pub(crate) async fn data(&mut self) -> Option<Result<Bytes, h2::Error>> {
        let data = self.body.data().await?;
        Some(data.inspect(|bytes| self.body.flow_control().release_capacity(bytes.len()).unwrap()))
    }

    /// The whole body and its trailers.
    pub(crate) async fn whole(&mut self) -> Result<(Vec<u8>, Option<HeaderMap>), h2::Error> {
        let mut body = Vec::new();
        while let Some(bytes) = self.data().await {
            body.extend_from_slice(&bytes?);
        }
        Ok((body, self.body.trailers().await?))
    }

    /// Sends a head.
    pub(crate) fn head(
        &mut self,
        status: StatusCode,
        fields: &[(&str, &str)],
        end: bool,
    ) -> SendStream<Bytes> {
        let mut head = Response::builder().status(status);
        for (name, value) in fields {
            head = head.header(*name, *value);
        }
        self.respond.send_response(head.body(()).unwrap(), end).expect("sent")
    }

    /// Answers with 200 and that text.
    pub(crate) fn text(&mut self, text: &str) {
        let length = text.len().to_string();
        let mut body =
            self.head(StatusCode::OK, &[("content-type", "text/plain"), ("content-length", &length)], false);
        body.send_data(Bytes::copy_from_slice(text.as_bytes()), true).expect("sent");
    }
}

/// Sends `bytes` as flow control permits.
pub(crate) async fn send_all(body: &mut SendStream<Bytes>, mut bytes: Bytes) -> Result<(), h2::Error> {
    while !bytes.is_empty() {
        body.reserve_capacity(bytes.len().min(64 * 1024));
        while body.capacity() == 0 {
            match std::future::poll_fn(|cx| body.poll_capacity(cx)).await {
                Some(room) => room?,
                None => return Err(h2::Reason::CANCEL.into()),
            };
        }
        let room = body.capacity().min(bytes.len());
        body.send_data(bytes.split_to(room), false)?;
    }
    Ok(())
}
