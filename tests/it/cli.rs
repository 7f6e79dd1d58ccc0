//! `check` and `explain`: all problems at once, with place, value and hint; exit codes and JSON
//! that scripts can rely on.

mod at_once;
mod audit;
mod contract;
mod explain;
mod filings;
mod import;

use serde_json::{Value, json};

use crate::support::edge::{Edge, Folder, HOSTS, SUSPENDED, icpgate};
use crate::support::pki::KeyKind;

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap_or_else(|| panic!("no list: {value}"))
}

#[tokio::test]
async fn check_lists_what_would_be_bound_and_served() {
    let folder = Edge::builder().write();
    let check = folder.check(&[]).await;
    assert_eq!(check.code, 0, "{check:?}");
    let expected = folder.filled(
        "listener https binds $HTTPS\n  serves  www.example.cn\n  serves  example.cn\n\
         listener http binds $HTTP\n  serves  www.example.cn\n  serves  example.cn\n",
    );
    let cost = check.stdout.strip_prefix(&expected).unwrap_or_else(|| panic!("{}", check.stdout));
    assert!(
        cost.starts_with("one hostile client can add ") && cost.ends_with(" days of that\nno problems\n"),
        "{cost}"
    );

    let check = folder.check(&["--json"]).await;
    assert_eq!(check.code, 0);
    let listener = |name: &str, address: String| json!({"name": name, "addresses": [address], "would_bind": true, "hosts": HOSTS});
    let listeners =
        [listener("https", folder.https().to_string()), listener("http", folder.http().to_string())];
    let mut found = check.json();
    let cost = found.as_object_mut().and_then(|found| found.remove("client_cost")).expect("a cost");
    assert!(cost["days"].is_f64() && cost["room_bytes"].is_u64(), "{cost}");
    assert_eq!(found, json!({"problems": [], "warnings": [], "listeners": listeners, "refused": []}));
}

#[tokio::test]
async fn check_exits_with_0_while_nothing_is_approved() {
    for (filings, reason) in [("filings: []\n", "not_filed"), (SUSPENDED, "not_approved")] {
        let folder = Edge::builder().filings(filings).write();
        let check = folder.check(&["--json"]).await;
        assert_eq!(check.code, 0, "{check:?}");
        let found = check.json();
        assert_eq!(found["listeners"][0]["would_bind"], false);
        assert_eq!(found["listeners"][0]["hosts"], json!([]));
        assert_eq!(
            found["refused"][0],
            json!({"host": "www.example.cn", "listener": "https", "reason": reason})
        );
        assert_eq!(list(&found["refused"]).len(), 4, "two hosts on two listeners");
        let text = folder.check(&[]).await.stdout;
        assert!(text.contains("listener https stays closed on "), "{text}");
        assert!(text.contains(&format!("  refuses www.example.cn: {reason}\n")), "{text}");
    }
}

const TROUBLED: &str = r#"
node: test
filings: filings.yaml
listenres: []
listeners:
  - {name: https, addresses: ["$IP:443443"], protocol: https, refusal: rset}
  - {name: http, addresses: ["$HTTP"], protocol: http, refusal: reset}
sites:
  - hosts: [www.example.cn, "a_b.example.cn"]
    listeners: [https, htpp]
    certificate: {chain: site.pem}
    routes:
      - {match: {path: pay}, origins: [main]}
      - {origins: [mian]}
origins:
  - {name: main, region: mainland, scheme: https, servers: ["10.0.1.10"]}
access_log: {directory: access, retention: 30d}
admin: {address: "$ADMIN"}
limits: {client_hello_timeout: 5, request_head_bytes: 64KB}
"#;
const TROUBLED_FILINGS: &str = r#"
filings:
  - {domain: www.example.cn, number: 京ICP备2024012345号-1, status: approved, approved_on: 2020-01-02}
  - {domain: example.com.cn, number: 京ICP备号-1, status: aproved, approved_on: 2026-02-30}
"#;

#[tokio::test]
async fn check_shows_every_problem_of_both_files_at_once_with_place_value_and_hint() {
    let folder = Edge::builder().config(TROUBLED).filings(TROUBLED_FILINGS).write();
    let check = folder.check(&["--json"]).await;
    assert_eq!(check.code, 1, "{check:?}");
    let found = check.json();
    let problems = list(&found["problems"]);
    let expected = [
        ("icpgate.yaml", "listenres", "listenres", Some("listeners")),
        ("icpgate.yaml", "listeners[0].addresses[0]", "443443", Some("0.0.0.0:443")),
        ("icpgate.yaml", "listeners[0].refusal", "rset", Some("reset")),
        ("icpgate.yaml", "listeners[1].refusal", "https listeners", None),
        ("icpgate.yaml", "sites[0].hosts[1]", "a_b.example.cn", Some("www.example.cn")),
        ("icpgate.yaml", "sites[0].listeners[1]", "htpp", Some("http")),
        ("icpgate.yaml", "sites[0].certificate.key", "key", None),
        ("icpgate.yaml", "sites[0].routes[0].match.path", "pay", Some("/pay")),
        ("icpgate.yaml", "sites[0].routes[1].origins[0]", "mian", Some("main")),
        ("icpgate.yaml", "origins[0].server_name", "server_name", None),
        ("icpgate.yaml", "origins[0].servers[0]", "10.0.1.10", Some(":8080")),
        ("icpgate.yaml", "access_log.retention", "30d", Some("190d")),
        ("icpgate.yaml", "limits.client_hello_timeout", "5", Some("5s")),
        ("icpgate.yaml", "limits.request_head_bytes", "64KB", Some("64KiB")),
        ("filings.yaml", "filings[0].domain", "www.example.cn", Some("example.cn")),
        ("filings.yaml", "filings[1].number", "京ICP备号-1", Some("京ICP备2024012345号-1")),
        ("filings.yaml", "filings[1].status", "aproved", Some("approved")),
        ("filings.yaml", "filings[1].approved_on", "2026-02-30", Some("2026-03-02")),
    ];
    for (file, place, value, hint) in expected {
        let path = folder.path(file).display().to_string();
        let problem = problems
            .iter()
            .find(|problem| problem["file"] == *path && problem["place"].as_str() == Some(place))
            .unwrap_or_else(|| panic!("{file}: nothing at {place} in {problems:#?}"));
        let message = problem["message"].as_str().expect("a message");
        assert!(message.contains(value), "{place}: {message}");
        if let Some(hint) = hint {
            assert!(problem["hint"].as_str().is_some_and(|found| found.contains(hint)), "{problem}");
        }
    }
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");
    assert_eq!((&found["listeners"], &found["refused"]), (&json!([]), &json!([])));

    // As text: one line per problem.
    let text = folder.check(&[]).await.stdout;
    for problem in problems {
        let line = format!(
            "{}: {}: {}",
            problem["file"].as_str().expect("text"),
            problem["place"].as_str().expect("text"),
            problem["message"].as_str().expect("text"),
        );
        let hint = problem["hint"].as_str().map(|hint| format!(" (hint: {hint})")).unwrap_or_default();
        assert!(text.contains(&format!("  {line}{hint}\n")), "{line}: {text}");
    }
    assert!(!text.contains("no problems"), "{text}");
}

#[tokio::test]
async fn two_sites_with_one_name_and_host_are_two_problems() {
    for name in ["", "name: shop, "] {
        let site = format!(
            "  - {{{name}hosts: [www.example.cn], certificate: {{chain: site.pem, key: site.key}}, \
             routes: [{{origins: [main]}}]}}\n"
        );
        let folder = Edge::builder().sites(&site.repeat(2)).write();
        let check = folder.check(&["--json"]).await;
        assert_eq!(check.code, 1, "{check:?}");
        let found = check.json();
        let places: Vec<_> =
            list(&found["problems"]).iter().map(|problem| problem["place"].as_str()).collect();
        let clash = if name.is_empty() { "sites[1]" } else { "sites[1].name" };
        assert_eq!(places, [Some(clash), Some("sites[1].hosts[0]")], "{found}");
    }
}

#[tokio::test]
async fn warnings_are_listed_apart_and_do_not_change_the_exit_code() {
    let folder = Edge::builder()
        .filings("filings: [{domain: example.cn, number: 京ICP备2024012345号, status: approved, approved_on: 2020-01-02}]\n")
        .write();
    let check = folder.check(&["--json"]).await;
    assert_eq!(check.code, 0, "{check:?}");
    let found = check.json();
    assert_eq!(found["problems"], json!([]));
    assert_eq!(list(&found["warnings"]).len(), 1, "{found}");
    let warning = &found["warnings"][0];
    assert_eq!(warning["place"], "filings[0].number");
    assert!(warning["message"].as_str().expect("text").contains("京ICP备2024012345号"), "{warning}");
    assert!(warning["hint"].as_str().expect("text").contains("京ICP备2024012345号-1"), "{warning}");
    assert_eq!(found["listeners"][0]["would_bind"], true);
    // A public admin address is a warning.
    let folder = Edge::builder().write();
    let open = folder.configuration().replace(&folder.admin().to_string(), "0.0.0.0:9180");
    folder.replace("icpgate.yaml", open);
    let check = folder.check(&[]).await;
    assert_eq!(check.code, 0);
    assert!(check.stdout.contains("admin.address: the admin pages are open to whoever"), "{}", check.stdout);
}

#[tokio::test]
async fn exit_code_1_is_a_negative_answer_and_2_is_a_failure() {
    let folder = Edge::builder().write();
    let config = folder.config_path();
    let config = config.to_str().expect("UTF-8");
    let missing = "/nowhere/icpgate.yaml";
    let cases: [(&[&str], i32, &str); 15] = [
        (&["check", "--config", config], 0, ""),
        (&["explain", "--config", config, "www.example.cn"], 0, ""),
        (&["explain", "--config", config, "www.example.net"], 1, ""),
        (&["--help"], 0, ""),
        (&["--version"], 0, ""),
        (&["check", "--config", missing], 2, missing),
        (&["explain", "--config", missing, "www.example.cn"], 2, missing),
        (&["run", "--config", missing], 2, missing),
        (&["check"], 2, "/etc/icpgate/icpgate.yaml"),
        (
            &["explain", "--config", config, "www.example.cn", "--listener", "htps"],
            2,
            "there are: https, http",
        ),
        (&["check", "--config", config, "--at", "tomorrow"], 2, "tomorrow"),
        (&["check", "--confg", config], 2, "--confg"),
        (&["explain", "--config", config], 2, "HOST"),
        (&["chek"], 2, "check"),
        (&[], 2, "Usage"),
    ];
    for (words, code, said) in cases {
        let run = icpgate(words).await;
        assert_eq!(run.code, code, "{words:?}: {run:?}");
        assert!(run.stderr.contains(said), "{words:?}: {run:?}");
        assert!(code != 2 || run.stdout.is_empty(), "{words:?}: {run:?}");
    }
}

#[tokio::test]
async fn malformed_yaml_is_a_problem_and_an_unreadable_file_is_an_error() {
    for file in ["icpgate.yaml", "filings.yaml"] {
        let folder = Edge::builder().write();
        folder.replace(file, "{[");
        let check = folder.check(&["--json"]).await;
        assert_eq!(check.code, 1, "{check:?}");
        let problem = &check.json()["problems"][0];
        assert_eq!((&problem["file"], &problem["place"]), (&json!(folder.path(file)), &json!("")));
        assert!(problem["message"].as_str().expect("text").contains("not valid YAML"), "{problem}");
        let explain = folder.explain(&["www.example.cn", "--json"]).await;
        assert_eq!(explain.code, 1, "{explain:?}");
        assert_eq!(explain.json()["answers"], json!([]));
        assert_eq!(&explain.json()["problems"][0], problem);

        fs_err::remove_file(folder.path(file)).expect("removed");
        let check = folder.check(&["--json"]).await;
        assert_eq!((check.code, &*check.stdout), (2, ""), "{check:?}");
        let path = folder.path(file).display().to_string();
        assert!(check.stderr.contains(&path) && check.stderr.contains("No such file"), "{check:?}");
    }
    // Beside other problems, an unreadable allowlist is a problem.
    let folder = Edge::builder().more("nodde: x\n").write();
    fs_err::remove_file(folder.path("filings.yaml")).expect("removed");
    let check = folder.check(&["--json"]).await;
    assert_eq!(check.code, 1, "{check:?}");
    assert_eq!(list(&check.json()["problems"]).len(), 2, "{check:?}");
}

/// A site or filing for each answer of the gate.
fn every_answer() -> Folder {
    let folder = Edge::builder()
        .listeners(
            "  - {name: https, addresses: [\"$HTTPS\"], protocol: https, public_addresses: [203.0.113.10]}\n  \
             - {name: http, addresses: [\"$HTTP\"], protocol: http}\n",
        )
        .sites(
            "  - hosts: [www.example.cn, late.example.cn, \"*.static.example.cn\", xn--fsqu00a.cn, \
             www.example.com.cn, www.example.net.cn, www.example.org.cn, www.example.gd.cn]\n    \
             certificate: {chain: site.pem, key: site.key}\n    routes: []\n",
        )
        .origins("  []\n")
        .filings(
            "filings:
  - {domain: example.cn, number: 京ICP备2024012345号-1, status: approved, approved_on: 2026-03-02, valid_until: 2031-03-01}
  - {domain: 例子.cn, number: 京ICP备2024012345号-2, status: approved, approved_on: 2020-01-02}
  - {domain: example.com.cn, number: 京ICP备2024012345号-3, status: suspended}
  - {domain: example.net.cn, number: 京ICP备2024012345号-4, status: approved, approved_on: 2020-01-02, hosts: [other.example.net.cn]}
  - domain: example.org.cn
    number: 京ICP备2024012345号-5
    status: approved
    approved_on: 2020-01-02
    access: [{provider: aliyun, addresses: [203.0.113.11]}]
",
        )
        .write();
    let covered = [
        "www.example.cn",
        "*.static.example.cn",
        "xn--fsqu00a.cn",
        "www.example.com.cn",
        "www.example.net.cn",
        "www.example.org.cn",
        "www.example.gd.cn",
    ];
    let validity = ((2020, 1, 1), (2030, 1, 1));
    folder.authority.issue(&covered, KeyKind::Ecdsa, validity).write(&folder.path(""), "site");
    folder
}

#[tokio::test]
async fn check_judges_at_the_given_time() {
    let folder = every_answer();
    let bound = async |at: &str| {
        let found = folder.check(&["--json", "--at", at]).await.json();
        let refused = list(&found["refused"]).iter().filter(|refused| refused["listener"] == "https");
        let reasons: Vec<String> = refused
            .map(|refused| format!("{} {}", refused["host"], refused["reason"]).replace('"', ""))
            .collect();
        (found["listeners"][0]["would_bind"].as_bool().expect("yes or no"), reasons)
    };
    let (would_bind, reasons) = bound("2026-06-01T00:00:00+08:00").await;
    assert!(would_bind);
    let expected = [
        "late.example.cn no_certificate",
        "www.example.com.cn not_approved",
        "www.example.net.cn host_excluded",
        "www.example.org.cn address_not_filed",
        "www.example.gd.cn not_filed",
    ];
    // 例子.cn has no access addresses, like every other served filing.
    assert_eq!(reasons, expected);
    let (would_bind, reasons) = bound("2035-01-01T00:00:00+08:00").await;
    assert!(!would_bind, "the certificate has ended");
    assert!(reasons.contains(&"www.example.cn expired".to_owned()), "{reasons:?}");
}

#[tokio::test]
async fn planned_keys_are_unknown_keys() {
    let later = [("http3: {}\n", "http3"), ("    hedge_after: 300ms\n", "sites[0].routes[0].hedge_after")];
    for (key, place) in later {
        let folder = Edge::builder().write();
        let config = if key.starts_with(' ') {
            folder.configuration().replace(
                "    routes: [{match: {path: /}, origins: [main]}]\n",
                &format!("    routes:\n      - origins: [main]\n    {key}"),
            )
        } else {
            folder.configuration() + key
        };
        folder.replace("icpgate.yaml", config);
        let check = folder.check(&["--json"]).await;
        assert_eq!(check.code, 1, "{check:?}");
        let problems = check.json()["problems"].clone();
        assert_eq!((list(&problems).len(), &problems[0]["place"]), (1, &json!(place)), "{problems}");
    }
}

#[tokio::test]
async fn a_closed_pipe_does_not_change_the_exit_code() {
    let unread = async |words: &[&str]| {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_icpgate"));
        let ended = command.args(words).stdout(writer).output().await.expect("it runs");
        (ended.status.code().expect("a code"), String::from_utf8(ended.stderr).expect("UTF-8"))
    };
    let folder = Edge::builder().write();
    let config = folder.config_path().display().to_string();
    let filed = ["check", "explain"].map(|command| [command, "--config", &config]);
    assert_eq!(unread(&filed[0]).await, (0, String::new()));
    assert_eq!(unread(&[&filed[1][..], &["www.example.cn"]].concat()).await, (0, String::new()));
    for format in [&[][..], &["--json"]] {
        assert_eq!(unread(&[&filed[1][..], &["www.example.net"], format].concat()).await, (1, String::new()));
    }
    folder.replace("icpgate.yaml", folder.configuration() + "nodde: x\n");
    for format in [&[][..], &["--json"]] {
        assert_eq!(unread(&[&filed[0][..], format].concat()).await, (1, String::new()));
    }
    // A closed stderr does not change it either.
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut unheard = tokio::process::Command::new(env!("CARGO_BIN_EXE_icpgate"));
    let unheard = unheard.args(filed[1]).arg("www.example.cn").stderr(writer).status().await;
    assert_eq!(unheard.expect("it runs").code(), Some(1));
    let (code, said) = unread(&["check", "--config", "/nowhere/icpgate.yaml"]).await;
    assert!(code == 2 && said.contains("/nowhere/icpgate.yaml"), "{said}");
}
