//! Upgrades: a new process takes over from the running one, and nobody notices.

mod failures;
mod generators;
mod load;
mod open;

use std::os::unix::net::UnixDatagram;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::client::Target;
use crate::support::edge::{APPROVED, Edge, icpgate};
use crate::support::origin::{Gate, Origin};
use crate::support::probe::is_refused;
use crate::support::slow::{download, slow_origin};
use crate::support::{HOST, PATIENCE, eventually};

/// Upgrades in a row; more by hand: `ICPGATE_UPGRADES=50`.
const UPGRADES: usize = 4;

fn upgrades() -> usize {
    std::env::var("ICPGATE_UPGRADES").map_or(UPGRADES, |count| count.parse().expect("a number"))
}

/// The process that serves now.
async fn serving(edge: &Edge) -> u32 {
    let pid = edge.status().await["process"]["pid"].as_u64().expect("a process id");
    pid.try_into().expect("a process id")
}

fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(pid, signal).expect("the process is there");
}

/// Whether a process has ended, its parent having asked or not.
fn has_ended(pid: u32) -> bool {
    let stat = fs_err::read_to_string(format!("/proc/{pid}/stat"));
    stat.ok().is_none_or(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z')))
}

/// Waits until a process that is no child of the tests has ended.
async fn ended(pid: u32) {
    eventually("the process ends", PATIENCE, async || has_ended(pid).then_some(())).await;
}

/// Upgrades the edge, by its own command; the new process.
async fn upgrade(edge: &Edge) -> u32 {
    let before = serving(edge).await;
    let run = edge.ask("upgrade", &[]).await;
    assert_eq!(run.code, 0, "{run:?}\n{}", edge.log());
    let after = serving(edge).await;
    assert_ne!(before, after);
    assert!(run.stdout.contains(&before.to_string()) && run.stdout.contains(&after.to_string()), "{run:?}");
    after
}

/// Fails unless the records of a store that is closed have no gap and verify.
async fn proved(edge: &Edge) {
    let records = edge.records().await;
    let seqs = records.iter().map(|record| record["seq"].as_u64().expect("a number"));
    assert!(seqs.eq(1..=records.len() as u64), "numbers without a gap");
    let verify = icpgate(["logs", "verify", &edge.path("access").display().to_string(), "--json"]).await;
    assert!(verify.code == 0 && verify.json()["ok"] == true, "{verify:?}");
    assert!(!records.iter().any(|record| record["event"] == "gap"), "{records:?}");
}

#[tokio::test]
async fn without_a_bound_port_an_upgrade_works_and_an_approval_binds_afterwards() {
    let edge = Edge::builder().filings("filings: []\n").start().await;
    upgrade(&edge).await;
    assert!(is_refused(edge.https()).await && is_refused(edge.http()).await);
    edge.replace("filings.yaml", APPROVED);
    edge.ports_open().await;
    upgrade(&edge).await;
    assert!(!is_refused(edge.https()).await && !is_refused(edge.http()).await);
    edge.replace("filings.yaml", "filings: []\n");
    edge.ports_closed().await;
}

#[tokio::test]
async fn a_new_process_takes_the_addresses_that_it_still_wants() {
    let site = |listener: &str| {
        format!(
            "  - {{hosts: [www.example.cn], listeners: [{listener}], certificate: {{chain: site.pem, key: site.key}}}}\n"
        )
    };
    let listener = |name: &str, port: u16| {
        format!("  - {{name: {name}, addresses: [\"$IP:{port}\"], protocol: https}}\n")
    };
    let both = listener("one", 8443) + &listener("two", 8444);
    let mut edge = Edge::builder().listeners(&both).sites(&site("one, two")).origins("  []\n").start().await;
    let at = |port| (edge.ip(), port).into();
    let (kept, dropped, added) = (at(8443), at(8444), at(8445));
    assert!(!is_refused(kept).await && !is_refused(dropped).await && is_refused(added).await);
    // One address under another name, one gone, one new: addresses of listeners change on a restart or an upgrade.
    let changed = edge
        .configuration()
        .replace("name: one", "name: renamed")
        .replace("[one, two]", "[renamed, two]")
        .replace(":8444", ":8445");
    edge.replace("icpgate.yaml", changed);
    upgrade(&edge).await;
    assert_eq!(edge.wait_replaced().await, Some(0));
    eventually("the new address", PATIENCE, async || (!is_refused(added).await).then_some(())).await;
    assert!(!is_refused(kept).await && is_refused(dropped).await);
}

#[tokio::test]
async fn a_reload_upgrades_only_to_a_program_that_was_replaced() {
    // Only a signal makes it ask a second time.
    let source = Origin::text(APPROVED).await;
    let filings = format!("{{url: \"http://{}/filings.yaml\", interval: 1h}}", source.address);
    let folder = Edge::builder().filings_from(&filings).write();
    folder.install();
    let mut edge = folder.start().await;
    edge.ports_open().await;
    let (first, asked) = (serving(&edge).await, source.seen().len());
    let reload = edge.ask("upgrade", &["--or-reload"]).await;
    assert!(reload.code == 0 && reload.stdout.contains("reads its files again"), "{reload:?}");
    source.until("the files are read again", |seen| seen.len() > asked).await;
    assert_eq!(
        (serving(&edge).await, &edge.status().await["process"]["program_replaced"]),
        (first, &false.into())
    );

    edge.install_copy();
    let reload = edge.ask("upgrade", &["--or-reload"]).await;
    assert!(reload.code == 0 && reload.stdout.contains("is replaced by"), "{reload:?}");
    assert_eq!(edge.wait_replaced().await, Some(0));
    let second = serving(&edge).await;
    assert!(second != first);
    let reload = edge.ask("upgrade", &["--or-reload"]).await;
    assert!(reload.code == 0 && serving(&edge).await == second, "{reload:?}");
}

#[tokio::test]
async fn systemd_is_told_which_process_is_the_main_one() {
    let folder = Edge::builder().write();
    let path = folder.path("notify");
    let socket = UnixDatagram::bind(&path).expect("bound");
    socket.set_read_timeout(Some(PATIENCE)).expect("set");
    let mut edge = folder.env("NOTIFY_SOCKET", &path.display().to_string()).start().await;
    let first = edge.pid();
    let told = |wanted: String| {
        let mut bytes = [0; 4096];
        let mut heard = Vec::new();
        loop {
            let length =
                socket.recv(&mut bytes).unwrap_or_else(|error| panic!("{wanted}: {error}: {heard:?}"));
            let notice = String::from_utf8_lossy(&bytes[..length]).into_owned();
            let lines: Vec<&str> = notice.lines().collect();
            assert!(!lines.contains(&"STOPPING=1"), "{heard:?}");
            if wanted.lines().all(|line| lines.contains(&line)) {
                return;
            }
            heard.push(notice);
        }
    };
    told(format!("MAINPID={first}\nREADY=1"));
    let second = upgrade(&edge).await;
    // The old process tells it too, since it alone may be believed (`NotifyAccess=main`).
    told(format!("MAINPID={second}"));
    told(format!("MAINPID={second}\nREADY=1"));
    assert_eq!(edge.wait_replaced().await, Some(0));
}

#[tokio::test]
async fn a_new_process_that_is_killed_leaves_the_last_records_to_the_old_one() {
    let gate = Gate::default();
    let origin = slow_origin(&gate).await;
    let mut edge = Edge::builder().origin(origin.address).limit("drain_timeout", "60s").start().await;
    let (mut client, mut body) = download(&edge, HOST).await;
    let second = upgrade(&edge).await;
    assert_eq!(Target::https(&edge).get(HOST, "/second").await.text(), "hello");
    edge.records_where(1, |record| record["path"] == "/second").await;
    signal(second, Signal::KILL);
    ended(second).await;
    gate.open();
    assert_eq!(body.next(&mut client.wire).await.unwrap().unwrap(), "ended");
    assert_eq!(edge.wait_replaced().await, Some(0));
    let paths: Vec<_> =
        edge.records().await.iter().filter_map(|record| record["path"].as_str().map(str::to_owned)).collect();
    assert!(paths.contains(&"/slow".to_owned()) && paths.contains(&"/second".to_owned()), "{paths:?}");
    // The store tells that it was killed.
    assert!(edge.records().await.iter().any(|record| record["event"] == "gap"));
}
