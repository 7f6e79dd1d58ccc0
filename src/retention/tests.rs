//! The whole store: written, stopped in every way, and read again.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::access::AccessRecord;
use crate::access::packed::Clients;
use crate::access::record::{BlockPlace, ConnectionFacts, Event, RequestFacts};
use crate::access::request_id::RequestIds;
use crate::access::texts::RequestTexts;
use crate::clock::Clock;
use crate::config::{AccessLog, WhenFull};
use crate::gate::Refusal;
use crate::retention::format::SegmentHead;
use crate::retention::format::block::{Packer, Place};
use crate::retention::format::position::Position;
use crate::retention::format::rows::Rows;
use crate::retention::format::segment::{self, SegmentName};
use crate::retention::{
    Against, Item, OpenError, Reader, Reason, Selection, Store, StoreFull, summarize, verify,
};

mod reading;

pub(crate) fn record(event: Event, client: &str) -> AccessRecord {
    let client = SocketAddr::new(client.parse().expect("an address"), 40_000);
    AccessRecord {
        time: "2026-03-02T00:00:00Z".parse().expect("a time"),
        event,
        reason: None,
        count: 1,
        connection: Arc::new(ConnectionFacts {
            id: 1,
            peer: client,
            local: "203.0.113.10:443".parse().expect("an address"),
            listener: "https".into(),
            server_name: None,
            tls_version: None,
            tls_cipher: None,
            ids: RequestIds::new(),
            place: BlockPlace::default(),
        }),
        generation: 1,
        request_id: None,
        client,
        host: None,
        protocol: None,
        request: None,
        upstream: None,
    }
}

pub(crate) fn refusal(client: &str, reason: Refusal) -> AccessRecord {
    AccessRecord { reason: Some(reason.into()), ..record(Event::Refused, client) }
}

pub(crate) fn request() -> AccessRecord {
    request_of("198.51.100.7")
}

pub(crate) fn request_of(client: &str) -> AccessRecord {
    AccessRecord {
        host: Some("www.example.cn".into()),
        request: Some(RequestFacts { status: Some(200), ..RequestFacts::default() }),
        ..record(Event::Request, client)
    }
}

/// The texts of a GET request for `path`.
pub(crate) fn sent(path: &str) -> RequestTexts<'_> {
    RequestTexts { method: b"GET", path: path.as_bytes(), ..RequestTexts::default() }
}

/// Adds a request for `path` to `rows`.
pub(crate) fn push(rows: &mut Rows, record: &AccessRecord, path: &str) {
    rows.push(record, &sent(path), Clients::One);
}

pub(crate) struct Folder(pub(crate) tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    pub(crate) fn log(&self) -> AccessLog {
        AccessLog {
            directory: self.0.path().join("access"),
            retention: Duration::from_secs(190 * 24 * 60 * 60),
            reserve: 0,
            when_full: WhenFull::Refuse,
            redact_query: Vec::new(),
            client_budget: 64 << 10,
        }
    }

    pub(crate) fn open(&self) -> Store {
        self.open_with(&self.log())
    }

    pub(crate) fn open_with(&self, log: &AccessLog) -> Store {
        Store::open(log, "bj-edge-1".into(), Clock::system()).expect("opened")
    }

    pub(crate) fn select(&self, selection: Selection) -> Vec<serde_json::Value> {
        let mut reader = Reader::open(&self.log().directory, selection).expect("readable");
        let mut records = Vec::new();
        while let Some(item) = reader.next_item().expect("readable") {
            let Item::Record(line) = item else { panic!("{item:?}") };
            records.push(serde_json::from_slice(line).expect("a record"));
        }
        records
    }

    pub(crate) fn records(&self) -> Vec<serde_json::Value> {
        self.select(Selection::default())
    }

    pub(crate) fn segments(&self) -> Vec<PathBuf> {
        let segments = segment::list(&self.log().directory).expect("listed");
        segments.into_iter().map(|segment| segment.path).collect()
    }
}

pub(crate) fn keep(store: &Store, path: &str) {
    store.recorder().reserve().expect("a slot").keep(request(), &sent(path));
}

/// Waits until `holds`, at most 10 s; returns how long it took.
#[track_caller]
pub(crate) fn eventually(mut holds: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(10), "not within 10 s");
        std::thread::park_timeout(Duration::from_millis(1));
    }
    start.elapsed()
}

pub(crate) fn seqs(records: &[serde_json::Value]) -> Vec<u64> {
    records.iter().map(|record| record["seq"].as_u64().expect("a number")).collect()
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
    // Typically 10 ms; the bound leaves room for a busy machine.
    assert!(latest < Duration::from_secs(1), "{latest:?}");
    assert_eq!(store.recorder().stats().records(), 20);
    assert!(store.recorder().stats().bytes() > 0);
    eventually(|| store.recorder().stats().slots_in_use() == 0);
}

#[test]
fn a_store_of_another_version_is_refused_by_name_and_left_as_it_is() {
    let folder = Folder::new();
    let store = folder.open();
    keep(&store, "/");
    store.close().expect("closed");
    let segment = folder.segments().remove(0);
    let mut bytes = fs_err::read(&segment).expect("read");
    for version in [1, 3] {
        bytes[12] = version;
        // The head of the first segment, which has no edge.
        let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..4]), &bytes[8..72]);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        fs_err::write(&segment, &bytes).expect("written");
        let error = Store::open(&folder.log(), "n".into(), Clock::system()).expect_err("another version");
        assert!(error.to_string().contains(&format!("version {version} of the format")), "{error}");
        let error = summarize(&folder.log().directory).expect_err("another version");
        assert!(error.to_string().contains(&segment.display().to_string()), "{error}");
        assert_eq!(fs_err::read(&segment).expect("read"), bytes);
    }
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
fn four_workers_lose_nothing_and_numbers_have_no_gap() {
    const EACH: usize = 20_000;
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
                    slot.keep(request(), &sent(&format!("/{worker}/{number}")));
                }
            });
        }
    });
    store.close().expect("closed");
    let records = folder.records();
    assert!(seqs(&records).into_iter().eq(1..=records.len() as u64));
    let paths: HashSet<_> = records.iter().filter_map(|record| record["path"].as_str()).collect();
    assert_eq!(paths.len(), 4 * EACH);
    let gaps = records.iter().filter(|record| record["event"] == "gap").count();
    assert_eq!(records.len(), 4 * EACH + gaps);
    let summary = summarize(&folder.log().directory).expect("readable");
    assert_eq!(summary.records, records.len() as u64);
}

#[test]
fn a_day_s_end_begins_a_segment() {
    let folder = Folder::new();
    let wall = Arc::new(Mutex::new("2026-03-02T15:59:59Z".parse::<jiff::Timestamp>().expect("a time")));
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
            "access-20260302T235959-00000000000000000000.seg",
            "access-20260303T000000-00000000000000000001.seg"
        ]
    );
}

#[test]
fn a_clock_a_year_off_while_the_store_is_open_deletes_nothing() {
    let folder = Folder::new();
    let start: jiff::Timestamp = "2026-03-02T00:00:00Z".parse().expect("a time");
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

/// When a segment is opened, and its records: time, host (or `:` and the TLS server name), client.
type Written<'w> = (&'w str, &'w [(&'w str, &'w str, &'w str)]);

/// Writes a store without a writer: a segment per entry, with one block.
pub(crate) fn written(directory: &Path, segments: &[Written<'_>]) {
    let time = |text: &str| text.parse::<jiff::Timestamp>().expect("a time");
    let mut position = Position::default();
    let mut packer = Packer::new().expect("a packer");
    for (opened, records) in segments {
        let name = SegmentName::new(time(opened), position.tree.size());
        let mut block = Rows::new("bj-edge-1".into());
        for &(at, name, client) in *records {
            let mut kept = AccessRecord { time: time(at), ..record(Event::Request, client) };
            match name.strip_prefix(':') {
                Some(name) => {
                    let facts = Arc::get_mut(&mut kept.connection).expect("its own connection");
                    facts.server_name = Some(name.into());
                }
                None => kept.host = Some(name.into()),
            }
            push(&mut block, &kept, "/");
        }
        let place = Place {
            number: position.tree.size(),
            first_seq: position.next_seq,
            previous: position.previous,
            signed: 0,
            sealed: 0,
        };
        let mut bytes = Vec::new();
        let (previous, tree) = (position.previous, position.tree.clone());
        let opened = time(opened).as_millisecond();
        SegmentHead { first_seq: position.next_seq, opened, previous, tree }.write(&mut bytes);
        position.pass(&packer.pack(&mut block, place, &mut bytes).expect("packed"));
        fs_err::write(directory.join(name.to_string()), bytes).expect("written");
    }
}

#[test]
fn a_reader_chooses_by_time_host_and_client() {
    let folder = Folder::new();
    fs_err::create_dir(folder.log().directory).expect("created");
    written(
        &folder.log().directory,
        &[
            (
                "2026-03-02T10:00:00+08:00",
                &[
                    ("2026-03-02T10:00:00.000+08:00", "a.cn", "192.0.2.1"),
                    ("2026-03-02T10:30:00.000+08:00", ":b.cn", "192.0.2.2"),
                ],
            ),
            (
                "2026-03-02T11:00:00+08:00",
                &[
                    ("2026-03-02T10:10:00.000+08:00", "b.cn", "2001:db8::1"),
                    ("2026-03-02T11:00:00.000+08:00", "a.cn", "192.0.2.1"),
                ],
            ),
            ("2026-03-05T00:00:00+08:00", &[("2026-03-05T00:00:00.000+08:00", "", "192.0.2.3")]),
        ],
    );
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
fn what_is_left_after_a_deletion_is_proved_and_a_deletion_by_others_is_found() {
    let folder = Folder::new();
    let now: jiff::Timestamp = "2026-11-01T00:00:00Z".parse().expect("a time");
    let wall = Arc::new(Mutex::new(now - jiff::SignedDuration::from_hours(24 * 300)));
    let shown = Arc::clone(&wall);
    let clock = Clock::from_fn(move || *shown.lock().expect("not poisoned"));
    let age = || {
        let time = *wall.lock().expect("not poisoned");
        let segments = folder.segments();
        let newest = std::fs::File::options().append(true).open(segments.last().expect("a segment"));
        let time = std::time::SystemTime::try_from(time).expect("a time");
        newest.and_then(|file| file.set_modified(time)).expect("aged");
    };
    // A segment every fifty days; the last two are young.
    for _ in 0..7 {
        let store = Store::open(&folder.log(), "n".into(), clock.clone()).expect("opened");
        keep_at(&store, *wall.lock().expect("not poisoned"));
        store.close().expect("closed");
        age();
        *wall.lock().expect("not poisoned") += jiff::SignedDuration::from_hours(24 * 50);
    }
    *wall.lock().expect("not poisoned") = now;
    let store = Store::open(&folder.log(), "n".into(), clock).expect("opened");
    eventually(|| folder.segments().len() == 5);
    let records = folder.records();
    let expired = records.iter().rfind(|record| record["event"] == "expired").expect("a record");
    assert_eq!(records[0]["seq"], expired["before_seq"]);
    store.close().expect("closed");
    let against = Against { keys: Vec::new(), since: None, clock: Clock::from_fn(move || now) };
    let verdict = verify(&folder.log().directory, &against).expect("verified");
    assert_eq!(verdict.first_break, None);
    fs_err::remove_file(&folder.segments()[0]).expect("removed");
    let found = verify(&folder.log().directory, &against).expect("verified").first_break;
    assert!(matches!(found.expect("a break").reason, Reason::Deleted { .. }));
}

fn keep_at(store: &Store, time: jiff::Timestamp) {
    let record = AccessRecord { time, ..request() };
    store.recorder().reserve().expect("a slot").keep(record, &sent("/"));
}
