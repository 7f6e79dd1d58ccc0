//! ALPN with upstream servers: HTTP/2 or HTTP/1.1.

use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::HOST;
use crate::support::client::Target;
use crate::support::edge::{Builder, Edge, icpgate};
use crate::support::http2_origin::{Exchange, Http2Origin, send_all};
use crate::support::origin::{Origin, ok};
use crate::support::pki::{Authority, Pair, provider};
use crate::support::{PATIENCE, eventually};

const ORIGINS: &str = r#"  - {name: main, region: offshore, scheme: https, server_name: app.example.com, trust: private.pem, servers: ["$ORIGIN"]}
"#;

/// TLS with this pair, which offers `protocols`.
fn serving(pair: &Pair, protocols: &[&str]) -> Arc<ServerConfig> {
    let chain = CertificateDer::pem_slice_iter(pair.chain.as_bytes()).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
    let versions = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let mut config = versions.unwrap().with_no_client_auth().with_single_cert(chain, key).unwrap();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    Arc::new(config)
}

async fn start(builder: Builder, private: &Authority) -> Edge {
    let folder = builder.origins(ORIGINS).write();
    folder.replace("private.pem", &private.pem);
    folder.start().await
}

#[tokio::test]
async fn alpn_selects_http2_if_the_server_offers_it() {
    let private = Authority::new();
    let tls = serving(&private.pair(&["app.example.com"]), &["h2", "http/1.1"]);
    let origin =
        Http2Origin::configured(h2::server::Builder::new(), Some(tls), |mut exchange: Exchange| async move {
            let uri = exchange.head.uri.to_string();
            exchange.text(&uri);
        })
        .await;
    let edge = start(Edge::builder().origin(origin.address), &private).await;
    for _ in 0..3 {
        assert_eq!(Target::https(&edge).get(HOST, "/a").await.text(), format!("https://{HOST}/a"));
    }
    assert_eq!((origin.connections(), origin.requests()), (1, 3));
}

#[tokio::test]
async fn health_checks_and_probe_use_the_negotiated_protocol() {
    let origin = Http2Origin::start(|mut exchange: Exchange| async move {
        exchange.text("well");
    })
    .await;
    let origins = r#"  - {name: main, region: mainland, scheme: h2c, servers: ["$ORIGIN"], health: {path: /healthz, interval: 100ms}}
"#;
    let edge = Edge::builder().origins(origins).origin(origin.address).start().await;
    eventually("three checks", PATIENCE, async || (origin.requests() >= 3).then_some(())).await;
    assert_eq!(Target::https(&edge).get(HOST, "/").await.text(), "well");
    let config = edge.config_path().display().to_string();
    let run = icpgate(["probe", "--config", &config, "--count", "1"]).await;
    assert_eq!(run.code, 0, "{run:?}");
    assert!(run.stdout.contains("--http2-prior-knowledge"), "{}", run.stdout);
}

#[tokio::test]
async fn alpn_falls_back_to_http1() {
    let private = Authority::new();
    for protocols in [&["http/1.1"][..], &[]] {
        let tls = serving(&private.pair(&["app.example.com"]), protocols);
        let origin = Origin::tls(tls, |_| ok("older")).await;
        let edge = start(Edge::builder().origin(origin.address), &private).await;
        for _ in 0..3 {
            assert_eq!(Target::https(&edge).get(HOST, "/").await.text(), "older");
        }
        assert_eq!((origin.connections(), origin.nonsense()), (1, 0), "what was negotiated is used");
    }
}

const HANDSHAKE: &str = "GET /chat HTTP/1.1\r\nHost: www.example.cn\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";

#[tokio::test]
async fn a_websocket_over_tls_reaches_a_server_that_speaks_only_http2() {
    let private = Authority::new();
    let tls = serving(&private.pair(&["app.example.com"]), &["h2"]);
    let mut builder = h2::server::Builder::new();
    builder.enable_connect_protocol();
    let origin = Http2Origin::configured(builder, Some(tls), |mut exchange: Exchange| async move {
        assert_eq!(exchange.head.method, http::Method::CONNECT);
        let mut answer = exchange.head(http::StatusCode::OK, &[], false);
        while let Some(Ok(bytes)) = exchange.data().await {
            if send_all(&mut answer, bytes).await.is_err() {
                return;
            }
        }
    })
    .await;
    let edge = start(Edge::builder().origin(origin.address), &private).await;
    for _ in 0..2 {
        let mut client = Target::https(&edge).http1(HOST).await;
        client.send(HANDSHAKE).await;
        assert_eq!(client.head().await.start, "HTTP/1.1 101 Switching Protocols");
        client.send("frames").await;
        assert_eq!(client.read(6).await, b"frames");
    }
    assert_eq!(origin.requests(), 2);
}

#[tokio::test]
async fn a_websocket_to_a_server_without_extended_connect_is_502_without_penalty() {
    let private = Authority::new();
    let tls = serving(&private.pair(&["app.example.com"]), &["h2"]);
    let origin =
        Http2Origin::configured(h2::server::Builder::new(), Some(tls), |mut exchange: Exchange| async move {
            exchange.text("no sockets here");
        })
        .await;
    let edge = start(Edge::builder().origin(origin.address), &private).await;
    for _ in 0..4 {
        let mut client = Target::https(&edge).http1(HOST).await;
        client.send(HANDSHAKE).await;
        assert_eq!(client.answer("GET").await.status, 502);
        assert_eq!(Target::https(&edge).get(HOST, "/").await.text(), "no sockets here");
    }
    assert_eq!(origin.requests(), 4, "nothing of a WebSocket came");
    let server = format!("icpgate_origin_up{{origin=\"main\",server=\"{}\"}}", origin.address);
    assert!((edge.metric(&server).await - 1.0).abs() < 1e-9, "it is well");
}
