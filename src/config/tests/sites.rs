//! Listeners, and the sites behind them.

use super::*;
use crate::route::{Action, CacheUse};

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

/// The least configuration with these routes instead, as a flow list.
fn with_routes(routes: &str) -> String {
    LEAST.replace("routes: [{origins: [app]}]", &format!("routes: {routes}"))
}

#[test]
fn routes_do_one_thing() {
    for (routes, place, message) in [
        ("[{}]", "origins", "a route needs it"),
        ("[{origins: [app], respond: {status: 403}}]", "respond", "exclude each other"),
        ("[{redirect: {to: /x}, respond: {status: 403}}]", "respond", "exclude each other"),
        ("[{respond: {status: 403}, residency: any}]", "residency", "no effect"),
        ("[{respond: {status: 403}, path: {strip: /a}}]", "path", "no effect"),
        ("[{respond: {status: 403}, request_headers: {remove: [a]}}]", "request_headers", "no effect"),
        ("[{respond: {status: 204, body: x}}]", "respond.body", "no effect"),
        ("[{respond: {status: 101}}]", "respond.status", "from 200 to 599"),
        ("[{redirect: {to: /x, status: 200}}]", "redirect.status", "is no redirect"),
        ("[{redirect: {status: 301}}]", "redirect.to", "is missing"),
        ("[{redirect: {to: www.example.cn}}]", "redirect.to", "neither an absolute URL nor a path"),
        ("[{redirect: {to: //a.cn}}]", "redirect.to", "neither an absolute URL nor a path"),
        ("[{redirect: {to: \"{host}/x\"}}]", "redirect.to", "neither an absolute URL nor a path"),
        ("[{redirect: {to: \"https://a.cn/{uri}\"}}]", "redirect.to", "unknown placeholder {uri}"),
        ("[{redirect: {to: \"https://a.cn/{path\"}}]", "redirect.to", "write it twice"),
        ("[{match: {from: [x]}, respond: {}}]", "match.from[0]", "not a network"),
    ] {
        check_text(Severity::Fatal, &with_routes(routes), &format!("sites[0].routes[0].{place}"), message);
    }
}

#[test]
fn edits_that_mean_nothing_are_refused() {
    for (edits, place, message) in [
        ("path: {strip: /a, prepend: /a/}", "path", "changes no path"),
        ("path: {}", "path", "changes no path"),
        ("match: {path: /b}, path: {strip: /a}", "path.strip", "no effect"),
        ("match: {path: /ab}, path: {strip: /a}", "path.strip", "no effect"),
        ("match: {path_exact: /b}, path: {strip: /a}", "path.strip", "no effect"),
        ("request_headers: {}", "request_headers", "changes nothing"),
        ("request_headers: {set: {host: a}}", "request_headers.set.host", "cannot edit host"),
        ("request_headers: {set: {X-Request-Id: a}}", "request_headers.set.X-Request-Id", "ties requests"),
        ("request_headers: {remove: [connection]}", "request_headers.remove[0]", "cannot edit connection"),
        ("response_headers: {set: {content-length: \"1\"}}", "response_headers.set.content-length", "frames"),
        ("response_headers: {set: {a b: x}}", "response_headers.set.\"a b\"", "not a field name"),
        ("response_headers: {set: {a: \"x\\ny\"}}", "response_headers.set.a", "visible ASCII"),
        ("response_headers: {set: {a: \"{user}\"}}", "response_headers.set.a", "unknown placeholder {user}"),
        ("response_headers: {set: {a: x}, remove: [A]}", "response_headers", "set and removed"),
    ] {
        let routes = format!("[{{origins: [app], {edits}}}]");
        check_text(Severity::Fatal, &with_routes(&routes), &format!("sites[0].routes[0].{place}"), message);
    }
    for edits in [
        "match: {path: /a/b}, path: {strip: /a}",
        "match: {path: /a}, path: {strip: /a/b}",
        "path: {prepend: /v2}",
        "match: {path_exact: /a}, path: {strip: /a}",
        "response_headers: {set: {report-to: \"{{\\\"group\\\": 1}}\"}}",
    ] {
        valid(&with_routes(&format!("[{{origins: [app], {edits}}}]")));
    }
}

#[test]
fn redirects_that_lead_to_themselves_are_refused() {
    let place = "sites[0].routes[0]";
    for (route, leads_to_itself) in [
        ("redirect: {to: \"https://www.example.cn{path}{query}\"}", true),
        ("redirect: {to: \"https://WWW.example.cn{path}\"}", true),
        ("redirect: {to: \"{scheme}://{host}{path}\"}", true),
        ("redirect: {to: \"/new{path}\"}", true),
        ("redirect: {to: \"/\"}", true),
        ("match: {path: /a}, redirect: {to: \"/a/b?x\"}", true),
        ("match: {path_exact: /a}, redirect: {to: \"{path}?again\"}", true),
        ("match: {path: /a}, redirect: {to: \"/new{path}\"}", false),
        ("match: {path_exact: /a}, redirect: {to: \"/a/\"}", false),
        ("redirect: {to: \"https://other.example.cn{path}\"}", false),
        ("redirect: {to: \"https://www.{host}{path}\"}", false),
        ("redirect: {to: \"https://{host}:8443{path}\"}", false),
        ("redirect: {to: \"http://{host}{path}\"}", false),
    ] {
        let text = with_routes(&format!("[{{{route}}}, {{match: {{path: /z}}, origins: [app]}}]"));
        let found = load_text(&text).problems.iter().any(|problem| {
            problem.place == place && problem.message.contains("the redirect leads to itself")
        });
        assert_eq!(found, leads_to_itself, "{route}");
    }
    // A route before it takes the target.
    valid(&with_routes("[{match: {path: /home}, origins: [app]}, {redirect: {to: /home}}]"));
}

#[test]
fn caches() {
    let used = |keys: &str| LEAST.replace("    certificate:", "    cache: on\n    certificate:") + keys;
    let use_of = |config: &Config| match &config.sites[0].routes[0].action {
        Action::Forward(forward) => forward.cache,
        other => panic!("{other:?}"),
    };
    let config = valid(&used("cache: {memory: 32MiB}\n"));
    assert_eq!(config.cache, Some(CacheSettings { memory: 32 << 20, max_object: 32 << 20, disk: None }));
    assert_eq!((use_of(&config), use_of(&valid(LEAST))), (CacheUse::Used, CacheUse::Absent));
    check_text(Severity::Fatal, &used(""), "sites[0].cache", "the section cache is missing");
    let small = used("cache: {memory: 32MiB, max_object: 64MiB}\n");
    check_text(Severity::Fatal, &small, "cache.max_object", "more than cache.memory");
    let unused = LEAST.to_owned() + "cache: {memory: 32MiB}\n";
    check_text(Severity::Warning, &unused, "cache", "no site uses the cache");
}
