//! An ACME authority and name servers: Debian's pebble with its challenge server, and BIND.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::client::Target;
use super::edge::{Edge, Folder, run};
use super::peer::Peer;

const DIRECTORY: u16 = 14000;
const MANAGEMENT: u16 = 15000;
/// Of BIND, and of pebble's challenge server.
pub(crate) const DNS: u16 = 5353;
/// Where the challenge server is told which records to show.
pub(crate) const CHALLENGES: u16 = 8055;

/// The TSIG secret that BIND knows.
pub(crate) const SECRET: &str = "aWNwZ2F0ZSB0ZXN0cyBzaWduIHVwZGF0ZXM=";

/// Let's Encrypt's test authority, which asks the DNS at [`DNS`].
#[derive(Debug)]
pub(crate) struct Pebble {
    _process: Peer,
    roots: Arc<RootCertStore>,
}

impl Pebble {
    /// Starts it beside the program of `folder`, whose authority vouches for it.
    pub(crate) async fn start(folder: &Folder) -> Self {
        let address = folder.beside(DIRECTORY);
        folder.authority.pair(&[&folder.ip().to_string()]).write(&folder.path(""), "pebble");
        let settings = serde_json::json!({"pebble": {
            "listenAddress": address.to_string(),
            "managementListenAddress": folder.beside(MANAGEMENT).to_string(),
            "certificate": folder.path("pebble.pem"),
            "privateKey": folder.path("pebble.key"),
            "httpPort": 1,
            "tlsPort": 1,
        }});
        folder.replace("pebble.json", settings.to_string());
        let config = folder.path("pebble.json").display().to_string();
        let dns = folder.beside(DNS).to_string();
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

/// Starts BIND with the zone `example.cn`, in which the TSIG key `acme` may set TXT records below `_acme-challenge`.
pub(crate) async fn bind(folder: &Folder) -> Peer {
    let address = folder.beside(DNS);
    let home = folder.path("bind");
    fs_err::create_dir(&home).expect("a folder");
    let zone = "$TTL 60\n@ SOA ns.example.cn. ops.example.cn. 1 60 60 60 60\n@ NS ns\nns A 127.0.0.1\n";
    fs_err::write(home.join("zone"), zone).expect("written");
    let shown = home.display();
    let (ip, port) = (address.ip(), address.port());
    let config = format!(
        "options {{ directory \"{shown}\"; pid-file none; lock-file none; session-keyfile none; \
         listen-on port {port} {{ {ip}; }}; listen-on-v6 {{ none; }}; recursion no; dnssec-validation no; \
         allow-query {{ any; }}; }};\ncontrols {{ }};\n\
         key \"acme\" {{ algorithm hmac-sha256; secret \"{SECRET}\"; }};\n\
         zone \"example.cn\" {{ type primary; file \"zone\"; \
         update-policy {{ grant acme subdomain example.cn. TXT; }}; }};\n"
    );
    fs_err::write(home.join("named.conf"), config).expect("written");
    // A copy, since AppArmor confines the installed program to the system's folders.
    let program = home.join("named");
    fs_err::copy("/usr/sbin/named", &program).expect("scripts/setup installs bind9");
    let config = home.join("named.conf").display().to_string();
    Peer::start(&program.display().to_string(), ["-f", "-c", &config], address).await
}

/// Starts pebble's challenge server, which shows the TXT records that it is told by HTTP.
pub(crate) async fn challenge_server(folder: &Folder) -> Peer {
    let (dns, told) = (folder.beside(DNS).to_string(), folder.beside(CHALLENGES));
    let management = told.to_string();
    let off = ["-http01", "", "-https01", "", "-tlsalpn01", ""];
    let words = ["-dns01", &dns, "-management", &management].into_iter().chain(off);
    Peer::start("pebble-challtestsrv", words, told).await
}

/// Where a program tells the challenge server.
pub(crate) fn challenges(folder: &Folder) -> SocketAddr {
    folder.beside(CHALLENGES)
}
