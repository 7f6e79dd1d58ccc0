//! Routes, origins, and the ways to their servers.

use super::*;

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
        ("{match: {path: /a, path_exact: /b}, origins: [app]}", "match.path_exact", "exclude each other"),
        ("{match: {method: [get]}, origins: [app]}", "match.method[0]", "upper case"),
        ("{match: {method: []}, origins: [app]}", "match.method", "the list is empty"),
        ("{match: {header: {\"a b\": c}}, origins: [app]}", "match.header.\"a b\"", "not a header name"),
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
        ("a.cn:http", "the port is not a number"),
        ("a.cn:", "from 1 to 65535"),
        ("2001:db8::1:80", "in brackets"),
        ("[2001:db8::1]", "in brackets"),
        ("a_b:80", "'_' is not allowed"),
        ("http://a.cn:80", "it has a scheme or a path"),
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
        ("path: /, expect: ok", ".expect", "must be a status"),
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
