//! Broken files: a clear error, never a panic, and the last good state stays in use.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::edge::{APPROVED, Edge, Folder, SUSPENDED};
use crate::support::hello::client_hello;
use crate::support::probe::{Answer, Ending, connect, is_refused, probe};
use crate::support::time::pause;
use crate::support::{PATIENCE, eventually};

/// A name, the bytes of a file, and a part of the expected message.
type Bad = (&'static str, Vec<u8>, &'static str);

/// Bytes that are no valid document.
fn no_documents() -> Vec<Bad> {
    let laughs = (1..10).fold("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned(), |text, level| {
        let below = vec![format!("*a{}", level - 1); 10].join(", ");
        format!("{text}a{level}: &a{level} [{below}]\n")
    });
    vec![
        ("no bytes", Vec::new(), "it is empty"),
        ("nothing but a comment", b"# nothing yet\n".to_vec(), "it is empty"),
        ("an unclosed list", b"filings: [\n".to_vec(), "not valid YAML"),
        ("tabs", b"filings:\n\t- x\n".to_vec(), "not valid YAML"),
        ("a text", b"nonsense".to_vec(), "expected a mapping"),
        ("not UTF-8", b"filings: \xff\xfe".to_vec(), "not UTF-8"),
        ("UTF-16", b"\xff\xfef\0i\0l\0".to_vec(), "not UTF-8"),
        ("NUL", b"filings: \0".to_vec(), "control characters"),
        ("deep brackets", "[".repeat(100_000).into_bytes(), "nested too deeply"),
        ("deep lists", "- ".repeat(100_000).into_bytes(), "not valid YAML"),
        ("multiplying aliases", laughs.into_bytes(), "multiply"),
        ("two documents", b"filings: []\n---\nfilings: []\n".to_vec(), "more than one document"),
        ("a tag", b"filings: !include other.yaml\n".to_vec(), "tags"),
        (
            "random bytes",
            (0..4096_u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect(),
            "not UTF-8",
        ),
    ]
}

fn bad_allowlists() -> Vec<Bad> {
    let text = |text: &str| text.as_bytes().to_vec();
    let item = |item: &str| format!("filings:\n  - {{{item}}}\n").into_bytes();
    let half = APPROVED.trim_end().trim_end_matches('}');
    let long = format!("{}.cn", "a".repeat(300));
    let mut bad = no_documents();
    bad.extend([
        ("truncated", half.as_bytes().to_vec(), "not valid YAML"),
        ("50 MiB", vec![b'#'; 50 << 20], "larger than 32 MiB"),
        ("50 MiB of brackets", vec![b'['; 50 << 20], "larger than 32 MiB"),
        ("a key twice", text("filings: []\nfilings: []\n"), "twice"),
        ("a key of an item twice", item("domain: example.cn, status: preparing, status: approved"), "twice"),
        ("an unknown key", text("filings: []\nfillings: []\n"), "unknown key"),
        ("no list", text("filings: {}\n"), "expected a list"),
        ("nothing under the key", text("filings:\n"), "found nothing"),
        ("a domain twice", text(&format!("{APPROVED}{}", APPROVED.split_once('\n').expect("lines").1)), "another filing covers"),
        ("a host, no domain", item("domain: www.example.cn, status: preparing"), "not a registrable domain"),
        ("a public suffix", item("domain: com.cn, status: preparing"), "public suffix"),
        ("an address", item("domain: 192.0.2.1, status: preparing"), "IP address"),
        ("a trailing dot", item("domain: example.cn., status: preparing"), "ends with a dot"),
        ("an underscore", item("domain: a_b.cn, status: preparing"), "'_' is not allowed"),
        ("300 characters", item(&format!("domain: {long}, status: preparing")), "longer than"),
        ("NUL in a name", item("domain: \"example\\0.cn\", status: preparing"), "is not allowed"),
        ("no Unicode name", item("domain: \"例 子.cn\", status: preparing"), "internationalised"),
        ("no such status", item("domain: example.cn, status: APPROVED"), "not one of"),
        ("a placeholder", item("domain: example.cn, number: 京ICP备12345678号-1, status: approved, approved_on: 2020-01-02"), "placeholder"),
        ("a licence", item("domain: example.cn, number: 京ICP证030173号, status: approved, approved_on: 2020-01-02"), "licence"),
        ("approved without a number", item("domain: example.cn, status: approved, approved_on: 2020-01-02"), "number is missing"),
        ("approved without a day", item("domain: example.cn, number: 京ICP备2024012345号-1, status: approved"), "approved_on is missing"),
        ("no such day", item("domain: example.cn, status: preparing, approved_on: 2026-02-30"), "no such day"),
        ("an end before the beginning", item("domain: example.cn, number: 京ICP备2024012345号-1, status: approved, approved_on: 2026-03-02, valid_until: 2026-03-01"), "before approved_on"),
        ("no public security number", item("domain: example.cn, status: preparing, public_security: {number: 京公网安备1号}"), "public security number"),
    ]);
    bad
}

async fn check_says(folder: &Folder, file: &str, what: &str, said: &str) {
    let check = folder.check(&["--json"]).await;
    assert_eq!(check.code, 1, "{what}: {check:?}");
    let found = check.json();
    let messages: Vec<&str> = found["problems"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|problem| problem["file"].as_str().is_some_and(|path| path.ends_with(file)))
        .filter_map(|problem| problem["message"].as_str())
        .collect();
    assert!(messages.iter().any(|message| message.contains(said)), "{what}: {said:?} is not in {messages:?}");
    assert!(check.stderr.is_empty(), "{what}: {}", check.stderr);
}

#[tokio::test]
async fn check_names_each_fault_of_an_allowlist() {
    let folder = Edge::builder().write();
    for (what, bytes, said) in bad_allowlists() {
        folder.replace("filings.yaml", &bytes);
        check_says(&folder, "filings.yaml", what, said).await;
    }
}

/// Spoils a file of the running program: the reload is rejected and counted, and nothing else changes.
async fn survives(edge: &Edge, what: &str, spoil: impl AsyncFnOnce()) {
    const REJECTED: &str = "icpgate_reloads_total{result=\"rejected\"}";
    let before = edge.metrics().await;
    let errors = edge.log().matches(" ERROR ").count();
    spoil().await;
    let rejected = before.value(REJECTED) + 1.0;
    eventually(&format!("{what} is rejected"), PATIENCE, async || {
        (edge.metric(REJECTED).await >= rejected).then_some(())
    })
    .await;
    let after = edge.metrics().await;
    for unchanged in ["icpgate_snapshot_generation", "icpgate_reloads_total{result=\"applied\"}"] {
        assert_eq!(after.value(unchanged), before.value(unchanged), "{what}: {unchanged}");
    }
    assert_eq!(edge.get("/readyz").await.expect("admin is open").0, 200, "{what}");
    assert!(is_served(edge).await, "{what}");
    eventually(&format!("{what} is logged"), PATIENCE, async || {
        (edge.log().matches(" ERROR ").count() > errors).then_some(())
    })
    .await;
    assert!(!edge.log().contains("panicked"), "{what}");
}

/// Whether a TLS handshake for the filed host is answered.
async fn is_served(edge: &Edge) -> bool {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut socket = connect(edge.https()).await;
    socket.write_all(&client_hello("www.example.cn")).await.expect("sent");
    let mut first = [0];
    matches!(socket.read(&mut first).await, Ok(1)) && first == [22]
}

#[tokio::test]
async fn a_running_edge_keeps_the_last_good_allowlist() {
    let edge = Edge::builder().start().await;
    for (what, bytes, _) in bad_allowlists() {
        survives(&edge, what, async || edge.replace("filings.yaml", &bytes)).await;
    }
    // The next good allowlist is applied.
    edge.replace("filings.yaml", SUSPENDED);
    edge.ports_closed().await;
    edge.replace("filings.yaml", APPROVED);
    edge.ports_open().await;
}

#[tokio::test]
async fn a_running_edge_survives_an_unreadable_allowlist() {
    // Without these capabilities, not even root may read every file.
    let wrapper = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"];
    let wrapper = if rustix::process::getuid().is_root() { &wrapper[..] } else { &[] };
    let edge = Edge::builder().wrapper(wrapper).start().await;
    type Spoiling = fn(&Path);
    let spoilings: [(&str, Spoiling); 5] = [
        ("No such file", |_| {}),
        ("is a directory", |file| fs_err::create_dir(file).expect("a folder")),
        ("Too many levels of symbolic links", |file| {
            std::os::unix::fs::symlink("filings.yaml", file).expect("linked");
        }),
        ("not a regular file", |file| {
            let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
            rustix::fs::mknodat(rustix::fs::CWD, file, rustix::fs::FileType::Fifo, mode, 0).expect("a pipe");
        }),
        ("Permission denied", |file| {
            fs_err::write(file, APPROVED).expect("written");
            fs_err::set_permissions(file, std::fs::Permissions::from_mode(0o000)).expect("set");
        }),
    ];
    for (said, spoil) in spoilings {
        // Prepared elsewhere and renamed, so that the program sees a single change.
        let aside = edge.path("aside");
        fs_err::create_dir(&aside).expect("a folder");
        spoil(&aside.join("filings.yaml"));
        let (made, file) = (aside.join("filings.yaml"), edge.path("filings.yaml"));
        survives(&edge, said, async || {
            // rename(2) does not replace a file by a folder.
            if !made.is_symlink() && (made.is_dir() || !made.exists()) {
                fs_err::remove_file(&file).expect("removed");
            }
            if made.symlink_metadata().is_ok() {
                fs_err::rename(&made, &file).expect("renamed");
            }
        })
        .await;
        edge.logged(said).await;

        let generation = edge.metric("icpgate_snapshot_generation").await;
        if edge.path("filings.yaml").is_dir() {
            fs_err::remove_dir(edge.path("filings.yaml")).expect("removed");
        }
        edge.replace("filings.yaml", APPROVED);
        edge.metric_becomes("icpgate_snapshot_generation", generation + 1.0).await;
        fs_err::remove_dir(aside).expect("removed");
    }
    edge.replace("filings.yaml", SUSPENDED);
    edge.ports_closed().await;
}

#[tokio::test]
async fn an_allowlist_that_stays_broken_closes_everything_in_time() {
    const STALE: Duration = Duration::from_secs(3);
    let edge = Edge::builder().limit("filings_stale_after", "3s").start().await;
    let broken = Instant::now();
    edge.replace("filings.yaml", "filings: [");
    edge.metric_becomes("icpgate_reloads_total{result=\"rejected\"}", 1.0).await;
    // Further faults in the configuration do not restart the time.
    let good = edge.configuration();
    let mut faults = (0..).map(|number| format!("{good}nodde: {number}\n"));
    eventually("closed", PATIENCE, async || {
        edge.replace("icpgate.yaml", faults.next()?);
        pause(STALE / 6).await;
        (is_refused(edge.https()).await && is_refused(edge.http()).await).then_some(())
    })
    .await;
    assert!(broken.elapsed() >= STALE, "closed early: {:?}", broken.elapsed());
    edge.logged("everything closes").await;

    edge.replace("icpgate.yaml", good);
    edge.replace("filings.yaml", APPROVED);
    edge.ports_open().await;
}

#[tokio::test]
async fn filings_stale_after_0s_closes_everything_at_once() {
    let edge = Edge::builder().limit("filings_stale_after", "0s").start().await;
    edge.replace("filings.yaml", "filings: [");
    edge.ports_closed().await;
    edge.readyz_becomes(503).await;
}

/// The default configuration with one fault each, and the expected message.
fn bad_configurations(good: &str) -> Vec<(&'static str, String, &'static str)> {
    let changed = |from: &str, to: &str| {
        assert!(good.contains(from), "{from} is not in {good}");
        good.replacen(from, to, 1)
    };
    let hosts = |hosts: &str| changed("hosts: [www.example.cn, example.cn]", &format!("hosts: [{hosts}]"));
    let second_site = "origins:\n  - {name: main";
    let claimed = "  - {name: other, hosts: [example.cn], certificate: {chain: site.pem, key: site.key}}\norigins:\n  - {name: main";
    vec![
        ("truncated", good[..good.len() / 2].to_owned(), ""),
        ("a key twice", format!("{good}node: again\n"), "twice"),
        ("an unknown key", format!("{good}nodes: x\n"), "unknown key"),
        ("a site without an end", changed("sites:\n", "sites: {\n"), "not valid YAML"),
        ("5 MiB", format!("{good}#{}", "#".repeat(5 << 20)), "larger than 4 MiB"),
        ("two sites with one host", changed(second_site, claimed), "belongs to site \"shop\""),
        ("a host twice", hosts("www.example.cn, WWW.example.cn"), "twice"),
        ("NUL in a host", hosts("\"www.example.cn\\0\""), "is not allowed"),
        ("a trailing dot", hosts("www.example.cn."), "ends with a dot"),
        ("300 characters", hosts(&format!("{}.example.cn", "a".repeat(300))), "longer than"),
        ("an underscore", hosts("a_b.example.cn"), "'_' is not allowed"),
        ("an address", hosts("192.0.2.1"), "IP address"),
        ("a bare wildcard", hosts("\"*\""), "is not allowed"),
        ("a wildcard inside", hosts("\"www.*.example.cn\""), "is not allowed"),
        ("a space in a Unicode host", hosts("\"例 子.cn\""), "internationalised"),
        ("bad punycode", hosts("xn--zzzzzzzzz.cn"), "internationalised"),
        ("a public suffix", hosts("com.cn"), "no filing can cover"),
        ("no listener", changed("listeners:\n", "listeners: []\nsitess:\n"), "listeners"),
        (
            "no such listener",
            changed("    hosts:", "    listeners: [htps]\n    hosts:"),
            "no listener is named",
        ),
        (
            "overlapping listeners",
            changed("name: http, addresses: [", "name: http, addresses: [\"$HTTPS\", "),
            "overlaps",
        ),
        ("one name for two listeners", changed("name: http,", "name: https,"), "another listener is named"),
        (
            "a size with a sign",
            changed("limits:\n", "limits:\n  request_head_bytes: -1\n"),
            "expected a size",
        ),
        (
            "an endless time",
            changed("limits:\n", "limits:\n  idle_timeout: 99999999999999999999d\n"),
            "duration",
        ),
        ("no time", changed("limits:\n", "limits:\n  idle_timeout: 0s\n"), "may not be zero"),
        ("no connections", changed("limits:\n", "limits:\n  connections: 0\n"), "0"),
        ("a short retention", changed("reserve: 1MiB", "retention: 179d"), "180d"),
        (
            "no certificate",
            changed("    certificate: {chain: site.pem, key: site.key}\n", ""),
            "certificate is missing",
        ),
        (
            "no roots",
            changed("scheme: http,", "scheme: https, server_name: a.example.com, trust: icpgate.yaml,"),
            "certificate",
        ),
    ]
}

#[tokio::test]
async fn check_names_each_fault_of_a_configuration() {
    let folder = Edge::builder().write();
    for (what, bytes, said) in no_documents() {
        folder.replace("icpgate.yaml", &bytes);
        check_says(&folder, "icpgate.yaml", what, said).await;
    }
    for (what, text, said) in bad_configurations(&folder.configuration()) {
        let text = folder.filled(&text);
        folder.replace("icpgate.yaml", text);
        check_says(&folder, "icpgate.yaml", what, said).await;
    }
}

#[tokio::test]
async fn a_running_edge_keeps_the_last_good_configuration() {
    let edge = Edge::builder().start().await;
    for (what, bytes, _) in no_documents() {
        survives(&edge, what, async || edge.replace("icpgate.yaml", &bytes)).await;
    }
    for (what, text, _) in bad_configurations(&edge.configuration()) {
        survives(&edge, what, async || edge.replace("icpgate.yaml", edge.filled(&text))).await;
    }
    survives(&edge, "deleted", async || fs_err::remove_file(edge.config_path()).expect("removed")).await;
    let generation = edge.metric("icpgate_snapshot_generation").await;
    edge.replace("icpgate.yaml", edge.configuration());
    edge.metric_becomes("icpgate_snapshot_generation", generation + 1.0).await;
    assert!(is_served(&edge).await);
}

#[tokio::test]
async fn unicode_hosts_mean_the_same_in_every_file() {
    let edge = Edge::builder()
        .sites("  - {hosts: [例子.cn, \"*.例子.cn\"], certificate: {chain: site.pem, key: site.key}}\n")
        .origins("  []\n")
        // The probe never finishes its handshake.
        .limit("handshake_timeout", "100ms")
        .filings("filings: [{domain: XN--FSQU00A.cn, number: 京ICP备2024012345号-1, status: approved, approved_on: 2020-01-02}]\n")
        .write();
    edge.authority.pair(&["xn--fsqu00a.cn", "*.xn--fsqu00a.cn"]).write(&edge.path(""), "site");
    let edge = edge.start().await;
    for name in ["xn--fsqu00a.cn", "www.xn--fsqu00a.cn"] {
        let answer = probe(edge.https(), &client_hello(name)).await;
        assert_eq!(answer.bytes.first(), Some(&22), "{name}: {answer:?}");
        assert_ne!(answer.ending, Ending::Open);
    }
    assert_eq!(probe(edge.https(), &client_hello("a.b.xn--fsqu00a.cn")).await, Answer::RESET);
    let status = edge.status().await;
    assert_eq!(status["sites"][0]["hosts"], serde_json::json!(["xn--fsqu00a.cn", "*.xn--fsqu00a.cn"]));
}
