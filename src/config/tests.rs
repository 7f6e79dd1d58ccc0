mod origins;
mod sinks;
mod sites;

use std::path::Path;

use proptest::prelude::*;

use super::problem::Severity;
use super::*;
use crate::origin::{Scheme, ServerHost, UpstreamHost};
use crate::rewrite::FooterPages;
use crate::route::{Action, PathMatch};

/// The contract's example, without the keys that are not built.
const EXAMPLE: &str = r#"
node: bj-edge-1
filings: filings.yaml

listeners:
  - name: https
    addresses: ["0.0.0.0:443", "[::]:443"]
    protocol: https
    public_addresses: [203.0.113.10]
    refusal: alert
    proxy_protocol:
      trusted: [100.64.0.0/10]
    trusted_proxies: []
  - name: http
    addresses: ["0.0.0.0:80"]
    protocol: http
    redirect: https
    health_check: {path: /healthz, from: [100.64.0.0/10]}

sites:
  - name: shop
    hosts: [www.example.cn, example.cn, "*.static.example.cn"]
    listeners: [https, http]
    certificate: {chain: certs/example.cn.pem, key: /etc/keys/example.cn.key}
    footer: {pages: home}
    routes:
      - match: {path: /pay, method: [GET, POST]}
        origins: [offshore-sg]
      - match: {path_exact: /pay/, header: {X-Tier: gold}}
        origins: [offshore-hk]
      - match: {path: /}
        origins: [mainland, offshore-hk]
        residency: any
  - hosts: [例子.中国]
    certificate: {chain: certs/b.pem, key: certs/b.key}
    routes: [{origins: [mainland]}]

origins:
  - name: mainland
    region: mainland
    scheme: http
    servers: ["10.0.1.10:8080", {address: "10.0.1.11:8080"}, "[2001:db8::1]:80"]
  - name: offshore-sg
    region: offshore
    scheme: https
    server_name: pay.example.com
    servers: ["pay.example.com:443"]
  - name: offshore-hk
    region: offshore
    scheme: https
    server_name: app.example.com
    trust: certs/private-ca.pem
    servers: ["app.example.com:443"]
    timeouts: {connect: 4s, first_byte: 31s, idle: 61s}
    host: app.example.com

access_log:
  directory: access
  retention: 200d
  reserve: 2GiB
  when_full: drop
  redact_query: [token]

admin: {address: "127.0.0.1:9181"}
log: {format: json, level: debug}
limits:
  connections: 1000
  connections_per_client: 100
  client_hello_timeout: 6s
  handshake_timeout: 11s
  request_head_timeout: 12s
  request_head_bytes: 32KiB
  body_idle_timeout: 61s
  body_rate: 1KiB
  body_rate_grace: 62s
  idle_timeout: 76s
  drain_timeout: 31s
  upgrade_timeout: 61s
  revocation_grace: 0s
  filings_stale_after: 0s
"#;

fn load_text(text: &str) -> LoadResult<Config> {
    parse(Path::new("/etc/icpgate/icpgate.yaml"), text.as_bytes())
}

#[track_caller]
fn valid(text: &str) -> Config {
    let loaded = load_text(text);
    let shown: Vec<_> = loaded.problems.iter().map(ToString::to_string).collect();
    assert_eq!(shown, [""; 0]);
    loaded.value.expect("no problem, hence a value")
}

#[test]
fn the_example_is_taken_as_it_stands() {
    let config = valid(EXAMPLE);
    assert_eq!(
        (&*config.node, config.admin.address),
        ("bj-edge-1", "127.0.0.1:9181".parse().expect("valid"))
    );
    assert!(config.filings.is_file(Path::new("/etc/icpgate/filings.yaml")));
    let [https, http] = config.listeners.as_slice() else { panic!("two listeners") };
    assert_eq!(https.protocol, Protocol::Https { refusal: RefusalMode::Alert });
    let from = vec!["100.64.0.0/10".parse().expect("valid")];
    let health_check = Some(HealthCheck { path: "/healthz".to_owned(), from });
    assert_eq!(http.protocol, Protocol::Http { redirect: Redirect::Https, health_check });
    let [shop, idn] = config.sites.as_slice() else { panic!("two sites") };
    assert_eq!(shop.listeners, [ListenerId(0), ListenerId(1)]);
    assert_eq!(shop.footer.pages, FooterPages::Home);
    let certificate = shop.certificate.as_ref().expect("given");
    assert_eq!(certificate.chain, Path::new("/etc/icpgate/certs/example.cn.pem"));
    assert_eq!(certificate.key, Path::new("/etc/keys/example.cn.key"));
    assert_eq!(shop.routes[1].matcher.path, PathMatch::Exact("/pay/".to_owned()));
    assert_eq!(shop.routes[1].matcher.headers[0].0, "x-tier");
    let Action::Forward(forward) = &shop.routes[2].action else { panic!("it has origins") };
    assert_eq!(forward.origins.iter().map(|origin| origin.0).collect::<Vec<_>>(), [0, 2]);
    assert_eq!(&*idn.name, "xn--fsqu00a.xn--fiqs8s");
    assert_eq!(idn.listeners, [ListenerId(0), ListenerId(1)]);
    let [mainland, _, hongkong] = config.origins.as_slice() else { panic!("three origins") };
    assert_eq!(mainland.servers[2].host, ServerHost::Address("2001:db8::1".parse().expect("valid")));
    assert!(matches!(&hongkong.scheme, Scheme::Https { trust: Some(_), .. }));
    assert!(matches!(&hongkong.host, UpstreamHost::Fixed(_)));
    assert_eq!(config.access_log.reserve, 2 << 30);
    assert_eq!(config.access_log.directory, Path::new("/etc/icpgate/access"));
    assert_eq!(config.limits.request_head_bytes, 32 << 10);
    assert!(config.limits.filings_stale_after.is_zero());
}

/// As little as a configuration can be.
const LEAST: &str = r#"
filings: filings.yaml
listeners:
  - {name: https, addresses: ["0.0.0.0:443"], protocol: https}
sites:
  - hosts: [www.example.cn]
    certificate: {chain: a.pem, key: a.key}
    routes: [{origins: [app]}]
origins:
  - {name: app, region: mainland, scheme: http, servers: ["10.0.1.10:8080"]}
"#;

#[test]
fn what_is_left_out_has_its_default() {
    let config = valid(LEAST);
    assert!(!config.node.is_empty());
    assert_eq!(config.admin.address, "127.0.0.1:9180".parse().expect("valid"));
    assert_eq!(config.limits, Limits::default());
    assert_eq!(config.access_log.directory, Path::new("/var/lib/icpgate/access"));
    assert_eq!(config.access_log.retention, Duration::from_secs(190 * 86_400));
    assert_eq!(config.access_log.redact_query, ["token", "password", "access_token"]);
    assert_eq!(config.log.level, tracing::Level::INFO);
    assert_eq!(&*config.sites[0].name, "www.example.cn");
    assert_eq!(config.sites[0].routes[0].matcher, crate::route::Matcher::default());
    assert_eq!(config.listeners[0].protocol, Protocol::Https { refusal: RefusalMode::Reset });
}

/// Changes the least configuration and expects one finding at `place`, with `message` in its text.
#[track_caller]
fn check(severity: Severity, from: &str, to: &str, place: &str, message: &str) {
    assert!(LEAST.contains(from), "{from}");
    check_text(severity, &LEAST.replacen(from, to, 1), place, message);
}

#[track_caller]
fn check_text(severity: Severity, text: &str, place: &str, message: &str) {
    let loaded = load_text(text);
    let shown: Vec<_> = loaded.problems.iter().map(ToString::to_string).collect();
    let found: Vec<_> = loaded.problems.iter().filter(|p| p.place == place).collect();
    let [problem] = found.as_slice() else { panic!("one problem at {place:?} of {shown:#?}") };
    assert!(problem.to_string().contains(message), "{problem}");
    assert_eq!(problem.severity, severity, "{problem}");
    assert!(loaded.problems.iter().all(|p| p.severity == severity), "{shown:#?}");
    assert_eq!(loaded.value.is_none(), severity == Severity::Fatal, "{shown:#?}");
}

#[track_caller]
fn fatal(from: &str, to: &str, place: &str, message: &str) {
    check(Severity::Fatal, from, to, place, message);
}

#[track_caller]
fn warning(from: &str, to: &str, place: &str, message: &str) {
    check(Severity::Warning, from, to, place, message);
}

#[test]
fn files_that_are_no_configuration() {
    for (text, message) in [
        ("", "it is empty"),
        ("filings: [", "not valid YAML"),
        ("- a", "expected a mapping of keys and values, found a list"),
        ("text", "expected a mapping of keys and values, found \"text\""),
    ] {
        check_text(Severity::Fatal, text, "", message);
    }
    let large = parse(Path::new("a.yaml"), &vec![b' '; (4 << 20) + 1]);
    assert!(large.problems[0].message.contains("larger than 4 MiB"));
}

#[test]
fn files_that_cannot_be_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let error = load(folder.path()).expect_err("a folder is no file");
    assert_eq!(error.reason.kind(), std::io::ErrorKind::IsADirectory);
    let missing = folder.path().join("missing.yaml");
    let error = load(&missing).expect_err("there is no file");
    assert_eq!(error.reason.kind(), std::io::ErrorKind::NotFound);
    assert!(error.to_string().contains("missing.yaml"), "{error}");
    let null = load(Path::new("/dev/zero")).expect_err("no regular file");
    assert!(null.to_string().contains("not a regular file"), "{null}");
}

#[test]
fn keys_and_types() {
    fatal(
        "filings:",
        "filing: a\nfilings:",
        "filing",
        "unknown key \"filing\" (hint: did you mean \"filings\"?)",
    );
    fatal("filings: filings.yaml", "", "filings", "filings is missing");
    fatal("filings: filings.yaml", "filings: 5", "filings", "expected a path, found 5");
    fatal("filings: filings.yaml", "filings:", "filings", "found nothing");
    fatal("filings:", "filings: b\nfilings:", "filings", "the key \"filings\" is there twice");
    fatal("filings:", "node: true\nfilings:", "node", "in quotes");
    fatal("filings:", "node: \" a\"\nfilings:", "node", "white space");
    fatal("filings:", "\"a\\eb c\": 1\nfilings:", "\"a\\u{1b}b c\"", "unknown key");
    fatal("hosts: [www.example.cn]", "hosts: www.example.cn", "sites[0].hosts", "expected a list");
    fatal("hosts: [www.example.cn]", "hosts: []", "sites[0].hosts", "the list is empty");
    fatal("filings:", "<<: {}\nfilings:", "\"<<\"", "unknown key");
    for key in ["pools", "weight"] {
        let changed = format!("{{name: app, {key}: {{}},");
        fatal("{name: app,", &changed, &format!("origins[0].{key}"), "unknown key");
    }
    fatal(
        "\"10.0.1.10:8080\"",
        "{address: \"a:1\", pool: 4}",
        "origins[0].servers[0].pool",
        "known here: address, weight, backup, link",
    );
    fatal(
        "{origins: [app]}",
        "{origins: [app], residncy: any}",
        "sites[0].routes[0].residncy",
        "did you mean \"residency\"",
    );
    fatal(
        "{origins: [app]}",
        "{match: {clients: mainland}, origins: [app]}",
        "sites[0].routes[0].match.clients",
        "nothing tells where clients are",
    );
    fatal(
        "protocol: https",
        "protocol: https, proxy_protocol: {}",
        "listeners[0].proxy_protocol.trusted",
        "trusted is missing",
    );
    warning(
        "protocol: https",
        "protocol: https, proxy_protocol: {trusted: [0.0.0.0/0]}",
        "listeners[0].proxy_protocol.trusted",
        "0.0.0.0/0 is everywhere",
    );
    fatal("scheme: http", "scheme: http, proxy_protocol: v1", "origins[0].proxy_protocol", "not one of v2");
    fatal("scheme: http", "scheme: h3", "origins[0].scheme", "\"h3\" is not one of http, https, h2c");
}

#[test]
fn every_problem_is_found_at_once() {
    let text = "nod: a\nlisteners: [{name: a, addresses: [x], protocol: htps}]\nsites: [{hosts: [cn]}]\n\
                limits: {connections: 0}\n";
    let places: Vec<_> = load_text(text).problems.into_iter().map(|problem| problem.place).collect();
    for place in [
        "nod",
        "filings",
        "limits.connections",
        "listeners[0].addresses[0]",
        "listeners[0].protocol",
        "sites[0].hosts[0]",
    ] {
        assert!(places.iter().any(|found| found == place), "{place} in {places:?}");
    }
}

#[test]
fn the_rest() {
    for (section, key, value, message) in [
        ("access_log", "retention", "179d", "less than the 180d"),
        ("access_log", "retention", "6", "found 6"),
        ("access_log", "reserve", "1GB", "its unit is not one of KiB"),
        ("access_log", "when_full", "stop", "not one of refuse, drop"),
        ("admin", "address", "localhost:9180", "not an address with a port"),
        ("log", "level", "loud", "not one of error, warn"),
        ("limits", "connections", "0", "a whole number from 1"),
        ("limits", "connections", "-1", "found -1"),
        ("limits", "connections", "1.5", "found 1.5"),
        ("limits", "connections_per_client", "99999999999999999999", "a whole number from 1"),
        ("limits", "idle_timeout", "0s", "it may not be zero"),
        ("limits", "idle_timeout", "5 s", "is not a duration"),
        ("limits", "request_head_bytes", "10", "not from 1KiB to 1MiB"),
        ("limits", "memory", "0%", "0% is not from 1% to 90%"),
        ("limits", "memory", "100%", "100% is not from 1% to 90%"),
        ("limits", "memory", "much", "is not a size"),
        ("limits", "memory_per_client", "1MiB", "1MiB is not from 16MiB"),
    ] {
        let text = format!("{section}: {{{key}: {value}}}\nfilings:");
        fatal("filings:", &text, &format!("{section}.{key}"), message);
    }
    for address in ["0.0.0.0:9180", "\"[::]:9180\"", "203.0.113.1:9180"] {
        let text = format!("admin: {{address: {address}}}\nfilings:");
        warning("filings:", &text, "admin.address", "open to whoever reaches");
    }
    warning(
        "filings:",
        "limits: {connections: 9, connections_per_client: 10}\nfilings:",
        "limits.connections_per_client",
        "10 is more than limits.connections, 9",
    );
    warning(
        "filings:",
        "limits: {memory: 20%, memory_per_client: 30%}\nfilings:",
        "limits.memory_per_client",
        "more than limits.memory",
    );
}

#[test]
fn no_beginning_of_a_file_panics() {
    for end in 0..EXAMPLE.len() {
        let loaded = parse(Path::new("a.yaml"), &EXAMPLE.as_bytes()[..end]);
        assert!(loaded.value.is_some() || !loaded.problems.is_empty());
    }
}

#[test]
fn problems_past_a_limit_are_counted() {
    let hosts = vec!["x"; 2_000].join(", ");
    let loaded = load_text(&LEAST.replace("www.example.cn", &hosts));
    assert!(loaded.problems.len() < 600, "{}", loaded.problems.len());
    assert!(loaded.problems.last().is_some_and(|last| last.message.contains("are not shown")));
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        parse(Path::new("a.yaml"), &bytes);
    }

    #[test]
    fn no_changed_byte_panics(at in 0..EXAMPLE.len(), byte: u8) {
        let mut bytes = EXAMPLE.as_bytes().to_vec();
        bytes[at] = byte;
        parse(Path::new("a.yaml"), &bytes);
    }
}
