//! An allowlist that many edges share: behind a URL, signed or not, and in etcd. Whatever happens to the source, the
//! gate goes on with the last good allowlist.

mod etcd;
mod many;
mod signed;
mod url;

use std::sync::{Arc, Mutex};

use rustls::ServerConfig;

use crate::support::edge::{Builder, Edge};
use crate::support::origin::{Origin, Script, Step, answer, head, raw};

const AGE: &str = "icpgate_filings_source_age_seconds";
const REJECTED: &str = "icpgate_reloads_total{result=\"rejected\"}";

fn fetches(result: &str) -> String {
    format!("icpgate_filings_source_fetches_total{{result=\"{result}\"}}")
}

/// What a server holds at `/filings.yaml`, and how it answers.
#[derive(Clone, Debug, Default)]
struct Held {
    allowlist: Vec<u8>,
    signature: Option<Vec<u8>>,
    fault: Option<Fault>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fault {
    /// It answers 500.
    Fails,
    /// It sends half of the allowlist and closes.
    CutOff,
}

/// A server that holds an allowlist.
struct Source {
    server: Origin,
    held: Arc<Mutex<Held>>,
}

impl Source {
    /// Holds `allowlist`.
    async fn start(allowlist: &str) -> Self {
        let mut source = Self::down(allowlist, None);
        source.server.up();
        source
    }

    /// The same over TLS, if there is a `tls`; not listening yet.
    fn down(allowlist: &str, tls: Option<Arc<ServerConfig>>) -> Self {
        let held = Arc::new(Mutex::new(Held { allowlist: allowlist.into(), ..Held::default() }));
        let shared = Arc::clone(&held);
        let server = Origin::down(
            move |request| {
                let held = shared.lock().expect("no panic").clone();
                answered(&held, request.target(), request.head.get("if-none-match"))
            },
            tls,
        );
        Self { server, held }
    }

    fn hold(&self, allowlist: &str) {
        self.change(|held| held.allowlist = allowlist.into());
    }

    fn fault(&self, fault: Option<Fault>) {
        self.change(|held| held.fault = fault);
    }

    fn change(&self, change: impl FnOnce(&mut Held)) {
        change(&mut self.held.lock().expect("no panic"));
    }

    /// `filings` of a configuration that takes them from here, with more keys.
    fn filings(&self, more: &str) -> String {
        format!("{{url: \"http://{}/filings.yaml\", interval: 200ms{more}}}", self.server.address)
    }
}

fn answered(held: &Held, target: &str, version: Option<&str>) -> Script {
    let body = match target {
        "/filings.yaml" => Some(&held.allowlist),
        "/filings.yaml.minisig" => held.signature.as_ref(),
        _ => None,
    };
    let Some(body) = body else { return answer("404 Not Found", &[], "nothing") };
    let etag = format!("\"{:x}\"", fingerprint(body));
    match held.fault {
        Some(Fault::Fails) => answer("500 Internal Server Error", &[], "later"),
        Some(Fault::CutOff) => {
            let length = format!("content-length: {}", body.len());
            vec![head("200 OK", &[&length]), raw(&body[..body.len() / 2]), Step::Close]
        }
        None if version == Some(&etag) => vec![head("304 Not Modified", &[&format!("etag: {etag}")])],
        None => answer("200 OK", &[&format!("etag: {etag}")], body),
    }
}

fn fingerprint(bytes: &[u8]) -> u64 {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

/// An edge whose allowlist comes from `filings`.
fn builder(filings: &str) -> Builder {
    Edge::builder().filings_from(filings)
}
