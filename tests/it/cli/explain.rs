//! `explain`: the reason that the gate gives for a host at a time.

use serde_json::{Value, json};

use super::{every_answer, list};
use crate::support::edge::Edge;

#[tokio::test]
async fn explain_gives_the_reason_of_the_gate_at_the_given_time() {
    let folder = every_answer();
    let (now, noon) = ("2026-06-01T00:00:00+08:00", "2026-03-01T12:00:00+08:00");
    let cases = [
        ("www.example.cn", now, None, None),
        ("WWW.Example.CN", now, None, None),
        ("a.static.example.cn", now, None, None),
        ("例子.cn", now, None, None),
        ("xn--fsqu00a.cn", now, None, None),
        ("www.example.net", now, Some("not_filed"), Some("not_filed")),
        ("www.example.gd.cn", now, Some("not_filed"), Some("not_filed")),
        ("www.example.com.cn", now, Some("not_approved"), Some("not_approved")),
        ("www.example.cn", noon, Some("not_yet_valid"), Some("not_yet_valid")),
        ("www.example.cn", "2026-03-02T00:00:00+08:00", None, None),
        ("www.example.cn", "2031-03-02T00:00:00+08:00", Some("expired"), Some("expired")),
        ("www.example.net.cn", now, Some("host_excluded"), Some("host_excluded")),
        ("www.example.org.cn", now, Some("address_not_filed"), None),
        ("example.cn", now, Some("no_site"), Some("no_site")),
        ("a.b.static.example.cn", now, Some("no_site"), Some("no_site")),
        ("late.example.cn", now, Some("no_certificate"), None),
        ("www.example.cn", "2030-06-01T00:00:00+08:00", Some("no_certificate"), None),
        ("192.0.2.1", now, Some("ip_literal"), Some("ip_literal")),
        ("[2001:db8::1]", now, Some("ip_literal"), Some("ip_literal")),
        ("www.example.cn.", now, Some("bad_server_name"), Some("bad_server_name")),
        ("a_b.example.cn", now, Some("bad_server_name"), Some("bad_server_name")),
        ("", now, Some("bad_server_name"), Some("bad_server_name")),
        ("-", now, Some("bad_server_name"), Some("bad_server_name")),
        ("www.example.cn:443", now, Some("bad_server_name"), Some("bad_server_name")),
    ];
    for (host, at, https, http) in cases {
        let explain = folder.explain(&["--json", "--at", at, "--", host]).await;
        let expected_code = i32::from(https.is_some() || http.is_some());
        assert_eq!(explain.code, expected_code, "{host} at {at}: {explain:?}");
        let found = explain.json();
        assert_eq!((&found["host"], &found["at"]), (&json!(host), &json!(at)));
        for (place, listener, reason) in [(0, "https", https), (1, "http", http)] {
            let answer = &found["answers"][place];
            assert_eq!(answer["listener"], listener);
            assert_eq!(answer["permitted"], reason.is_none(), "{host} at {at}: {answer}");
            assert_eq!(answer.get("reason"), reason.map(|reason| json!(reason)).as_ref(), "{host} at {at}");
        }
        let alone = folder.explain(&["--listener", "http", "--at", at, "--", host]).await;
        assert_eq!(alone.code, i32::from(http.is_some()), "{host} at {at}: {alone:?}");
        assert_eq!(alone.stdout.lines().count(), 1, "{alone:?}");
        assert!(alone.stdout.contains(http.unwrap_or("permitted")), "{alone:?}");
    }
    // A host that looks like an option.
    let explain = folder.explain(&["-a.cn"]).await;
    assert!(explain.code == 1 && explain.stdout.contains("bad_server_name"), "{explain:?}");
    // The text names the filing.
    let explain = folder.explain(&["www.example.cn", "--at", now]).await;
    assert!(explain.stdout.contains("京ICP备2024012345号-1"), "{explain:?}");
}

#[tokio::test]
async fn explain_takes_the_reason_from_the_filing_that_names_the_host() {
    let other = "{domain: example.cn, number: 京ICP备2024012345号-2, status: approved, approved_on: 2020-01-02, hosts: [example.cn]}";
    let own =
        "domain: example.cn, number: 京ICP备2024012345号-1, approved_on: 2020-01-02, hosts: [www.example.cn]";
    let folder = Edge::builder().write();
    for (stands, reason) in
        [("status: suspended", "not_approved"), ("status: approved, valid_until: 2021-01-01", "expired")]
    {
        folder.replace("filings.yaml", format!("filings:\n  - {{{own}, {stands}}}\n  - {other}\n"));
        let explain = folder.explain(&["www.example.cn", "--json"]).await;
        assert_eq!(explain.code, 1, "{explain:?}");
        assert_eq!(explain.json()["answers"][0]["reason"], reason);
        assert_eq!(folder.explain(&["example.cn"]).await.code, 0);
        // A host that no filing names gets the reason of the filing in force.
        assert_eq!(
            folder.explain(&["m.example.cn", "--json"]).await.json()["answers"][0]["reason"],
            "host_excluded"
        );
    }
}

const ROUTES: &str = "  - name: shop
    hosts: [www.example.cn]
    certificate: {chain: site.pem, key: site.key}
    footer: {pages: home}
    max_body: 1MiB
    rate_limit: {requests: 50/s, burst: 100, per: client}
    routes:
      - {match: {path: /admin, from: [10.0.0.0/8]}, origins: [near]}
      - {match: {path: /admin}, respond: {status: 403, body: \"no\"}}
      - {match: {path: /old}, redirect: {to: \"https://{host}/new{query}\", status: 301}}
      - {match: {path: /api, method: [GET]}, origins: [near, far], path: {strip: /api, prepend: /v2}}
";
const ORIGINS: &str = "  - {name: near, region: mainland, scheme: http, servers: [\"10.0.1.10:8080\"]}
  - {name: far, region: offshore, scheme: http, servers: [\"192.0.2.1:8080\"]}
";

#[tokio::test]
async fn a_url_is_followed_to_its_route_origins_and_path() {
    let folder = Edge::builder().sites(ROUTES).origins(ORIGINS).write();
    let explained = async |words: &[&str]| {
        let run = folder.explain(&[&["--json"], words].concat()).await;
        assert_eq!(run.code, 0, "{run:?}");
        let found = run.json();
        assert_eq!((&found["host"], list(&found["answers"]).len()), (&json!("www.example.cn"), 1), "{found}");
        found["answers"][0].clone()
    };
    let answer = explained(&["https://www.example.cn/api/x?y=1"]).await;
    assert_eq!((&answer["listener"], &answer["permitted"]), (&json!("https"), &json!(true)));
    let request = &answer["request"];
    assert_eq!((&request["site"], &request["action"]), (&json!("shop"), &json!("forward")));
    assert_eq!(request["route"], json!({"index": 3, "match": {"path": "/api", "method": ["GET"]}}));
    let forward = &request["forward"];
    assert_eq!((&forward["path"], &forward["footer"]), (&json!("/v2/x?y=1"), &json!("home")));
    let near = json!({"name": "near", "region": "mainland", "servers": ["10.0.1.10:8080"]});
    assert_eq!(forward["origins"][0], near);
    assert_eq!(forward["origins"][1]["name"], "far");
    let limits = &request["limits"];
    assert_eq!((&limits["request_head_bytes"], &limits["max_body"]), (&json!(65_536), &json!(1 << 20)));
    assert_eq!(limits["rate_limit"], json!({"requests_per_second": 50.0, "burst": 100, "per": "client"}));

    let action = async |words: &[&str]| {
        let request = explained(words).await["request"].clone();
        (request["action"].clone(), request["status"].clone(), request["location"].clone())
    };
    let url = "https://www.example.cn/admin/x";
    assert_eq!(action(&[url]).await, (json!("respond"), json!(403), Value::Null));
    assert_eq!(action(&[url, "--client", "10.1.2.3"]).await, (json!("forward"), Value::Null, Value::Null));
    // Servers that decode `%2F` first would read /admin/x.
    let spelled = "https://www.example.cn/%2Fadmin/x";
    assert_eq!(action(&[spelled]).await, (json!("respond"), json!(403), Value::Null));
    let moved = json!("https://www.example.cn/new?a=b");
    assert_eq!(action(&["https://www.example.cn/old?a=b"]).await, (json!("redirect"), json!(301), moved));
    let nothing = (json!("no_route"), json!(404), Value::Null);
    assert_eq!(action(&["https://www.example.cn/api", "--method", "POST"]).await, nothing);
    let tls = json!("https://www.example.cn/a?b");
    assert_eq!(action(&["http://www.example.cn/a?b"]).await, (json!("redirect_to_tls"), json!(308), tls));

    let text = folder.explain(&["https://www.example.cn:8443/api"]).await;
    assert!(
        text.stdout.contains("    forward (routes[3] ") && text.stdout.contains("    path /v2\n"),
        "{text:?}"
    );
    let refused = folder.explain(&["https://www.example.net/", "--json"]).await;
    assert_eq!(refused.code, 1);
    assert_eq!(refused.json()["answers"][0].get("request"), None);
    for (words, said) in [
        (&["https://www.example.cn:444/"][..], "no https listener with port 444"),
        (&["www.example.cn", "--method", "POST"], "are for a URL"),
        (&["ftp://www.example.cn/"], "ftp://"),
    ] {
        let run = folder.explain(words).await;
        assert!(run.code == 2 && run.stderr.contains(said), "{run:?}");
    }
}
