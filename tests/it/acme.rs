//! Certificates by ACME and DNS-01, from a real authority (pebble) and real name servers (BIND, pebble's own).

mod advice;
mod cloud;

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;

use icpgate::clock::Clock;
use jiff::ToSpan as _;
use rustix::process::Signal;
use serde_json::json;

use crate::support::acme::{Bind, ChallengeServer, Pebble, SECRET};
use crate::support::edge::{Builder, Edge, Folder};
use crate::support::faketime::Wall;
use crate::support::origin::Origin;
use crate::support::{PATIENCE, eventually};

const BY_PROGRAM: &str = "provider: exec, program: ./hook, server: \"$IP:5353\"";

fn by_updates(dns: SocketAddr) -> String {
    format!("provider: rfc2136, server: \"{dns}\", key_name: acme, key_file: tsig.key")
}

/// A program whose site `shop` orders a certificate for `hosts`.
fn builder(hosts: &str, dns: &str, origin: &Origin) -> Builder {
    let site = format!(
        "  - name: shop\n    hosts: [{hosts}]\n    certificate: {{acme: {{dns: {{{dns}}}}}}}\n    \
         routes: [{{match: {{path: /}}, origins: [main]}}]\n"
    );
    let acme =
        "acme: {directory: \"https://$IP:14000/dir\", contact: ops@example.cn, store: acme, trust: ca.pem}\n";
    Edge::builder().sites(&site).more(acme).origin(origin.address)
}

const HOSTS: &str = "example.cn, \"*.example.cn\"";
const PAIR: &str = "acme/certificates/shop.pem";

/// Waits until `condition` holds. Pebble may refuse several nonces in a row, which ends an order: then SIGHUP asks for
/// it again at once.
async fn persistently(edge: &Edge, what: &str, condition: impl AsyncFn() -> bool) {
    let mut refused = 0;
    eventually(what, PATIENCE * 3, async || {
        let now = edge.log().matches("badNonce").count();
        if now > refused {
            refused = now;
            edge.signal(Signal::HUP);
        }
        condition().await.then_some(())
    })
    .await;
}

/// Waits until `count` certificates were issued since the start.
async fn issued(edge: &Edge, count: u32) {
    let series = "icpgate_acme_orders_total{site=\"shop\",result=\"issued\"}";
    persistently(edge, series, async || edge.metric(series).await >= f64::from(count)).await;
}

/// Waits until `host` is served with a certificate of `authority`.
async fn served(edge: &Edge, authority: &Pebble, host: &str) {
    let target = authority.target(edge);
    eventually(host, PATIENCE, async || target.tls(host, b"http/1.1").await.ok()).await;
    assert_eq!(target.get(host, "/").await.text(), "ok");
}

/// The content of a file for its owner alone.
fn private(folder: &Folder, name: &str) -> Vec<u8> {
    let file = folder.path(name);
    let mode = fs_err::metadata(&file).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "{name}");
    fs_err::read(file).expect("readable")
}

/// The one account of the store.
fn account(folder: &Folder) -> Vec<u8> {
    let entries = fs_err::read_dir(folder.path("acme")).expect("the store");
    let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"));
    let accounts: Vec<String> = names.filter(|name| name.starts_with("account-")).collect();
    let [name] = accounts.as_slice() else { panic!("{accounts:?}") };
    private(folder, &format!("acme/{name}"))
}

#[tokio::test]
async fn a_site_gets_a_certificate_for_name_and_wildcard_and_keeps_it_over_a_restart() {
    let origin = Origin::text("ok").await;
    let dns = Bind::start().await;
    let folder = builder(HOSTS, &by_updates(dns.address), &origin).write();
    folder.replace("tsig.key", format!("key \"acme\" {{ algorithm hmac-sha256; secret \"{SECRET}\"; }};\n"));
    let checked = folder.check(&[]).await;
    assert_eq!(checked.code, 0, "{checked:?}");
    let ordered = "site shop orders a certificate for example.cn, *.example.cn, by DNS-01 (rfc2136)";
    assert!(checked.stdout.contains(ordered), "{checked:?}");
    assert!(checked.stdout.contains("refuses example.cn: no_certificate"), "{checked:?}");

    let authority = Pebble::start(&folder, dns.address).await;
    let mut edge = folder.start().await;
    issued(&edge, 1).await;
    for host in ["example.cn", "www.example.cn"] {
        served(&edge, &authority, host).await;
    }
    assert_eq!(edge.metric("icpgate_acme_last_result{site=\"shop\",result=\"issued\"}").await, 1.0);
    assert_eq!(edge.status().await["orders"][0]["result"], "issued");
    let (pair, registered) = (private(&edge, PAIR), account(&edge));
    assert!(!edge.path("acme/orders/shop.json").exists(), "the order is done");

    edge.signal(Signal::TERM);
    assert_eq!(edge.wait_exit().await, 0);
    edge.restart().await;
    served(&edge, &authority, "www.example.cn").await;
    assert!(pair == private(&edge, PAIR) && registered == account(&edge), "both are kept");
    assert_eq!(edge.metric("icpgate_acme_orders_total{site=\"shop\",result=\"issued\"}").await, 0.0);
    let checked = edge.check(&[]).await;
    assert!(checked.stdout.contains("site shop keeps and renews a certificate"), "{checked:?}");
}

#[tokio::test]
async fn a_wrong_key_is_named_and_the_last_good_certificate_stays() {
    let origin = Origin::text("ok").await;
    let dns = Bind::start().await;
    let folder = builder(HOSTS, &by_updates(dns.address), &origin).write();
    folder.replace("tsig.key", SECRET);
    let authority = Pebble::start(&folder, dns.address).await;
    let edge = folder.start().await;
    issued(&edge, 1).await;
    served(&edge, &authority, "www.example.cn").await;

    // One more host needs another certificate, which this key cannot get.
    edge.replace("tsig.key", "d3Jvbmc=\n");
    let more = edge.configuration().replace("\"*.example.cn\"", "\"*.example.cn\", \"*.a.example.cn\"");
    edge.replace("icpgate.yaml", more);
    let named = "the secret of the TSIG key acme is wrong (BADSIG)";
    persistently(&edge, named, async || edge.log().contains(named)).await;
    edge.metric_becomes("icpgate_acme_last_result{site=\"shop\",result=\"dns_failed\"}", 1.0).await;
    served(&edge, &authority, "www.example.cn").await;

    edge.replace("tsig.key", SECRET);
    edge.signal(Signal::HUP);
    issued(&edge, 2).await;
    for host in ["www.a.example.cn", "www.example.cn"] {
        served(&edge, &authority, host).await;
    }
}

#[tokio::test]
async fn settings_that_every_order_would_fail_by_are_problems() {
    let origin = Origin::text("ok").await;
    let nobody = SocketAddr::from(([127, 0, 0, 1], 9));
    let folder = builder(HOSTS, &by_updates(nobody), &origin).write();
    folder.replace("tsig.key", "no secret!");
    let checked = folder.check(&[]).await;
    assert_eq!(checked.code, 1, "{checked:?}");
    assert!(checked.stdout.contains("sites[0].certificate.acme.dns.key_file"), "{checked:?}");
    assert!(!checked.stdout.contains("no secret!"), "{checked:?}");
    let folder = builder(HOSTS, BY_PROGRAM, &origin).write();
    let checked = folder.check(&[]).await;
    assert_eq!(checked.code, 1, "{checked:?}");
    assert!(checked.stdout.contains("sites[0].certificate.acme.dns.program"), "{checked:?}");
}

#[tokio::test]
async fn an_order_needs_an_authority_and_a_known_provider() {
    let origin = Origin::text("ok").await;
    let unknown = "provider: route53, credentials: {from: environment}";
    let checked = builder(HOSTS, unknown, &origin).write().check(&[]).await;
    assert_eq!(checked.code, 1, "{checked:?}");
    let known = "\"route53\" is not one of alidns, dnspod, huawei, rfc2136, exec";
    assert!(checked.stdout.contains(known), "{checked:?}");
    let folder = builder(HOSTS, BY_PROGRAM, &origin).write();
    folder.replace("icpgate.yaml", folder.configuration().replace("\nacme: ", "\n# acme: "));
    let checked = folder.check(&[]).await;
    assert_eq!(checked.code, 1, "{checked:?}");
    assert!(checked.stdout.contains("the top level has no acme"), "{checked:?}");
}

#[tokio::test]
async fn a_certificate_is_renewed_at_two_thirds_of_its_lifetime_by_a_program() {
    let origin = Origin::text("ok").await;
    let start = Clock::system().now();
    let wall = Wall::showing(start);
    let folder = wall.of_folder(builder(HOSTS, BY_PROGRAM, &origin).write());
    let dns = ChallengeServer::start(&folder).await;
    let told = dns.told;
    let hook = format!(
        "#!/bin/sh\ncase $1 in present) path=set-txt ;; cleanup) path=clear-txt ;; *) exit 2 ;; esac\n\
         exec curl -fsS -d \"{{\\\"host\\\":\\\"$2.\\\",\\\"value\\\":\\\"$3\\\"}}\" http://{told}/$path\n"
    );
    folder.replace("hook", hook);
    let executable = std::fs::Permissions::from_mode(0o700);
    fs_err::set_permissions(folder.path("hook"), executable).expect("executable");
    let authority = Pebble::start(&folder, dns.dns).await;
    let edge = folder.start().await;
    Wall::check(&edge, start).await;
    issued(&edge, 1).await;
    served(&edge, &authority, "www.example.cn").await;
    let first = private(&edge, PAIR);

    // Pebble's certificates last five years, of which more than two thirds have passed after four.
    wall.set(start.checked_add((4 * 365 * 24).hours()).expect("a time"));
    edge.signal(Signal::HUP);
    issued(&edge, 2).await;
    assert!(private(&edge, PAIR) != first, "it is another one");
    served(&edge, &authority, "www.example.cn").await;
}

#[tokio::test]
async fn an_authority_that_knows_its_customers_gets_the_key_of_one() {
    let origin = Origin::text("ok").await;
    let dns = Bind::start().await;
    let folder = builder(HOSTS, &by_updates(dns.address), &origin).write();
    folder.replace("tsig.key", SECRET);
    let external = "trust: ca.pem, external_account: {key_id: kid-1, key_file: eab.key}}";
    folder.replace("icpgate.yaml", folder.configuration().replace("trust: ca.pem}", external));
    folder.replace("eab.key", "no key!\n");
    let checked = folder.check(&[]).await;
    assert_eq!(checked.code, 1, "{checked:?}");
    assert!(checked.stdout.contains("acme.external_account.key_file"), "{checked:?}");

    let key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let more =
        [("externalAccountBindingRequired", true.into()), ("externalAccountMACKeys", json!({"kid-1": key}))];
    let authority = Pebble::start_with(&folder, dns.address, folder.beside(14_000), &more).await;
    folder.replace("eab.key", "d3Jvbmc\n");
    let edge = folder.start().await;
    edge.metric_becomes("icpgate_acme_last_result{site=\"shop\",result=\"ca_refused\"}", 1.0).await;
    edge.replace("eab.key", format!("{key}\n"));
    edge.signal(Signal::HUP);
    issued(&edge, 1).await;
    served(&edge, &authority, "www.example.cn").await;
}

#[tokio::test]
async fn a_proof_is_set_where_a_cname_leads() {
    let origin = Origin::text("ok").await;
    // A record beside a CNAME cannot be.
    let dns = Bind::with("_acme-challenge CNAME proofs.validation\n").await;
    let folder = builder(HOSTS, &by_updates(dns.address), &origin).write();
    folder.replace("tsig.key", SECRET);
    let authority = Pebble::start(&folder, dns.address).await;
    let edge = folder.start().await;
    issued(&edge, 1).await;
    for host in ["example.cn", "www.example.cn"] {
        served(&edge, &authority, host).await;
    }
}
