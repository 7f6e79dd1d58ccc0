//! Handing over a record allocates nothing; an encoder holds no more than its limit.

use std::sync::Arc;
use std::time::Duration;

use http::Version;
use icpgate::access::record::{AccessRecord, BlockPlace, ConnectionFacts, Event, RequestFacts};
use icpgate::access::request_id::RequestIds;
use icpgate::access::texts::RequestTexts;
use icpgate::clock::Clock;
use icpgate::config::{AccessLog, WhenFull};
use icpgate::retention::Store;
use icpgate::rewrite::{Encoder, Encoding};

const SENT: RequestTexts<'_> = RequestTexts {
    method: b"GET",
    path: b"/product/10086",
    query: b"from=list",
    referer: b"https://www.example.cn/",
    user_agent: b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    is_truncated: false,
};

fn record(connection: &Arc<ConnectionFacts>, time: jiff::Timestamp) -> AccessRecord {
    AccessRecord {
        time,
        event: Event::Request,
        reason: None,
        count: 1,
        connection: Arc::clone(connection),
        generation: 1,
        request_id: Some(connection.ids.next()),
        client: connection.peer,
        host: Some("www.example.cn".into()),
        protocol: Some(Version::HTTP_2),
        request: Some(RequestFacts { status: Some(200), ..RequestFacts::default() }),
        upstream: None,
    }
}

#[test]
fn handing_a_record_over_allocates_nothing() {
    const RECORDS: usize = 1_000;
    let folder = tempfile::tempdir().expect("a folder");
    let log = AccessLog {
        directory: folder.path().join("access"),
        retention: Duration::from_secs(190 * 24 * 60 * 60),
        reserve: 0,
        when_full: WhenFull::Refuse,
        redact_query: Vec::new(),
        client_budget: 64 << 10,
    };
    let clock = Clock::system();
    let store = Store::open(&log, "edge-1".into(), clock.clone()).expect("opened");
    let recorder = store.recorder();
    let address = |text: &str| text.parse().expect("an address");
    let connection = Arc::new(ConnectionFacts {
        id: 1,
        peer: address("198.51.100.7:40000"),
        local: address("203.0.113.10:443"),
        listener: "https".into(),
        server_name: Some("www.example.cn".into()),
        tls_version: Some("TLSv1.3"),
        tls_cipher: None,
        ids: RequestIds::new(),
        place: BlockPlace::default(),
    });
    // The first record of a thread allocates its lane.
    recorder.reserve().expect("a slot").keep(record(&connection, clock.now()), &SENT);
    let records: Vec<_> = (0..RECORDS).map(|_| record(&connection, clock.now())).collect();
    let allocated = allocation_counter::measure(|| {
        for record in records {
            recorder.reserve().expect("a slot").keep(record, &SENT);
        }
    });
    println!("{} allocations for {RECORDS} records handed over", allocated.count_total);
    assert_eq!(allocated.count_total, 0);
    store.close().expect("closed");
}

/// What one response holds, in whatever order it is written, flushed and read. zstd's context is the C library's, and
/// measured beside its code.
#[test]
fn an_encoder_holds_at_most_256_kib() {
    const LIMIT: u64 = 256 << 10;
    let line = |line: u32| format!("<p>line {line} {:x}</p>\n", line.wrapping_mul(2_654_435_761));
    let page: Vec<u8> = (0..20_000).map(line).collect::<String>().into_bytes();
    for encoding in [Encoding::Brotli, Encoding::Gzip] {
        for part in [100, 16 << 10, page.len()] {
            let held = allocation_counter::measure(|| {
                let mut encoder = Encoder::new(encoding).expect("an encoder");
                for part in page.chunks(part) {
                    encoder.push(part, &mut drop).expect("encoded");
                }
                encoder.flush(&mut drop).expect("flushed");
                encoder.finish(&mut drop).expect("finished");
            });
            println!("{encoding:?} in parts of {part}: {} bytes at most", held.bytes_max);
            assert!(held.bytes_max <= LIMIT, "{encoding:?} in parts of {part}: {}", held.bytes_max);
        }
    }
}
