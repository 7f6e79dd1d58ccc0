//! TLS as clients see it, and changes of certificates.

mod peers;

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, ClientConnection, HandshakeKind, SupportedProtocolVersion};

use crate::support::edge::{APPROVED, Edge, Folder, HOSTS};
use crate::support::faketime::Wall;
use crate::support::hello::client_hello;
use crate::support::pki::{Authority, KeyKind, Pair, Validity, provider};
use crate::support::probe::{Answer, connect, is_refused, probe};
use crate::support::time::not_before;
use crate::support::{HOST, PATIENCE, eventually};

const ALWAYS: Validity = ((2020, 1, 1), (2999, 1, 1));

/// The result of a handshake and one request.
struct Met {
    client: ClientConnection,
    answer: String,
}

impl Met {
    fn certificate(&self) -> &CertificateDer<'static> {
        &self.client.peer_certificates().expect("a certificate")[0]
    }
}

/// Connects for `name`, requests `/` and reads to the end.
fn meet(edge: &Folder, config: &Arc<ClientConfig>, name: &str) -> io::Result<Met> {
    let mut socket = TcpStream::connect(edge.https())?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let name = name.to_owned().try_into().expect("a name");
    let mut client = ClientConnection::new(Arc::clone(config), name).expect("a client");
    let mut stream = rustls::Stream::new(&mut client, &mut socket);
    let host = HOSTS[0];
    write!(stream, "GET / HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(Met { client, answer })
}

fn client(edge: &Folder) -> Arc<ClientConfig> {
    Arc::new(edge.authority.client_config(&["http/1.1"]))
}

const VERSIONS: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];

/// A client with a single TLS version.
fn speaking(edge: &Folder, version: &'static SupportedProtocolVersion) -> Arc<ClientConfig> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[version])
        .expect("a version")
        .with_root_certificates(edge.authority.roots())
        .with_no_client_auth();
    Arc::new(config)
}

fn leaf(pair: &Pair) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pair.chain.as_bytes()).expect("PEM")
}

#[tokio::test]
async fn sessions_are_resumed_and_outlive_a_reload() {
    let edge = Edge::builder().start().await;
    for version in VERSIONS {
        let config = speaking(&edge, version);
        let first = meet(&edge, &config, HOST).expect("served");
        assert_eq!(first.client.handshake_kind(), Some(HandshakeKind::Full), "{version:?}");
        let again = meet(&edge, &config, HOST).expect("served");
        assert_eq!(again.client.handshake_kind(), Some(HandshakeKind::Resumed), "{version:?}");

        let generation = edge.metric("icpgate_snapshot_generation").await;
        edge.replace("filings.yaml", format!("{APPROVED}# {version:?}\n"));
        edge.metric_becomes("icpgate_snapshot_generation", generation + 1.0).await;
        let later = meet(&edge, &config, HOST).expect("served");
        assert_eq!(later.client.handshake_kind(), Some(HandshakeKind::Resumed), "{version:?} after a reload");
        assert!(later.answer.starts_with("HTTP/1.1 50"), "{}", later.answer);
    }
}

#[tokio::test]
async fn sessions_are_resumed_by_the_process_that_replaces_another() {
    let edge = Edge::builder().start().await;
    for version in VERSIONS {
        let config = speaking(&edge, version);
        meet(&edge, &config, HOST).expect("served");
        let upgrade = edge.ask("upgrade", &[]).await;
        assert_eq!(upgrade.code, 0, "{upgrade:?}");
        let later = meet(&edge, &config, HOST).expect("served");
        assert_eq!(later.client.handshake_kind(), Some(HandshakeKind::Resumed), "{version:?}");
    }
}

#[tokio::test]
async fn each_site_has_its_own_rsa_or_ecdsa_certificate() {
    let folder = Edge::builder()
        .sites(
            "  - {hosts: [www.example.cn], certificate: {chain: rsa.pem, key: rsa.key}}\n  \
             - {hosts: [example.cn], certificate: {chain: ecdsa.pem, key: ecdsa.key}}\n  \
             - {hosts: [\"*.static.example.cn\"], certificate: {chain: wild.pem, key: wild.key}}\n",
        )
        .origins("  []\n")
        .write();
    let root = folder.path("");
    let rsa = folder.authority.issue(&["www.example.cn"], KeyKind::Rsa, ALWAYS);
    let ecdsa = folder.authority.issue(&["example.cn"], KeyKind::Ecdsa, ALWAYS);
    let wild = folder.authority.issue(&["*.static.example.cn"], KeyKind::Ecdsa, ALWAYS);
    for (pair, name) in [(&rsa, "rsa"), (&ecdsa, "ecdsa"), (&wild, "wild")] {
        pair.write(&root, name);
    }
    let edge = folder.start().await;
    for version in VERSIONS {
        let config = speaking(&edge, version);
        for (name, pair) in [("www.example.cn", &rsa), ("example.cn", &ecdsa), ("a.static.example.cn", &wild)]
        {
            let met = meet(&edge, &config, name).expect("served");
            assert_eq!(*met.certificate(), leaf(pair), "{name} {version:?}");
            assert_eq!(met.client.protocol_version().map(u16::from), Some(u16::from(version.version)));
        }
    }
    // A wildcard matches one label.
    assert_eq!(probe(edge.https(), &client_hello("a.b.static.example.cn")).await, Answer::RESET);
    assert_eq!(probe(edge.https(), &client_hello("static.example.cn")).await, Answer::RESET);
}

#[tokio::test]
async fn a_new_certificate_is_used_after_a_reload() {
    let edge = Edge::builder().start().await;
    let config = client(&edge);
    let held = connect(edge.https()).await;
    let before = meet(&edge, &config, HOST).expect("served");
    let pair = edge.authority.pair(&HOSTS);
    pair.write(&edge.path(""), "site");
    eventually("the new certificate", PATIENCE, async || {
        // A new client each time: a resumed session shows its first certificate.
        let met = meet(&edge, &client(&edge), HOST).expect("served");
        (*met.certificate() == leaf(&pair)).then_some(())
    })
    .await;
    assert_ne!(*before.certificate(), leaf(&pair));
    drop(held);
    assert_eq!(edge.metric("icpgate_reloads_total{result=\"rejected\"}").await, 0.0);
}

#[tokio::test]
async fn a_bad_certificate_leaves_the_old_one_in_use() {
    type Spoiling = fn(&Folder);
    let spoilings: [(&str, Spoiling); 7] = [
        ("does not belong to", |edge| {
            let other = edge.authority.pair(&HOSTS);
            edge.replace("site.key", other.key);
        }),
        ("no certificate", |edge| edge.replace("site.pem", "nonsense")),
        ("no private key", |edge| edge.replace("site.key", "nonsense")),
        ("site.pem", |edge| fs_err::remove_file(edge.path("site.pem")).expect("removed")),
        ("ended at", |edge| edge.authority.expired(&HOSTS).write(&edge.path(""), "site")),
        ("is not for", |edge| edge.authority.pair(&["www.example.net"]).write(&edge.path(""), "site")),
        ("larger than", |edge| edge.replace("site.pem", vec![b'\n'; 5 << 20])),
    ];
    for (said, spoiling) in spoilings {
        let edge = Edge::builder().start().await;
        let before = meet(&edge, &client(&edge), HOST).expect("served");
        spoiling(&edge);
        edge.logged(said).await;
        edge.logged("WARN").await;
        let after = meet(&edge, &client(&edge), HOST).expect("still served");
        assert_eq!(after.certificate(), before.certificate(), "{said}");
        assert_eq!(edge.get("/readyz").await.expect("admin is open").0, 200, "{said}");

        // `check` reports the problem too, and the next good pair ends it.
        let check = edge.check(&["--json"]).await;
        assert_eq!(check.code, 1, "{said}");
        let problem = &check.json()["problems"][0];
        assert!(problem["message"].as_str().expect("text").contains(said), "{problem}");
        assert_eq!(problem["place"], "sites[0].certificate");
        let pair = edge.authority.pair(&HOSTS);
        pair.write(&edge.path(""), "site");
        eventually("the next good pair", PATIENCE, async || {
            let met = meet(&edge, &client(&edge), HOST).expect("served");
            (*met.certificate() == leaf(&pair)).then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn only_what_the_certificate_covers_is_served() {
    let folder = Edge::builder().write();
    folder.authority.pair(&["example.cn"]).write(&folder.path(""), "site");
    let check = folder.check(&["--json"]).await;
    assert_eq!(check.code, 1);
    let problems = check.json()["problems"].clone();
    assert!(
        problems[0]["message"].as_str().expect("text").contains("is not for www.example.cn"),
        "{problems}"
    );
    assert_eq!(problems.as_array().map(Vec::len), Some(1), "{problems}");

    let edge = folder.start().await;
    assert_eq!(probe(edge.https(), &client_hello(HOST)).await, Answer::RESET);
    edge.metric_becomes(
        "icpgate_connections_refused_total{listener=\"https\",reason=\"no_certificate\"}",
        1.0,
    )
    .await;
    assert!(meet(&edge, &client(&edge), "example.cn").is_ok());
    let explain = edge.explain(&[HOST, "--listener", "https"]).await;
    assert!(explain.code == 1 && explain.stdout.contains("no_certificate"), "{explain:?}");
}

#[tokio::test]
async fn without_a_usable_certificate_the_port_stays_closed() {
    let strangers = Authority::new();
    let bad: [(&str, Pair); 2] = [
        ("expired", strangers.expired(&HOSTS)),
        ("another key", Pair { key: strangers.pair(&HOSTS).key, ..strangers.pair(&HOSTS) }),
    ];
    for (what, pair) in bad {
        let folder = Edge::builder().write();
        pair.write(&folder.path(""), "site");
        assert_eq!(folder.check(&[]).await.code, 1, "{what}");
        let edge = folder.start().await;
        assert!(is_refused(edge.https()).await, "{what}");
        // Clear text needs no certificate.
        assert!(!is_refused(edge.http()).await, "{what}");
        assert_eq!(edge.status().await["listeners"][0]["reason"], "no_certificate", "{what}");

        let pair = edge.authority.pair(&HOSTS);
        pair.write(&edge.path(""), "site");
        eventually("bound", PATIENCE, async || (!is_refused(edge.https()).await).then_some(())).await;
        assert_eq!(*meet(&edge, &client(&edge), HOST).expect("served").certificate(), leaf(&pair));
    }
}

#[tokio::test]
async fn a_certificate_that_ends_closes_the_port_without_a_file_event() {
    let folder = Edge::builder().write();
    folder
        .authority
        .issue(&HOSTS, KeyKind::Ecdsa, ((2026, 1, 1), (2026, 4, 1)))
        .write(&folder.path(""), "site");
    let before = "2026-03-31T12:00:00Z".parse().expect("a time");
    let wall = Wall::showing(before);
    let edge = wall.of_folder(folder).start().await;
    Wall::check(&edge, before).await;
    assert!(!is_refused(edge.https()).await);
    // The last second belongs to the validity.
    not_before(Duration::from_secs(2), async {
        wall.set("2026-03-31T23:59:59Z".parse().expect("a time"));
        eventually("closed", PATIENCE, async || is_refused(edge.https()).await.then_some(())).await;
    })
    .await;
    assert!(!is_refused(edge.http()).await);
}

#[tokio::test]
async fn check_warns_of_a_key_that_others_may_read() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Edge::builder().write();
    assert_eq!(folder.check(&["--json"]).await.json()["warnings"], serde_json::json!([]));
    let open = std::fs::Permissions::from_mode(0o644);
    fs_err::set_permissions(folder.path("site.key"), open).expect("set");
    let check = folder.check(&["--json"]).await;
    assert_eq!(check.code, 0, "{check:?}");
    let warning = &check.json()["warnings"][0];
    assert_eq!(warning["place"], "sites[0].certificate.key");
    assert!(warning["message"].as_str().expect("text").contains("readable by others"), "{warning}");
    let edge = folder.start().await;
    edge.logged("readable by others").await;
}
