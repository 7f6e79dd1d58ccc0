//! Independent TLS clients: curl, openssl and Python.

use crate::support::HOST;
use crate::support::edge::{Edge, Run, run};
use crate::support::hello::client_hello;
use crate::support::probe::probe;

#[tokio::test]
async fn curl_negotiates_every_version_and_protocol() {
    let edge = Edge::builder().start().await;
    let (ca, url) = (edge.path("ca.pem"), format!("https://{HOST}:8443/"));
    let resolve = format!("{HOST}:8443:{}", edge.ip());
    let cases = [
        ("1.2", "--http1.1", "1.1 502 0", "TLSv1.2", "http/1.1"),
        ("1.2", "--http2", "2 502 0", "TLSv1.2", "h2"),
        ("1.3", "--http1.1", "1.1 502 0", "TLSv1.3", "http/1.1"),
        ("1.3", "--http2", "2 502 0", "TLSv1.3", "h2"),
    ];
    for (version, http, expected, ..) in cases {
        let (least, most) = (format!("--tlsv{version}"), ["--tls-max", version]);
        let show = ["-w", "%{http_version} %{http_code} %{ssl_verify_result}", "-o", "/dev/null"];
        let mut words = vec!["--silent", "--show-error", "--cacert", ca.to_str().expect("UTF-8")];
        words.extend(["--resolve", &resolve, http, &least].into_iter().chain(most).chain(show));
        words.push(&url);
        let curl = run("curl", words).await;
        assert_eq!((curl.code, &*curl.stdout), (0, expected), "{curl:?}");
    }
    let records = edge.records_where(cases.len(), |_| true).await;
    for (_, _, _, version, protocol) in cases {
        let alike = |record: &&serde_json::Value| {
            record["tls_version"] == version && record["protocol"].as_str() == Some(protocol)
        };
        let found =
            records.iter().find(alike).unwrap_or_else(|| panic!("{version} {protocol}: {records:#?}"));
        assert!(found["tls_cipher"].as_str().expect("a suite").starts_with("TLS_"), "{found}");
        assert_eq!(found["server_name"], HOST);
    }
}

#[tokio::test]
async fn curl_sees_a_reset_for_an_unfiled_host() {
    let edge = Edge::builder().start().await;
    let resolve = format!("www.example.net:8443:{}", edge.ip());
    let curl =
        run("curl", ["--silent", "--show-error", "--resolve", &resolve, "https://www.example.net:8443/"])
            .await;
    assert_eq!(curl.code, 35, "{curl:?}");
    assert!(curl.stderr.contains("reset by peer"), "{curl:?}");
}

#[tokio::test]
async fn openssl_verifies_the_chain_and_negotiates() {
    let edge = Edge::builder().start().await;
    let (address, ca) = (edge.https().to_string(), edge.path("ca.pem").display().to_string());
    for (version, protocol, shown) in [("-tls1_2", "http/1.1", "TLSv1.2"), ("-tls1_3", "h2", "TLSv1.3")] {
        let words = [
            "s_client",
            "-connect",
            &address,
            "-servername",
            HOST,
            "-CAfile",
            &ca,
            "-verify_return_error",
            "-verify_hostname",
            HOST,
            "-alpn",
            protocol,
            version,
        ];
        let openssl = run("openssl", words).await;
        assert_eq!(openssl.code, 0, "{openssl:?}");
        for expected in ["Verify return code: 0 (ok)", &format!("ALPN protocol: {protocol}"), shown] {
            assert!(openssl.stdout.contains(expected), "{expected}: {openssl:?}");
        }
    }
}

/// The output of openssl connecting for a host.
async fn s_client(edge: &Edge, name: &str, words: &[&str]) -> Run {
    let address = edge.https().to_string();
    let all =
        ["s_client", "-connect", &address, "-servername", name].into_iter().chain(words.iter().copied());
    run("openssl", all).await
}

fn refusals(reason: &str) -> String {
    format!("icpgate_connections_refused_total{{listener=\"https\",reason=\"{reason}\"}}")
}

#[tokio::test]
async fn openssl_is_told_that_its_version_is_too_old() {
    let edge = Edge::builder().start().await;
    for version in ["-tls1", "-tls1_1"] {
        let openssl = s_client(&edge, HOST, &[version, "-cipher", "ALL:@SECLEVEL=0"]).await;
        assert!(openssl.code == 1 && openssl.stderr.contains("alert protocol version"), "{openssl:?}");
        // Any other name is refused as it always is.
        let openssl = s_client(&edge, "www.example.net", &[version, "-cipher", "ALL:@SECLEVEL=0"]).await;
        assert!(openssl.code == 1 && openssl.stdout.contains("read 0 bytes"), "{openssl:?}");
    }
    let records = edge.records_where(2, |record| record["reason"] == "tls_version").await;
    assert!(records.iter().all(|one| one["server_name"] == HOST && one["event"] == "refused"), "{records:?}");
    edge.metric_becomes(&refusals("tls_version"), 2.0).await;
    edge.metric_becomes(&refusals("not_filed"), 2.0).await;
}

#[tokio::test]
async fn a_handshake_that_fails_leaves_a_record() {
    let edge = Edge::builder().limit("handshake_timeout", "500ms").start().await;
    // No cipher in common: RSA key exchange.
    let openssl = s_client(&edge, HOST, &["-tls1_2", "-cipher", "AES128-SHA:AES256-SHA256"]).await;
    assert!(openssl.code == 1 && openssl.stderr.contains("handshake failure"), "{openssl:?}");
    // The client does not trust the certificate.
    let openssl = s_client(&edge, HOST, &["-tls1_2", "-verify_return_error"]).await;
    assert!(openssl.code == 1, "{openssl:?}");
    // The client says nothing after its hello.
    probe(edge.https(), &client_hello(HOST)).await;
    let records = edge.records_where(3, |record| record["reason"] == "handshake").await;
    assert!(records.iter().all(|one| one["server_name"] == HOST && one["event"] == "refused"), "{records:?}");
    edge.metric_becomes(&refusals("handshake"), 3.0).await;
}

#[tokio::test]
async fn openssl_sees_how_an_unfiled_host_is_refused() {
    for (refusal, expected) in
        [("reset", "errno=104"), ("alert", "unrecognized name"), ("silent", "unexpected eof")]
    {
        let listeners =
            format!("  - {{name: https, addresses: [\"$HTTPS\"], protocol: https, refusal: {refusal}}}\n");
        let edge = Edge::builder().listeners(&listeners).start().await;
        let address = edge.https().to_string();
        let openssl =
            run("openssl", ["s_client", "-connect", &address, "-servername", "www.example.net"]).await;
        assert_eq!(openssl.code, 1, "{openssl:?}");
        assert!(openssl.stderr.contains(expected), "{refusal}: {openssl:?}");
        let read = if refusal == "alert" { "read 7 bytes" } else { "read 0 bytes" };
        assert!(openssl.stdout.contains(read), "{refusal}: {openssl:?}");
    }
}

#[tokio::test]
async fn pythons_ssl_is_served_and_refused() {
    const SCRIPT: &str = r#"
import socket, ssl, sys
address, port, ca = sys.argv[1], int(sys.argv[2]), sys.argv[3]
context = ssl.create_default_context(cafile=ca)
context.set_alpn_protocols(["http/1.1"])
def meet(name):
    with socket.create_connection((address, port), 20) as plain:
        with context.wrap_socket(plain, server_hostname=name) as tls:
            tls.sendall(b"GET / HTTP/1.1\r\nhost: " + name.encode() + b"\r\nconnection: close\r\n\r\n")
            print(tls.version(), tls.selected_alpn_protocol(), tls.recv(12).decode())
meet("www.example.cn")
try:
    meet("www.example.net")
except ConnectionResetError:
    print("reset")
context.check_hostname = False
try:
    meet(address)
except ConnectionResetError:
    print("reset")
"#;
    let edge = Edge::builder().start().await;
    let ca = edge.path("ca.pem").display().to_string();
    let python = run("python3", ["-c", SCRIPT, &edge.ip().to_string(), "8443", &ca]).await;
    assert_eq!(python.code, 0, "{python:?}");
    assert_eq!(python.stdout, "TLSv1.3 http/1.1 HTTP/1.1 502\nreset\nreset\n");
}
