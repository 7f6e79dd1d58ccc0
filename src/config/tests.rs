use std::path::Path;

use proptest::prelude::*;

use super::problem::Severity;
use super::*;
use crate::origin::{Scheme, ServerHost, UpstreamHost};
use crate::route::PathMatch;

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
  idle_timeout: 76s
  drain_timeout: 31s
  revocation_grace: 0s
  filings_stale_after: 0s
"#;

fn load_text(text: &str) -> Loaded<Config> {
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
    assert_eq!((&*config.node, config.admin), ("bj-edge-1", "127.0.0.1:9181".parse().expect("valid")));
    assert_eq!(config.filings, Path::new("/etc/icpgate/filings.yaml"));
    let [https, http] = config.listeners.as_slice() else { panic!("two listeners") };
    assert_eq!(https.protocol, Protocol::Https { refusal: RefusalMode::Alert });
    let from = vec!["100.64.0.0/10".parse().expect("valid")];
    let health_check = Some(HealthCheck { path: "/healthz".to_owned(), from });
    assert_eq!(http.protocol, Protocol::Http { redirect: Redirect::Https, health_check });
    let [shop, idn] = config.sites.as_slice() else { panic!("two sites") };
    assert_eq!(shop.listeners, [ListenerId(0), ListenerId(1)]);
    assert_eq!(shop.footer, FooterPages::Home);
    let certificate = shop.certificate.as_ref().expect("given");
    assert_eq!(certificate.chain, Path::new("/etc/icpgate/certs/example.cn.pem"));
    assert_eq!(certificate.key, Path::new("/etc/keys/example.cn.key"));
    assert_eq!(shop.routes[1].matcher.path, PathMatch::Exact("/pay/".to_owned()));
    assert_eq!(shop.routes[1].matcher.headers[0].0, "x-tier");
    assert_eq!(shop.routes[2].origins.iter().map(|origin| origin.0).collect::<Vec<_>>(), [0, 2]);
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
    assert_eq!(config.admin, "127.0.0.1:9180".parse().expect("valid"));
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
    fatal("filings:", "access_log: {sinks: []}\nfilings:", "access_log.sinks", "unknown key");
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
fn listeners() {
    let place = "listeners[0].addresses[0]";
    for (address, message) in [
        ("0.0.0.0", "is not an address with a port"),
        ("example.cn:443", "is not an address with a port"),
        ("0.0.0.0:99999", "is not an address with a port"),
        ("[::ffff:10.0.0.1]:443", "write 10.0.0.1:443"),
        ("127.0.0.1:9180", "overlaps with 127.0.0.1:9180 of admin"),
    ] {
        fatal("0.0.0.0:443", address, place, message);
    }
    warning("0.0.0.0:443", "127.0.0.1:0", place, "port 0");
    let second = "listeners[1].addresses[0]";
    for (address, message) in [
        ("10.0.0.1:443", Some("10.0.0.1:443 overlaps with 0.0.0.0:443 of listener \"https\"")),
        ("0.0.0.0:443", Some("overlaps")),
        ("[::]:443", None),
        ("10.0.0.1:444", None),
    ] {
        let text = LEAST.replace(
            "protocol: https}",
            &format!("protocol: https}}\n  - {{name: b, addresses: [\"{address}\"], protocol: https}}"),
        );
        match message {
            Some(message) => check_text(Severity::Fatal, &text, second, message),
            None => drop(valid(&text)),
        }
    }
    fatal(
        "[\"0.0.0.0:443\"]",
        "[\"10.0.0.1:443\", \"0.0.0.0:443\"]",
        "listeners[0].addresses[1]",
        "overlaps",
    );
    fatal("protocol: https", "protocol: https, redirect: none", "listeners[0].redirect", "no effect");
    let probe = "protocol: https, health_check: {path: /, from: [10.0.0.1]}";
    fatal("protocol: https", probe, "listeners[0].health_check", "no effect");
    fatal(
        "protocol: https",
        "protocol: https, trusted_proxies: [a]",
        "listeners[0].trusted_proxies[0]",
        "network",
    );
    let loose = "protocol: https, trusted_proxies: [10.0.0.1/8]";
    warning("protocol: https", loose, "listeners[0].trusted_proxies[0]", "write 10.0.0.0/8");
    fatal("protocol: https", "protocol: https, refusal: rst", "listeners[0].refusal", "\"reset\"?");
}

/// The least configuration with a listener in clear text, too.
fn with_http(keys: &str) -> String {
    let http =
        format!("protocol: https}}\n  - {{name: http, addresses: [\"0.0.0.0:80\"], protocol: http{keys}}}");
    LEAST.replace("protocol: https}", &http)
}

#[test]
fn clear_text_listeners() {
    valid(&with_http(""));
    for (keys, place, message) in [
        (", refusal: reset", "listeners[1].refusal", "no effect"),
        (", trusted_proxies: [10.0.0.1]", "listeners[1].trusted_proxies", "only redirects"),
        (", health_check: {path: /, from: []}", "listeners[1].health_check.from", "the list is empty"),
        (", health_check: {path: a, from: [10.0.0.1]}", "listeners[1].health_check.path", "begin with /"),
    ] {
        check_text(Severity::Fatal, &with_http(keys), place, message);
    }
    valid(&with_http(", redirect: none, trusted_proxies: [10.0.0.1]"));
    let alone = LEAST.replace("protocol: https}", "protocol: http}");
    let text = alone.replace("    certificate: {chain: a.pem, key: a.key}\n", "");
    check_text(Severity::Warning, &text, "listeners[0]", "there is no https listener");
    check_text(
        Severity::Fatal,
        &alone.replace("http}", "http, redirect: none}"),
        "sites[0].certificate",
        "no effect",
    );
    let apart =
        with_http("") + "  - {name: unused, region: offshore, scheme: http, servers: [\"a.cn:80\"]}\n";
    let apart = apart.replace(
        "origins:\n",
        "  - {hosts: [a.example.cn], listeners: [http], routes: [{origins: [unused]}]}\norigins:\n",
    );
    check_text(Severity::Warning, &apart, "sites[1]", "redirects to https, where this site is not");
}

#[test]
fn sites() {
    for (host, message) in [
        ("localhost", "no filing can cover localhost"),
        ("com.cn", "no filing can cover com.cn"),
        ("\"*.com.cn\"", "no filing can cover *.com.cn"),
        ("a_b.example.cn", "'_' is not allowed"),
        ("example.cn.", "ends with a dot"),
        ("\"a\\0.cn\"", "'\\0' is not allowed"),
        ("10.0.0.1", "it is an IP address"),
        ("a..cn", "label"),
        ("\"*.*.example.cn\"", "'*' is not allowed"),
        ("xn--a.cn", "internationalised"),
    ] {
        fatal("hosts: [www.example.cn]", &format!("hosts: [{host}]"), "sites[0].hosts[0]", message);
    }
    let long = format!("hosts: [{}]", "a".repeat(300));
    fatal("hosts: [www.example.cn]", &long, "sites[0].hosts[0]", "longer than 253 bytes");
    fatal("[www.example.cn]", "[www.example.cn, WWW.example.cn]", "sites[0].hosts[1]", "there twice");
    fatal(
        "    certificate: {chain: a.pem, key: a.key}\n",
        "",
        "sites[0].certificate",
        "the https listener \"https\"",
    );
    fatal("{chain: a.pem, key: a.key}", "{chain: a.pem}", "sites[0].certificate.key", "key is missing");
    fatal("hosts:", "listeners: []\n    hosts:", "sites[0].listeners", "the list is empty");
    fatal("hosts:", "listeners: [htps]\n    hosts:", "sites[0].listeners[0]", "did you mean \"https\"?");
    fatal(
        "hosts:",
        "footer: {pages: none}\n    hosts:",
        "sites[0].footer.pages",
        "not one of all, home, off",
    );
    warning("    routes: [{origins: [app]}]\n", "    routes: []\n", "sites[0]", "no routes");

    let another = |site: &str| LEAST.replace("origins:\n", &format!("  - {{{site}}}\norigins:\n"));
    let rest = "certificate: {chain: a, key: b}, routes: [{origins: [app]}]";
    let clash = another(&format!("name: b, hosts: [www.example.cn], {rest}"));
    check_text(
        Severity::Fatal,
        &clash,
        "sites[1].hosts[0]",
        "belongs to site \"www.example.cn\" on listener \"https\"",
    );
    let same_name = another(&format!("name: www.example.cn, hosts: [a.example.cn], {rest}"));
    check_text(Severity::Fatal, &same_name, "sites[1].name", "another site is named");
    valid(&another(&format!("hosts: [\"*.example.cn\"], {rest}")));
}

#[test]
fn routes() {
    let route = |route: &str| LEAST.replace("{origins: [app]}", route);
    for (text, place, message) in [
        ("{}", "origins", "origins is missing"),
        ("{origins: []}", "origins", "the list is empty"),
        ("{origins: [ap]}", "origins[0]", "no origin is named \"ap\" (hint: did you mean \"app\"?)"),
        ("{origins: [zzzz]}", "origins[0]", "known: app"),
        ("{origins: [app, app]}", "origins[1]", "there twice"),
        ("{match: {path: pay}, origins: [app]}", "match.path", "does not begin with /"),
        ("{match: {path: \"/a?b\"}, origins: [app]}", "match.path", "? or #"),
        ("{match: {path: /例}, origins: [app]}", "match.path", "visible ASCII"),
        ("{match: {path: /a, path_exact: /b}, origins: [app]}", "match.path_exact", "stand together"),
        ("{match: {method: [get]}, origins: [app]}", "match.method[0]", "upper case"),
        ("{match: {method: []}, origins: [app]}", "match.method", "the list is empty"),
        ("{match: {header: {\"a b\": c}}, origins: [app]}", "match.header.\"a b\"", "not a header's name"),
        ("{match: {header: {a: 1}}, origins: [app]}", "match.header.a", "found 1"),
        ("{match: {header: {a: b, A: c}}, origins: [app]}", "match.header.A", "there twice"),
    ] {
        check_text(Severity::Fatal, &route(text), &format!("sites[0].routes[0].{place}"), message);
    }
    let covered = route("{origins: [app]}, {match: {path: /a}, origins: [app]}");
    check_text(Severity::Warning, &covered, "sites[0].routes[1]", "never reached: routes[0]");
    let together = LEAST.replace(
        "[{origins: [app]}]",
        "[{match: {method: [GET]}, origins: [app]}, {match: {method: [POST]}, origins: [app]}, \
         {match: {path: /a, method: [GET, POST]}, origins: [app]}, {origins: [app]}]",
    );
    check_text(Severity::Warning, &together, "sites[0].routes[2]", "never reached: those before it");
    let many = route(&vec!["{origins: [app]}"; 4097].join(", "));
    check_text(Severity::Fatal, &many, "sites[0].routes", "more than 4096");
}

#[test]
fn origins() {
    for (server, message) in [
        ("10.0.1.10", "the port is missing"),
        ("10.0.1.10:0", "from 1 to 65535"),
        ("10.0.1.10:70000", "from 1 to 65535"),
        ("a.cn:http", "the port is no number"),
        ("a.cn:", "from 1 to 65535"),
        ("2001:db8::1:80", "in brackets"),
        ("[2001:db8::1]", "in brackets"),
        ("a_b:80", "'_' is not allowed"),
        ("http://a.cn:80", "without scheme"),
    ] {
        fatal("10.0.1.10:8080", server, "origins[0].servers[0]", message);
    }
    fatal("[\"10.0.1.10:8080\"]", "[]", "origins[0].servers", "the list is empty");
    fatal(
        "\"10.0.1.10:8080\"",
        "\"a.cn:80\", {address: \"A.cn:80\"}",
        "origins[0].servers[1]",
        "there twice",
    );
    let one = "\"10.0.1.10:8080\"";
    fatal(one, "{address: \"a.cn:1\", weight: 0}", "origins[0].servers[0].weight", "a whole number from 1");
    fatal(one, "{address: \"a.cn:1\", backup: 1}", "origins[0].servers[0].backup", "expected true or false");
    fatal(one, "{address: \"a.cn:1\", link: \"\"}", "origins[0].servers[0].link", "expected a name");
    let weighed = "\"a.cn:1\", {address: \"a.cn:1\", weight: 2}";
    fatal(one, weighed, "origins[0].servers[1]", "there twice");
    warning(one, "{address: \"a.cn:1\", backup: true}", "origins[0].servers", "every server is a backup");
    fatal(
        "scheme: http",
        "scheme: http, health: {interval: 5s}",
        "origins[0].health.path",
        "path is missing",
    );
    for (retries, place, message) in [
        ("{attempts: 0}", "retries.attempts", "a whole number from 1 to 5"),
        ("{budget: 20}", "retries.budget", "found 20"),
        ("{budget: 101%}", "retries.budget", "not from 0% to 100%"),
        ("{budget: 20 %}", "retries.budget", "not from 0% to 100%"),
        ("{attempts: 1, budget: 20%}", "retries.budget", "no effect"),
        ("{attempts: 1, per_try: 2s}", "retries.per_try", "no effect"),
        ("{per_try: 0s}", "retries.per_try", "zero"),
    ] {
        fatal(
            "scheme: http",
            &format!("scheme: http, retries: {retries}"),
            &format!("origins[0].{place}"),
            message,
        );
    }
    for (health, place, message) in [
        ("kind: udp", ".kind", "not one of http, tcp"),
        ("kind: tcp, path: /", ".path", "no effect"),
        ("kind: tcp, expect: 200", ".expect", "no effect"),
        ("path: /, expect: 99", ".expect", "a whole number from 200 to 599"),
        ("path: /, expect: 200-", ".expect", "from 200 to 599"),
        ("path: /, expect: 300-200", ".expect", "ends before it begins"),
        ("path: /, expect: ok", ".expect", "no status"),
        ("path: /, expect: []", ".expect", "the list is empty"),
        ("path: /, expect: [204, 200-299, 204]", ".expect[2]", "there twice"),
    ] {
        let with = format!("scheme: http, health: {{{health}}}");
        fatal("scheme: http", &with, &format!("origins[0].health{place}"), message);
    }
    for (keys, message) in [
        ("hedge_after: p99", "not `p95` or a duration"),
        ("hedge_after: 0s", "may not be zero"),
        ("retries: {attempts: 1}, hedge_after: p95", "no effect"),
        ("retries: {budget: 0%}, hedge_after: 300ms", "no effect"),
    ] {
        fatal("scheme: http", &format!("scheme: http, {keys}"), "origins[0].hedge_after", message);
    }
    let two = "\"10.0.1.10:8080\", {address: \"10.0.1.11:8080\", link: dear}";
    for (links, place, message) in [
        ("{dear: {prefer: 20:00}}", ".dear.prefer", "no - between"),
        ("{dear: {prefer: \"20:00-24:00\"}}", ".dear.prefer", "from 00:00 to 23:59"),
        ("{dear: {prefer: [\"20:00-20:00\"]}}", ".dear.prefer[0]", "it ends when it begins"),
        ("{dear: {failures: 5}}", ".dear.failures", "found 5"),
        ("{dear: {first_byte: 0s}}", ".dear.first_byte", "zero"),
        ("{dear: {}, other: {}}", ".other", "no origin has a server on this link"),
        ("{dear: {}, default: {}}", ".dear", "no origin has a server on this link"),
    ] {
        let with = LEAST.replace("\"10.0.1.10:8080\"", two).replacen(
            "filings:",
            &format!("links: {links}\nfilings:"),
            1,
        );
        let loaded = load_text(&with);
        let found = loaded
            .problems
            .iter()
            .any(|problem| problem.place == format!("links{place}") && problem.message.contains(message));
        assert!(found, "{links}: {:?}", loaded.problems);
    }
    fatal("scheme: http", "scheme: http, max_in_flight: 0", "origins[0].max_in_flight", "number from 1");
    fatal("scheme: http", "scheme: http, server_name: a.cn", "origins[0].server_name", "no effect");
    fatal("scheme: http", "scheme: http, trust: a.pem", "origins[0].trust", "no effect");
    fatal("scheme: http", "scheme: https", "origins[0].server_name", "server_name is missing");
    fatal("region: mainland", "region: hk", "origins[0].region", "not one of mainland, offshore");
    fatal("scheme: http", "scheme: http, timeouts: {connect: 0s}", "origins[0].timeouts.connect", "zero");
    fatal("scheme: http", "scheme: http, host: \"a b\"", "origins[0].host", "not `preserve` or a host name");
    let unused = "origins:\n  - {name: b, region: mainland, scheme: http, servers: [\"a.cn:80\"]}";
    warning("origins:\n  ", &format!("{unused}\n  "), "origins[0]", "no route leads");
    let twice = unused.replace("name: b", "name: app");
    fatal("origins:\n  ", &format!("{twice}\n  "), "origins[1].name", "another origin is named \"app\"");
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
        "10 is more than the 9 connections",
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
fn pools_and_congestion_control() {
    let servers = "servers: [\"10.0.1.10:8080\"]";
    for (more, place, message) in [
        ("pool: {preconnect: 4, max_idle: 3}", "pool", "preconnect is 4, and max_idle 3"),
        ("pool: {max_idle: 70000}", "pool.max_idle", "from 0 to 65536"),
        ("pool: {preconnect: -1}", "pool.preconnect", "from 0 to 256"),
        ("pool: {preconnect: 1}, proxy_protocol: v2", "pool.preconnect", "no effect"),
        ("congestion: BBR", "congestion", "at most 15 lower-case letters"),
    ] {
        let place = format!("origins[0].{place}");
        fatal(servers, &format!("{servers}, {more}"), &place, message);
    }
    let text =
        LEAST.replace(servers, &format!("{servers}, pool: {{max_idle: 10, preconnect: 4}}, congestion: bbr"));
    let origin = &valid(&text).origins[0];
    assert_eq!(
        (origin.pool.max_idle, origin.pool.preconnect, origin.congestion.as_deref()),
        (10, 4, Some("bbr"))
    );
}

#[test]
fn name_servers() {
    let text = |servers| LEAST.to_owned() + "resolver: {servers: " + servers + "}\n";
    for (servers, message) in [
        ("[]", "empty"),
        ("[dns.example.com]", "is not an address of a name server"),
        ("[10.0.0.2, \"10.0.0.2:53\"]", "twice"),
    ] {
        let loaded = load_text(&text(servers));
        assert!(loaded.problems[0].message.contains(message), "{servers}: {:?}", loaded.problems);
        assert!(loaded.value.is_none());
    }
    let named = |servers| text(servers).replace("10.0.1.10:8080", "app.example.com:8080");
    let expected: [SocketAddr; 2] = ["10.0.0.2:53".parse().unwrap(), "[2001:db8::1]:5353".parse().unwrap()];
    assert_eq!(valid(&named("[10.0.0.2, \"[2001:db8::1]:5353\"]")).name_servers, expected);
    check_text(Severity::Warning, &text("[10.0.0.2]"), "resolver", "no server has a name");
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
