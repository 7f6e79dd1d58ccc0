//! TLS to an origin is always verified.

use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::HOST;
use crate::support::client::Target;
use crate::support::edge::Edge;
use crate::support::origin::{Origin, ok};
use crate::support::pki::{Authority, Pair, provider};
use crate::support::tried;

/// Serves one certificate to every client, and collects the server names.
#[derive(Debug)]
struct Asked {
    pair: Arc<CertifiedKey>,
    names: Mutex<Vec<Option<String>>>,
}

impl ResolvesServerCert for Asked {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.names.lock().unwrap().push(hello.server_name().map(str::to_owned));
        Some(Arc::clone(&self.pair))
    }
}

fn serving(pair: &Pair) -> (Arc<ServerConfig>, Arc<Asked>) {
    let chain = CertificateDer::pem_slice_iter(pair.chain.as_bytes()).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
    let pair = Arc::new(CertifiedKey::from_der(chain, key, &provider()).unwrap());
    let asked = Arc::new(Asked { pair, names: Mutex::default() });
    let versions = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    let config = versions.unwrap().with_no_client_auth().with_cert_resolver(Arc::<Asked>::clone(&asked));
    (Arc::new(config), asked)
}

const SITES: &str = r#"  - hosts: [www.example.cn]
    certificate: {chain: site.pem, key: site.key}
    routes:
      - {match: {path: /wrong-name}, origins: [wrong-name]}
      - {match: {path: /unknown-ca}, origins: [unknown-ca]}
      - {match: {path: /expired}, origins: [expired]}
      - {match: {path: /clear}, origins: [clear]}
      - {origins: [good]}
"#;

#[tokio::test]
async fn an_origin_is_verified_by_its_name_and_its_authority() {
    let private = Authority::new();
    let (config, asked) = serving(&private.pair(&["app.example.com"]));
    let (expired, _) = serving(&private.expired(&["app.example.com"]));
    let good = Origin::tls(config, |_| ok("verified")).await;
    let expired = Origin::tls(expired, |_| ok("expired")).await;
    let clear = Origin::text("clear").await;
    let origin = |name, address, more| {
        format!("  - {{name: {name}, region: offshore, scheme: https, servers: [\"{address}\"], {more}}}\n")
    };
    let origins = [
        origin("good", good.address, "server_name: app.example.com, trust: private.pem"),
        origin("wrong-name", good.address, "server_name: www.example.com, trust: private.pem"),
        origin("unknown-ca", good.address, "server_name: app.example.com"),
        origin("expired", expired.address, "server_name: app.example.com, trust: private.pem"),
        origin("clear", clear.address, "server_name: app.example.com, trust: private.pem"),
    ]
    .concat();
    let folder = Edge::builder().sites(SITES).origins(&origins).write();
    folder.replace("private.pem", &private.pem);
    let edge = folder.start().await;

    let mut client = Target::https(&edge).http1(HOST).await;
    for _ in 0..2 {
        assert_eq!(client.get(HOST, "/").await.text(), "verified");
    }
    assert_eq!(good.connections(), 1, "it is kept");
    assert_eq!(*asked.names.lock().unwrap(), [Some("app.example.com".to_owned())]);
    let at = |server: &Origin| server.address.to_string();
    for (name, address) in [
        ("wrong-name", at(&good)),
        ("unknown-ca", at(&good)),
        ("expired", at(&expired)),
        ("clear", at(&clear)),
    ] {
        let path = format!("/{name}");
        assert_eq!(client.get(HOST, &path).await.status, 502, "{path}");
        let record = edge.records_where(1, |record| record["path"] == path).await.remove(0);
        assert_eq!(tried(&record), [name, "offshore", "default", &address]);
    }
    // A connection verified for one origin is not used for another at the same address.
    assert_eq!((good.seen().len(), expired.seen().len(), clear.seen().len()), (2, 0, 0));
    assert_eq!(client.get(HOST, "/").await.text(), "verified");
}
