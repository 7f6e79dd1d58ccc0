//! `check` looks at every file in one go, whatever is wrong with the configuration, and takes a day for a time.

use crate::support::edge::Edge;

const TROUBLED: &str = r#"
node: test
filings: filings.yaml
client_regions: nowhere.txt
listeners:
  - {name: https, addresses: ["$HTTPS"], protocol: https}
sites:
  - hosts: [www.example.cn]
    certificate: {chain: missing.pem, key: site.key}
    routes: [{match: {path: pay}, origins: [main]}]
  - hosts: [example.cn]
    certificate: {chain: site.pem, key: glued.key}
    routes: [{origins: [mian]}]
origins:
  - {name: main, region: mainland, scheme: https, server_name: a.example.cn, trust: ca.key, servers: ["10.0.1.10:443"]}
access_log: {directory: access, retention: 30d}
"#;

#[tokio::test]
async fn check_reports_a_missing_file_beside_other_problems() {
    let folder = Edge::builder().config(TROUBLED).filings("filings: [{domain: x}]").write();
    folder.overwrite("glued.key", "text-----BEGIN PRIVATE KEY-----");
    folder.overwrite("ca.key", "-----BEGIN TRUSTED CERTIFICATE-----");
    let check = folder.check(&["--json"]).await;
    assert_eq!(check.code, 1, "{check:?}");
    let found = check.json();
    let problems = found["problems"].as_array().expect("a list");
    for (place, message) in [
        ("sites[0].certificate", "missing.pem cannot be read"),
        ("sites[0].routes[0].match.path", "pay"),
        ("sites[1].certificate", "-----BEGIN does not begin line 1"),
        ("sites[1].routes[0].origins[0]", "mian"),
        ("origins[0].trust", "TRUSTED CERTIFICATE"),
        ("access_log.retention", "30d"),
        ("filings[0].status", "status is missing"),
    ] {
        let is_it = |problem: &&serde_json::Value| {
            problem["place"] == place
                && problem["message"].as_str().is_some_and(|text| text.contains(message))
        };
        assert!(problems.iter().any(|problem| is_it(&problem)), "{place}: {message} in {problems:#?}");
    }
    assert!(problems.iter().any(|problem| problem["file"].as_str().unwrap().ends_with("nowhere.txt")));
}

#[tokio::test]
async fn an_allowlist_that_cannot_be_read_hides_no_other_problem() {
    let folder = Edge::builder().write();
    fs_err::remove_file(folder.path("filings.yaml")).expect("removed");
    fs_err::remove_file(folder.path("site.pem")).expect("removed");
    for (more, message) in [(&[][..], "site.pem cannot be read"), (&["--json"], "\"sites[0].certificate\"")] {
        let check = folder.check(more).await;
        assert_eq!(check.code, 2, "{check:?}");
        assert!(check.stderr.contains("filings.yaml cannot be read"), "{check:?}");
        assert!(check.stdout.contains(message) && check.stdout.contains("filings.yaml"), "{check:?}");
    }
}

#[tokio::test]
async fn a_character_that_resembles_yaml_syntax_is_named() {
    for (filings, message) in [
        ("filings:\n  - domain：example.cn\n    status: approved\n", "line 2: '：' (U+FF1A)"),
        ("filings:\n\t- domain: example.cn\n", "line 2: a tab (U+0009)"),
        ("filings: [{domain：example.cn, status: approved}]\n", "'：' (U+FF1A) is not YAML's"),
        (
            "filings: [{domain: “example.cn”, status: preparing}]\n",
            "'“' (U+201C) is not allowed in a host name",
        ),
    ] {
        let folder = Edge::builder().filings(filings).write();
        let check = folder.check(&[]).await;
        assert!(check.code == 1 && check.stdout.contains(message), "{filings}: {check:?}");
    }
}

#[tokio::test]
async fn a_date_means_its_midnight_in_shanghai() {
    let filings = "filings:\n  - {domain: example.cn, number: 京ICP备2024012345号-1, status: approved, approved_on: 2026-12-01}\n";
    let folder = Edge::builder().filings(filings).write();
    for (at, is_bound) in [("2026-11-30", false), ("2026-12-01", true), ("2026-11-30T23:59:59+08:00", false)]
    {
        let checked = folder.check(&["--json", "--at", at]).await.json();
        assert_eq!(checked["listeners"][0]["would_bind"], is_bound, "{at}: {checked}");
    }
    for wrong in ["2026-12", "tomorrow", "2026-13-01", "2026-12-01 10:00"] {
        let check = folder.check(&["--at", wrong]).await;
        assert_eq!(check.code, 2, "{check:?}");
        assert!(
            check.stderr.contains("2026-12-01T00:00:00+08:00, or as a day, 2026-12-01"),
            "{}",
            check.stderr
        );
    }
}
