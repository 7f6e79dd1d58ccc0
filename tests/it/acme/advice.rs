//! Renewals that the authority advises (ARI, RFC 9773). Debian's pebble does not know them, so that nginx stands in
//! front of it: it adds the address of the advice to the directory, and gives the advice from files.

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use icpgate::clock::Clock;
use jiff::ToSpan as _;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{HOSTS, PAIR, builder, by_updates, issued, private, served};
use crate::support::acme::{Bind, Pebble, SECRET};
use crate::support::edge::{Edge, Folder};
use crate::support::origin::Origin;
use crate::support::peer::{Peer, nginx};
use crate::support::{PATIENCE, eventually};

/// Starts nginx where the directory is, in front of pebble at the other address.
async fn front(folder: &Folder) -> Peer {
    let (address, pebble) = (folder.beside(14_000), folder.beside(14_001));
    fs_err::create_dir(folder.path("ari")).expect("a folder");
    let http = format!(
        "log_format asked escape=none '$uri $request_body';\nserver {{\n\
         listen {address} ssl; ssl_certificate pebble.pem; ssl_certificate_key pebble.key;\n\
         access_log asked.log asked;\n\
         location /ari/ {{ root .; default_type application/json; add_header Retry-After 7200; }}\n\
         location / {{ proxy_pass https://{pebble}; proxy_set_header Host $http_host; proxy_set_header Accept-Encoding ''; \
         sub_filter_types application/json; \
         sub_filter '\"keyChange\"' '\"renewalInfo\": \"https://{address}/ari\", \"keyChange\"'; }}\n}}\n"
    );
    nginx(folder, &http, address).await
}

/// The certificates whose advice was asked for, as RFC 9773 (4.1) names them, each once and in order.
fn asked_about(edge: &Edge) -> Vec<String> {
    let log = fs_err::read_to_string(edge.path("asked.log")).unwrap_or_default();
    let mut names: Vec<String> = Vec::new();
    for name in log.lines().filter_map(|line| line.strip_prefix("/ari/")).map(str::trim) {
        if !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}

/// The certificate that is asked about after so many others.
async fn next_asked_about(edge: &Edge, others: usize) -> String {
    edge.signal(Signal::HUP);
    eventually("the advice is asked for", PATIENCE, async || asked_about(edge).get(others).cloned()).await
}

/// What each order said that it replaces.
fn replaced(edge: &Edge) -> Vec<Value> {
    let log = fs_err::read_to_string(edge.path("asked.log")).unwrap_or_default();
    let order = |line: &str| {
        let body: Value = serde_json::from_str(line.strip_prefix("/order-plz ")?).ok()?;
        let payload = BASE64_URL_SAFE_NO_PAD.decode(body["payload"].as_str()?).ok()?;
        serde_json::from_slice::<Value>(&payload).ok()?.get("replaces").cloned()
    };
    log.lines().filter_map(order).collect()
}

#[tokio::test]
async fn a_certificate_is_renewed_when_the_authority_advises_it() {
    let origin = Origin::text("ok").await;
    let dns = Bind::start().await;
    let folder = builder(HOSTS, &by_updates(dns.address), &origin).write();
    folder.replace("tsig.key", SECRET);
    let authority = Pebble::start_with(&folder, dns.address, folder.beside(14_001), &[]).await;
    let _front = front(&folder).await;
    let edge = folder.start().await;
    issued(&edge, 1).await;
    served(&edge, &authority, "www.example.cn").await;
    let first = private(&edge, PAIR);
    let name = next_asked_about(&edge, 0).await;
    assert_eq!(name.split('.').count(), 2, "{name}: the key identifier and the serial number");
    assert!(private(&edge, PAIR) == first, "no advice, and far from two thirds of five years");

    // The window that the authority suggests has begun and ended.
    let now = Clock::system().now();
    let window = |hours: i64| now.checked_sub(hours.hours()).expect("a time").to_string();
    let advice = json!({"suggestedWindow": {"start": window(4), "end": window(2)}});
    edge.replace(&format!("ari/{name}"), advice.to_string());
    edge.signal(Signal::HUP);
    issued(&edge, 2).await;
    assert!(private(&edge, PAIR) != first, "it is another one");
    served(&edge, &authority, "www.example.cn").await;
    // A nonce may be refused, and the order sent again. Pebble confirms nothing, so that one more follows without it.
    let replaced = replaced(&edge);
    assert!(!replaced.is_empty() && replaced.iter().all(|replaced| *replaced == name), "{replaced:?}");

    // The new one has its own advice: to wait.
    let second = private(&edge, PAIR);
    let next = next_asked_about(&edge, 1).await;
    assert_ne!(next, name);
    assert!(private(&edge, PAIR) == second);
}
