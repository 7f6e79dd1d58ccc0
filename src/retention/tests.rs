use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use super::reader::{Item, Reader, Selection};
use super::*;
use crate::access::AccessRecord;
use crate::access::record::{ConnectionFacts, Event, RequestFacts};
use crate::config::WhenFull;

fn record(event: Event, client: &str) -> AccessRecord {
    let client = SocketAddr::new(client.parse().expect("an address"), 40_000);
    AccessRecord {
        time: "2026-03-02T00:00:00Z".parse().expect("a time"),
        event,
        reason: None,
        count: None,
        connection: Arc::new(ConnectionFacts {
            id: 1,
            peer: client,
            local: "203.0.113.10:443".parse().expect("an address"),
            listener: "https".into(),
            tls_version: None,
            tls_cipher: None,
        }),
        generation: 1,
        request_id: None,
        client,
        server_name: Some("www.example.cn".into()),
        host: None,
        protocol: None,
        request: None,
        upstream: None,
    }
}

pub(super) fn refusal(client: &str, reason: &'static str) -> AccessRecord {
    AccessRecord { reason: Some(reason), ..record(Event::Refused, client) }
}

fn request(path: &str) -> AccessRecord {
    AccessRecord {
        host: Some("www.example.cn".into()),
        request: Some(RequestFacts { path: Some(path.into()), status: Some(200), ..RequestFacts::default() }),
        ..record(Event::Request, "198.51.100.7")
    }
}

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    fn log(&self) -> AccessLog {
        AccessLog {
            directory: self.0.path().join("access"),
            retention: Duration::from_secs(190 * 24 * 60 * 60),
            reserve: 0,
            when_full: WhenFull::Refuse,
            redact_query: Vec::new(),
        }
    }

    fn open(&self) -> Store {
        self.open_with(&self.log())
    }

    fn open_with(&self, log: &AccessLog) -> Store {
        Store::open(log, "bj-edge-1".into(), Clock::system()).expect("opened")
    }

    fn select(&self, selection: Selection) -> Vec<serde_json::Value> {
        let mut reader = Reader::open(&self.log().directory, selection).expect("readable");
        let mut records = Vec::new();
        while let Some(item) = reader.next_item().expect("readable") {
            let Item::Record(line) = item else { panic!("{item:?}") };
            records.push(serde_json::from_slice(line).expect("a record"));
        }
        records
    }

    fn records(&self) -> Vec<serde_json::Value> {
        self.select(Selection::default())
    }

    fn segments(&self) -> Vec<PathBuf> {
        let segments = segment::list(&self.log().directory).expect("listed");
        segments.into_iter().map(|segment| segment.path).collect()
    }
}

fn keep(store: &Store, path: &str) {
    store.recorder().reserve().expect("a slot").keep(request(path));
}

/// Waits until `holds`, 10 s at most; for how long it took.
#[track_caller]
fn eventually(mut holds: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(10), "not within 10 s");
        std::thread::park_timeout(Duration::from_millis(1));
    }
    start.elapsed()
}

fn seqs(records: &[serde_json::Value]) -> Vec<u64> {
    records.iter().map(|record| record["seq"].as_u64().expect("a number")).collect()
}

#[test]
fn numbers_go_on_after_a_restart() {
    let folder = Folder::new();
    for _ in 0..3 {
        let store = folder.open();
        keep(&store, "/a");
        keep(&store, "/b");
        store.close().expect("closed");
    }
    // A start without a record leaves nothing behind.
    folder.open().close().expect("closed");
    assert_eq!(seqs(&folder.records()), [1, 2, 3, 4, 5, 6]);
    assert_eq!(folder.segments().len(), 3);
    assert_eq!(folder.records()[0]["node"], "bj-edge-1");
}

#[test]
fn what_a_killed_writer_left_unfinished_is_cut_off() {
    let folder = Folder::new();
    let store = folder.open();
    keep(&store, "/whole");
    keep(&store, "/torn");
    store.close().expect("closed");
    let segment = folder.segments().remove(0);
    let length = fs_err::metadata(&segment).expect("there").len();
    OpenOptions::new().write(true).open(&segment).and_then(|file| file.set_len(length - 10)).expect("torn");
    assert_eq!(seqs(&folder.records()), [1], "a reader takes no unfinished line");
    let store = folder.open();
    keep(&store, "/after");
    store.close().expect("closed");
    let records = folder.records();
    assert_eq!(seqs(&records), [1, 2]);
    assert_eq!(records[1]["path"], "/after");
    assert!(fs_err::read(&segment).expect("readable").ends_with(b"}\n"));
}

#[test]
fn a_record_is_in_the_file_within_100_ms() {
    let folder = Folder::new();
    let store = folder.open();
    let mut latest = Duration::ZERO;
    for seq in 1..=20 {
        keep(&store, "/");
        latest = latest.max(eventually(|| folder.records().len() == seq));
    }
    // Room for a machine that is busy with other tests; what is typical is 10 ms.
    assert!(latest < Duration::from_secs(1), "{latest:?}");
    assert_eq!(store.recorder().stats().records(), 20);
    assert!(store.recorder().stats().bytes() > 0);
    eventually(|| store.recorder().stats().slots_in_use() == 0);
}

#[test]
fn a_second_writer_is_turned_away_and_told_the_directory() {
    let folder = Folder::new();
    let store = folder.open();
    let error = Store::open(&folder.log(), "other".into(), Clock::system()).expect_err("in use");
    assert!(matches!(error, OpenError::InUse(_)));
    assert!(error.to_string().contains(&folder.log().directory.display().to_string()), "{error}");
    store.close().expect("closed");
    folder.open().close().expect("free again");
}

#[test]
fn files_and_directory_are_not_for_others() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let store = folder.open();
    keep(&store, "/");
    store.close().expect("closed");
    let others = |path: &Path| fs_err::metadata(path).expect("there").permissions().mode() & 0o027;
    assert_eq!(others(&folder.log().directory), 0);
    assert_eq!(others(&folder.segments()[0]), 0);
}

#[test]
fn a_directory_that_cannot_be_used_is_named() {
    let folder = Folder::new();
    fs_err::write(folder.log().directory, "a file").expect("written");
    let error = Store::open(&folder.log(), "n".into(), Clock::system()).expect_err("a file");
    assert!(error.to_string().contains("access"), "{error}");
}

#[test]
fn below_the_reserve_requests_are_refused_and_refusals_wait() {
    let folder = Folder::new();
    let store = folder.open_with(&AccessLog { reserve: u64::MAX, ..folder.log() });
    let recorder = store.recorder();
    assert_eq!(recorder.reserve().expect_err("full"), StoreFull::Reserve);
    assert_eq!(recorder.stats().full(), Some(StoreFull::Reserve));
    recorder.refused(refusal("198.51.100.7", "not_filed"));
    store.close().expect("closed");
    assert_eq!(folder.records().len(), 1, "nothing counted is lost");
}

#[test]
fn below_the_reserve_requests_are_served_and_counted_when_told_to_drop() {
    let folder = Folder::new();
    let log = AccessLog { reserve: u64::MAX, when_full: WhenFull::Drop, ..folder.log() };
    let store = folder.open_with(&log);
    for _ in 0..3 {
        keep(&store, "/");
    }
    assert_eq!(store.recorder().stats().lost(), 3);
    store.close().expect("closed");
    assert_eq!(folder.records().len(), 0);
}

#[test]
fn every_slot_taken_refuses_until_one_is_free() {
    let folder = Folder::new();
    let store = folder.open();
    let recorder = store.recorder();
    let mut slots: Vec<Slot> = (0..SLOTS).map(|_| recorder.reserve().expect("a slot")).collect();
    assert_eq!(recorder.reserve().expect_err("full"), StoreFull::Queue);
    for _ in 0..1_000 {
        recorder.refused(refusal("198.51.100.7", "not_filed"));
    }
    drop(slots.pop());
    slots.push(recorder.reserve().expect("free again"));
    for slot in slots {
        slot.keep(request("/"));
    }
    assert_eq!(recorder.stats().lost(), 0, "who has a slot has a place");
    store.close().expect("closed");
    let count: u64 = folder
        .records()
        .iter()
        .filter(|record| record["event"] == "refused")
        .map(|record| record["count"].as_u64().unwrap_or(1))
        .sum();
    assert_eq!(count, 1_000);
    assert!(folder.records().len() < SLOTS + 500, "the flood shares a record");
}

#[test]
fn a_queue_of_large_records_is_full_before_its_slots_are() {
    let (recorder, _shared, records) = Recorder::new(&Folder::new().log());
    let path = "x".repeat(1024 * 1024);
    let mut kept = 0;
    while let Ok(slot) = recorder.reserve() {
        slot.keep(request(&path));
        kept += 1;
    }
    assert_eq!(recorder.reserve().expect_err("full"), StoreFull::Queue);
    assert!(kept <= 256, "{kept}");
    assert_eq!(records.try_iter().count(), kept);
}

#[test]
fn a_write_that_fails_is_made_again_in_a_fresh_segment_when_the_directory_is_back() {
    let folder = Folder::new();
    let store = folder.open();
    let recorder = store.recorder();
    let (directory, away) = (folder.log().directory, folder.0.path().join("away"));
    fs_err::rename(&directory, &away).expect("moved");
    keep(&store, "/during");
    eventually(|| recorder.stats().full() == Some(StoreFull::Failing));
    assert_eq!(recorder.reserve().expect_err("refused"), StoreFull::Failing);
    fs_err::rename(&away, &directory).expect("moved back");
    eventually(|| recorder.stats().full().is_none());
    keep(&store, "/after");
    store.close().expect("closed");
    let paths: Vec<_> = folder.records().iter().map(|record| record["path"].clone()).collect();
    assert_eq!(paths, ["/during", "/after"]);
    assert_eq!(recorder.stats().records(), 2);
}

#[test]
fn a_store_that_cannot_be_written_to_the_end_says_how_many_are_lost() {
    let folder = Folder::new();
    let store = folder.open();
    let recorder = store.recorder();
    fs_err::rename(folder.log().directory, folder.0.path().join("away")).expect("moved");
    keep(&store, "/a");
    keep(&store, "/b");
    recorder.refused(refusal("198.51.100.7", "not_filed"));
    let error = store.close().expect_err("nowhere to write");
    assert_eq!((error.lost, recorder.stats().lost()), (3, 3));
    assert_eq!(recorder.reserve().expect_err("closed"), StoreFull::Closed);
}

#[test]
fn four_workers_lose_nothing_and_numbers_have_no_gap() {
    const EACH: usize = 50_000;
    let folder = Folder::new();
    let store = folder.open();
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let recorder = store.recorder();
            scope.spawn(move || {
                for number in 0..EACH {
                    let slot = loop {
                        match recorder.reserve() {
                            Ok(slot) => break slot,
                            Err(full) => assert_eq!(full, StoreFull::Queue),
                        }
                        std::thread::yield_now();
                    };
                    slot.keep(request(&format!("/{worker}/{number}")));
                }
            });
        }
    });
    store.close().expect("closed");
    let records = folder.records();
    assert!(seqs(&records).into_iter().eq(1..=4 * EACH as u64));
    let paths: HashSet<_> = records.iter().map(|record| record["path"].as_str()).collect();
    assert_eq!(paths.len(), 4 * EACH);
    let summary = reader::summarize(&folder.log().directory).expect("readable");
    assert_eq!(summary.records, 4 * EACH as u64);
}

#[test]
fn a_day_s_end_begins_a_segment() {
    let folder = Folder::new();
    let wall = Arc::new(Mutex::new("2026-03-02T15:59:59Z".parse::<Timestamp>().expect("a time")));
    let shown = Arc::clone(&wall);
    let clock = Clock::from_fn(move || *shown.lock().expect("not poisoned"));
    let store = Store::open(&folder.log(), "n".into(), clock).expect("opened");
    keep(&store, "/a");
    eventually(|| folder.records().len() == 1);
    *wall.lock().expect("not poisoned") = "2026-03-02T16:00:00Z".parse().expect("a time");
    keep(&store, "/b");
    store.close().expect("closed");
    let names: Vec<_> =
        folder.segments().iter().filter_map(|path| path.file_name()?.to_str().map(str::to_owned)).collect();
    assert_eq!(
        names,
        [
            "access-20260302T235959-00000000000000000001.ndjson",
            "access-20260303T000000-00000000000000000002.ndjson"
        ]
    );
}

#[test]
fn a_clock_a_year_off_while_the_store_is_open_deletes_nothing() {
    let folder = Folder::new();
    let start: Timestamp = "2026-03-02T00:00:00Z".parse().expect("a time");
    let wall = Arc::new(Mutex::new(start));
    let shown = Arc::clone(&wall);
    let clock = Clock::from_fn(move || *shown.lock().expect("not poisoned"));
    let store = Store::open(&folder.log(), "n".into(), clock).expect("opened");
    for (seq, days) in [(1, 0), (2, 365), (3, -365), (4, 1)] {
        *wall.lock().expect("not poisoned") = start + jiff::SignedDuration::from_hours(24 * days);
        keep(&store, "/");
        eventually(|| folder.records().len() == seq);
    }
    store.close().expect("closed");
    assert_eq!(seqs(&folder.records()), [1, 2, 3, 4]);
    assert_eq!(folder.segments().len(), 4);
}

/// A store of its own making: one segment for each list of lines.
fn written(segments: &[(&str, u64, &[&str])]) -> Folder {
    let folder = Folder::new();
    fs_err::create_dir(folder.log().directory).expect("created");
    for (opened, seq, lines) in segments {
        let name = format!("access-{opened}-{seq:020}.ndjson");
        fs_err::write(folder.log().directory.join(name), lines.concat()).expect("written");
    }
    folder
}

#[test]
fn a_reader_chooses_by_time_host_and_client() {
    let folder = written(&[
        (
            "20260302T100000",
            1,
            &[
                "{\"seq\":1,\"time\":\"2026-03-02T10:00:00.000+08:00\",\"host\":\"a.cn\",\"client_ip\":\"192.0.2.1\"}\n",
                "{\"seq\":2,\"time\":\"2026-03-02T10:30:00.000+08:00\",\"server_name\":\"b.cn\",\"client_ip\":\"192.0.2.2\"}\n",
            ],
        ),
        (
            "20260302T110000",
            3,
            &[
                "{\"seq\":3,\"time\":\"2026-03-02T10:10:00.000+08:00\",\"host\":\"b.cn\",\"client_ip\":\"2001:db8::1\"}\n",
                "{\"seq\":4,\"time\":\"2026-03-02T11:00:00.000+08:00\",\"host\":\"a.cn\",\"client_ip\":\"192.0.2.1\"}\n",
            ],
        ),
        ("20260305T000000", 5, &["{\"seq\":5,\"time\":\"2026-03-05T00:00:00.000+08:00\"}\n"]),
    ]);
    let time = |text: &str| Some(text.parse().expect("a time"));
    let check =
        |selection: Selection, expected: &[u64]| assert_eq!(seqs(&folder.select(selection)), expected);
    check(Selection::default(), &[1, 2, 3, 4, 5]);
    check(Selection { from: time("2026-03-02T10:30:00+08:00"), ..Selection::default() }, &[2, 4, 5]);
    check(Selection { to: time("2026-03-02T10:30:00+08:00"), ..Selection::default() }, &[1, 3]);
    check(Selection { host: Some("B.cn".to_owned()), ..Selection::default() }, &[2, 3]);
    check(Selection { client: "2001:db8::1".parse().ok(), ..Selection::default() }, &[3]);
    check(
        Selection {
            client: "::ffff:192.0.2.1".parse().ok(),
            host: Some("a.cn".to_owned()),
            ..Selection::default()
        },
        &[1, 4],
    );
}

#[test]
fn a_reader_names_what_is_no_record_and_goes_on() {
    let long = "x".repeat(segment::LINE_LIMIT + 1);
    let folder = written(&[
        (
            "20260302T100000",
            1,
            &[
                "{\"seq\":1,\"time\":\"2026-03-02T10:00:00.000+08:00\"}\n",
                "nonsense\n",
                &long,
                "\n",
                "{\"seq\":2,\"time\":\"2026-03-02T10:00:00.000+08:00\"}\n",
                "{\"seq\":3,\"time\":\"2026-03-02T10:00:01.000+08:00\"}\n",
                "{\"seq\":4,\"time\":\"2026-03",
            ],
        ),
        ("20260302T100001", 3, &["{\"seq\":3,\"time\":\"2026-03-02T10:00:01.000+08:00\"}\n", "{\"se"]),
    ]);
    let mut reader = Reader::open(&folder.log().directory, Selection::default()).expect("readable");
    let mut seen = Vec::new();
    while let Some(item) = reader.next_item().expect("readable") {
        seen.push(match item {
            Item::Record(_) => "record".to_owned(),
            Item::NoRecord { line, .. } => format!("no record {line}"),
            Item::Rewritten { line, .. } => format!("rewritten {line}"),
        });
    }
    assert_eq!(seen, ["record", "no record 2", "no record 3", "record", "rewritten 5", "record"]);
}
