//! Clients: HTTP/1 over raw bytes, HTTP/2 by the h2 crate, and HTTP/2 frame by frame.
//!
//! Every wait has a deadline: a test fails where the edge hangs.

mod frames;
mod http1;
mod http2;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::edge::Edge;
use super::message::{Head, Wire};
use super::origin::Stream;
use super::pki;
use super::time::within;

pub(crate) use frames::{DATA, Frames, GOAWAY, HEADERS, PREFACE, RST_STREAM, frame, get_block};
pub(crate) use http1::{Http1, status_of};
pub(crate) use http2::{Http2, answer, head_of, next_data};

/// How to reach a listener.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) address: SocketAddr,
    /// Trusted authorities; `None` in clear text.
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

    /// A TLS connection with this server name and ALPN protocol.
    pub(crate) async fn tls(&self, name: &str, protocol: &[u8]) -> io::Result<Box<dyn Stream>> {
        self.tls_over(TcpStream::connect(self.address).await?, name, protocol).await
    }

    /// TLS over an established TCP connection.
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

    /// A TLS connection for HTTP/2 frames. Nothing is sent yet.
    pub(crate) async fn frames(&self, name: &str) -> Frames {
        Frames { wire: Wire::new(self.tls(name, b"h2").await.unwrap()) }
    }

    /// One GET over a new connection.
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
    /// With FIN; over TLS, after `close_notify`.
    Closed,
    /// With FIN, without `close_notify`.
    Cut,
    /// With RST.
    Reset,
}
