//! Injected disk faults: whichever write or sync fails, an exchange is recorded, or refused and counted.
//! Failed reads lose only what they would have read.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::support::client::Target;
use crate::support::edge::{Edge, HOSTS, icpgate, run};
use crate::support::machine::{Need, require};
use crate::support::time::pause;
use crate::support::{PATIENCE, eventually};

/// Exchanges sent after the failure begins, and again after it ends.
const AFTER: u64 = 3;

/// The log line when a segment cannot be created and the emergency file is used.
const IN_EMERGENCY_FILE: &str = "records of accepted exchanges go into the emergency file";

/// The failing system call, its error, and the store's log line.
const FAULTS: [(&str, &str, &str); 5] = [
    ("pwrite64", "ENOSPC", " is full: "),
    ("pwrite64", "EIO", "the access records cannot be written"),
    ("fdatasync", "EIO", "the access records cannot be written"),
    ("fdatasync", "ENOSPC", "the disk of the access records is full"),
    ("fdatasync", "EROFS", "the file system of the access records is read-only"),
];
/// Which calls of a run fail, in strace's syntax.
const WHEN: [&str; 11] = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "2..4"];

#[tokio::test]
async fn whichever_write_or_sync_fails_each_exchange_is_recorded_or_refused_and_counted() {
    require([Need::Strace]).await;
    tokio::task::LocalSet::new().run_until(sweep()).await;
}

fn incompressible() -> String {
    let letters: String = std::iter::repeat_with(fastrand::alphanumeric).take(2_000).collect();
    format!("/{letters}")
}

#[tokio::test]
async fn an_unreadable_sector_costs_only_its_blocks() {
    const RECORDS: usize = 8;
    require([Need::Strace]).await;
    let mut edge = Edge::builder().start().await;
    for number in 1..=RECORDS {
        // Each record in its own block; two blocks per page.
        ask(&edge, &incompressible()).await;
        edge.records_where(number, |_| true).await;
    }
    edge.signal(Signal::TERM);
    assert_eq!(edge.wait_exit().await, 0);
    let directory = edge.path("access");
    let segment = fs_err::read_dir(&directory).expect("listed").map(|entry| entry.expect("listed").path());
    let segment = segment.into_iter().find(|path| path.extension().is_some_and(|end| end == "seg"));
    let (segment, directory) =
        (segment.expect("a segment").display().to_string(), directory.display().to_string());
    for error in ["EIO", "EUCLEAN", "EBADMSG"] {
        // Fails every read of the first page: `export` also reads the rest and polls for more.
        let command = async |command: &str, when: &str| {
            let inject = format!("inject=pread64:error={error}:when={when}");
            let strace = ["-qq", "-o", "/dev/null", "-P", &segment, "-e", "trace=pread64", "-e", &inject];
            let words = [env!("CARGO_BIN_EXE_icpgate"), "logs", command, &directory];
            run("strace", strace.into_iter().chain(words)).await
        };
        let exported = command("export", "1..4+3").await;
        let left = exported.stdout.lines().count();
        assert_eq!(exported.code, 0, "{error}: {exported:?}");
        assert!((RECORDS - 3..RECORDS).contains(&left), "{error}: {left} records, {}", exported.stderr);
        assert!(exported.stderr.contains("at byte 0 are damaged"), "{error}: {exported:?}");
        let told = command("stat", "1..2").await;
        assert!(told.stdout.starts_with(&format!("{left} records in 1 segments")), "{error}: {told:?}");
        let verified = command("verify", "1").await;
        assert_eq!(verified.code, 1, "{error}: {verified:?}");
        assert!(verified.stdout.contains("byte 0: the bytes here are not what was written"), "{verified:?}");
    }
}

#[tokio::test]
async fn a_start_with_unreadable_sectors_cuts_nothing_off() {
    const RECORDS: usize = 8;
    require([Need::Strace]).await;
    // Fails the first read of the newest segment; the configuration is the last argument.
    let script = r#"
        for last in "$@"; do :; done
        for newest in "$(dirname "$last")"/access/*.seg; do :; done
        [ -f "$newest" ] || exec "$@"
        exec strace -D -f -qq -o /dev/null -P "$newest" -e trace=pread64 -e inject=pread64:error=EIO:when=1 "$@"
    "#;
    let mut edge = Edge::builder().wrapper(&["sh", "-c", script, "sh"]).start().await;
    let ask_all = async |edge: &Edge, from: usize| {
        for number in from..from + RECORDS {
            ask(edge, &incompressible()).await;
            edge.records_where(number, |record| record["path"].is_string()).await;
        }
    };
    ask_all(&edge, 1).await;
    edge.signal(Signal::TERM);
    assert_eq!(edge.wait_exit().await, 0);
    edge.restart().await;
    ask_all(&edge, RECORDS + 1).await;
    assert_eq!(icpgate(["logs", "verify", &edge.path("access").display().to_string()]).await.code, 0);
    // Cutting an unreadable tail off could lose records that the disk may return later.
    edge.signal(Signal::KILL);
    edge.wait_exit().await;
    let before = edge.records().await;
    edge.launch_again();
    assert_eq!(edge.wait_exit().await, 2);
    assert!(edge.log().contains("the disk cannot read the bytes before byte 4096"), "{}", edge.log());
    assert_eq!(edge.records().await, before);
}

/// Tries every fault; faults of one kind run in parallel.
async fn sweep() {
    let (mut kept, mut refused) = (0, 0);
    for (call, error, said) in FAULTS {
        let mut rounds = tokio::task::JoinSet::new();
        for when in WHEN {
            rounds.spawn_local(survive(call, error, when, said));
        }
        while let Some(round) = rounds.join_next().await {
            let (answered, turned_away) = round.expect("a round that holds");
            kept += answered;
            refused += turned_away;
        }
    }
    println!("{} faults: {kept} exchanges kept, {refused} refused and counted", FAULTS.len() * WHEN.len());
}

/// One run with a fault; exchanges recorded, and exchanges refused.
async fn survive(
    call: &'static str,
    error: &'static str,
    when: &'static str,
    said: &'static str,
) -> (u64, u64) {
    let case = format!("{call} {error} {when}");
    let trace = format!("trace={call}");
    let inject = format!("inject={call}:error={error}:when={when}");
    let strace = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject];
    let mut edge = Edge::builder().wrapper(&strace).start().await;
    let (mut asked, mut refused) = (0, 0);
    // Until the fault has happened, and a few requests longer.
    let mut more = AFTER;
    let began = Instant::now();
    while more > 0 {
        refused += u64::from(ask(&edge, &format!("/before/{asked}")).await == 503);
        asked += 1;
        more -= u64::from(edge.log().contains(said));
        assert!(began.elapsed() < PATIENCE, "{case}: it never failed");
        // Each request in a block of its own.
        pause(Duration::from_millis(40)).await;
    }
    eventually(&format!("{case}: records are kept again"), PATIENCE, async || {
        edge.status().await["retention"]["full"].is_null().then_some(())
    })
    .await;
    let failures = edge.metric("icpgate_access_store_failures_total").await;
    assert!(failures >= 1.0 || edge.log().contains(IN_EMERGENCY_FILE), "{case}");
    for number in 0..AFTER {
        assert_eq!(ask(&edge, &format!("/after/{number}")).await, 308, "{case}");
    }
    edge.signal(Signal::TERM);
    assert_eq!(edge.wait_exit().await, 0, "{case}");

    let records = edge.records().await;
    let numbers = records.iter().map(|record| record["seq"].as_u64().expect("a number"));
    assert!(numbers.eq(1..=records.len() as u64), "{case}: a hole or a duplicate");
    let kept = records.iter().filter(|record| record["event"] == "request").count() as u64;
    assert_eq!(kept + refused, asked + AFTER, "{case}: kept or refused");
    let is_refused = |record: &&Value| record["event"] == "gap" && record["reason"] == "refused";
    let counted: u64 = records.iter().filter(is_refused).filter_map(|record| record["count"].as_u64()).sum();
    assert_eq!(counted, refused, "{case}: what is refused is counted");
    let directory = edge.path("access");
    let verified = icpgate(["logs".as_ref(), "verify".as_ref(), directory.as_os_str()]).await;
    assert_eq!(verified.code, 0, "{case}: {verified:?}");
    (kept, refused)
}

async fn ask(edge: &Edge, path: &str) -> u16 {
    Target::http(edge).get(HOSTS[0], path).await.status
}
