//! An ACME authority and name servers: Debian's pebble with its challenge server, and BIND.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::Value;
use tempfile::TempDir;

use super::client::Target;
use super::edge::{Edge, Folder, run};
use super::peer::Peer;

const DIRECTORY: u16 = 14000;
const MANAGEMENT: u16 = 15000;
/// Of pebble's challenge server.
const DNS: u16 = 5353;
/// Where the challenge server is told which records to show.
const CHALLENGES: u16 = 8055;

/// The TSIG secret that BIND knows.
pub(crate) const SECRET: &str = "aWNwZ2F0ZSB0ZXN0cyBzaWduIHVwZGF0ZXM=";

/// Let's Encrypt's test authority.
#[derive(Debug)]
pub(crate) struct Pebble {
    _process: Peer,
    roots: Arc<RootCertStore>,
}

impl Pebble {
    /// Starts it beside the program of `folder`, whose authority vouches for it. It asks the name server `dns`.
    pub(crate) async fn start(folder: &Folder, dns: SocketAddr) -> Self {
        Self::start_with(folder, dns, folder.beside(DIRECTORY), &[]).await
    }

    /// The same at another address, with more settings.
    pub(crate) async fn start_with(
        folder: &Folder,
        dns: SocketAddr,
        address: SocketAddr,
        more: &[(&str, Value)],
    ) -> Self {
        folder.authority.pair(&[&folder.ip().to_string()]).write(&folder.path(""), "pebble");
        let mut settings = serde_json::json!({"pebble": {
            "listenAddress": address.to_string(),
            "managementListenAddress": folder.beside(MANAGEMENT).to_string(),
            "certificate": folder.path("pebble.pem"),
            "privateKey": folder.path("pebble.key"),
            "httpPort": 1,
            "tlsPort": 1,
        }});
        for (key, value) in more {
            settings["pebble"][*key] = value.clone();
        }
        folder.replace("pebble.json", settings.to_string());
        let config = folder.path("pebble.json").display().to_string();
        let dns = dns.to_string();
        // Every order asks for proofs; one nonce in twenty is refused.
        let words = [
            "PEBBLE_VA_NOSLEEP=1",
            "PEBBLE_AUTHZREUSE=0",
            "PEBBLE_WFE_NONCEREJECT=5",
            "pebble",
            "-strict",
            "-config",
            &config,
            "-dnsserver",
            &dns,
        ];
        let process = Peer::start("env", words, address).await;
        Self { _process: process, roots: Arc::new(roots(folder).await) }
    }

    /// The program's TLS listener, as clients see it that trust this authority alone.
    pub(crate) fn target(&self, edge: &Edge) -> Target {
        Target { address: edge.https(), roots: Some(Arc::clone(&self.roots)) }
    }
}

/// The root of the certificates that pebble issues, which it makes at every start.
async fn roots(folder: &Folder) -> RootCertStore {
    let url = format!("https://{}/roots/0", folder.beside(MANAGEMENT));
    let trust = folder.path("ca.pem").display().to_string();
    let got = run("curl", ["-sS", "--retry-connrefused", "--retry", "5", "--cacert", &trust, &url]).await;
    assert_eq!(got.code, 0, "{got:?}");
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(got.stdout.as_bytes()).expect("PEM")).expect("a root");
    roots
}

/// BIND with the zone `example.cn`, in which the TSIG key `acme` may set TXT records.
#[derive(Debug)]
pub(crate) struct Bind {
    pub(crate) address: SocketAddr,
    _process: Peer,
    _folder: TempDir,
}

impl Bind {
    /// Starts it on 127.0.0.1: it listens only on addresses that an interface has.
    pub(crate) async fn start() -> Self {
        Self::with("").await
    }

    /// The same with more records, in the form of a zone file.
    pub(crate) async fn with(records: &str) -> Self {
        let address = free_port();
        let folder = tempfile::tempdir().expect("a folder");
        let zone = "$TTL 60\n@ SOA ns.example.cn. ops.example.cn. 1 60 60 60 60\n@ NS ns\nns A 127.0.0.1\n";
        fs_err::write(folder.path().join("zone"), format!("{zone}{records}")).expect("written");
        let (shown, port) = (folder.path().display(), address.port());
        let text = format!(
            "options {{ directory \"{shown}\"; pid-file none; lock-file none; session-keyfile none; \
             listen-on port {port} {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; recursion no; \
             dnssec-validation no; allow-query {{ any; }}; }};\ncontrols {{ }};\n\
             key \"acme\" {{ algorithm hmac-sha256; secret \"{SECRET}\"; }};\n\
             zone \"example.cn\" {{ type primary; file \"zone\"; \
             update-policy {{ grant acme subdomain example.cn. TXT; }}; }};\n"
        );
        let config = folder.path().join("named.conf");
        fs_err::write(&config, text).expect("written");
        // A copy, since AppArmor confines the installed program to the system's folders.
        let program = folder.path().join("named");
        fs_err::copy("/usr/sbin/named", &program).expect("scripts/setup installs bind9");
        let words = ["-g".as_ref(), "-c".as_ref(), config.as_os_str()];
        let process = Peer::start(&program.display().to_string(), words, address).await;
        Self { address, _process: process, _folder: folder }
    }
}

/// A port of 127.0.0.1 that nobody uses, below those that the system gives to clients.
fn free_port() -> SocketAddr {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        // Derived from the process id, so that test programs do not try the same ports.
        let count = std::process::id().wrapping_mul(16) + NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 10_000 + u16::try_from(count % 20_000).expect("it fits");
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok() {
            return address;
        }
    }
}

/// Pebble's challenge server, which shows the TXT records that it is told by HTTP.
#[derive(Debug)]
pub(crate) struct ChallengeServer {
    /// Where it answers questions.
    pub(crate) dns: SocketAddr,
    /// Where it is told.
    pub(crate) told: SocketAddr,
    _process: Peer,
}

impl ChallengeServer {
    pub(crate) async fn start(folder: &Folder) -> Self {
        let (dns, told) = (folder.beside(DNS), folder.beside(CHALLENGES));
        let (questions, management) = (dns.to_string(), told.to_string());
        let off = ["-http01", "", "-https01", "", "-tlsalpn01", ""];
        let words = ["-dns01", &questions, "-management", &management].into_iter().chain(off);
        let process = Peer::start("pebble-challtestsrv", words, told).await;
        Self { dns, told, _process: process }
    }
}
