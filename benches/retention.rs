//! The store of access records: handing a record over, writing, verifying, and the room it takes.

#![allow(clippy::print_stdout, reason = "what criterion does not measure is told")]

use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use icpgate::access::record::{AccessRecord, ConnectionFacts, Event, RequestFacts, UpstreamFacts};
use icpgate::clock::Clock;
use icpgate::config::{AccessLog, WhenFull};
use icpgate::retention::Store;
use icpgate::retention::reader::{Reader, Selection, summarize};
use icpgate::retention::verify::{Against, verify};

const RECORDS: u64 = 400_000;
const PATHS: [&str; 8] = [
    "/",
    "/product/10086",
    "/static/app.9f3c21.js",
    "/static/style.css",
    "/api/v1/cart",
    "/api/v1/session",
    "/search",
    "/pay/confirm",
];
const AGENTS: [&str; 4] = [
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148 MicroMessenger/8.0.60",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/139.0.0.0 Safari/537.36 Edg/139.0.0.0",
    "Mozilla/5.0 (Linux; Android 15; V2408A) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Mobile Safari/537.36",
    "curl/8.5.0",
];

/// A request as an edge sees it: every one from another client, with an id of its own.
fn request(number: u64, random: &mut fastrand::Rng) -> AccessRecord {
    let client = SocketAddr::from((Ipv4Addr::from(random.u32(..)), random.u16(1024..)));
    let path = PATHS[random.usize(..PATHS.len())];
    AccessRecord {
        time: Clock::system().now(),
        event: Event::Request,
        reason: None,
        count: None,
        connection: Arc::new(ConnectionFacts {
            id: number / 8,
            peer: client,
            local: SocketAddr::from(([10, 0, 0, 5], 443)),
            listener: "https".into(),
            tls_version: Some("TLSv1.3"),
            tls_cipher: Some("TLS13_AES_128_GCM_SHA256"),
        }),
        generation: 3,
        request_id: Some(format!("{:032x}", random.u128(..)).into()),
        client,
        server_name: Some("www.example.cn".into()),
        host: Some("www.example.cn".into()),
        protocol: Some("h2"),
        request: Some(RequestFacts {
            method: Some("GET".into()),
            path: Some(path.into()),
            query: number.is_multiple_of(3).then(|| format!("id={}", random.u32(..)).into()),
            status: Some(200),
            bytes_in: 0,
            bytes_out: random.u64(200..100_000),
            duration: Duration::from_micros(random.u64(500..200_000)),
            referer: Some("https://www.example.cn/".into()),
            user_agent: Some(AGENTS[random.usize(..AGENTS.len())].into()),
            site: Some("www.example.cn".into()),
            icp_number: Some("京ICP备2024012345号-1".into()),
            footer: Some("injected"),
        }),
        upstream: Some(UpstreamFacts {
            origin: "mainland".into(),
            region: "mainland",
            link: "default".into(),
            address: SocketAddr::from(([10, 0, 1, 10], 8080)),
            local: Some(SocketAddr::from(([10, 0, 0, 5], random.u16(1024..)))),
            status: Some(200),
            first_byte: Some(Duration::from_micros(random.u64(300..150_000))),
        }),
    }
}

fn open(directory: &Path) -> Store {
    let log = AccessLog {
        directory: directory.to_owned(),
        retention: Duration::from_secs(190 * 24 * 60 * 60),
        reserve: 0,
        when_full: WhenFull::Refuse,
        redact_query: Vec::new(),
    };
    Store::open(&log, "bj-edge-1".into(), Clock::system()).expect("opened")
}

/// Hands `records` over as fast as they are taken, and waits until all are synced; for how long, and
/// how much of a core the writer used.
fn write(directory: &Path, records: &[AccessRecord]) -> (Duration, Duration) {
    let store = open(directory);
    let recorder = store.recorder();
    let start = Instant::now();
    for record in records {
        let slot = loop {
            match recorder.reserve() {
                Ok(slot) => break slot,
                Err(_) => std::thread::yield_now(),
            }
        };
        slot.keep(record.clone());
    }
    while recorder.stats().synced_before() <= records.len() as u64 {
        std::thread::yield_now();
    }
    let (passed, used) = (start.elapsed(), writer_time());
    store.close().expect("closed");
    (passed, used)
}

/// The processor time of the writer's thread.
fn writer_time() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").expect("listed");
    let writer = tasks.map(|task| task.expect("listed").path()).find(|task| {
        std::fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim_end() == "access-records")
    });
    let schedule = std::fs::read_to_string(writer.expect("the writer").join("schedstat")).expect("read");
    let nanoseconds = schedule.split(' ').next().and_then(|time| time.parse().ok());
    Duration::from_nanos(nanoseconds.expect("a number"))
}

fn records() -> Vec<AccessRecord> {
    let mut random = fastrand::Rng::with_seed(1);
    (0..RECORDS).map(|number| request(number, &mut random)).collect()
}

fn hand_over(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path());
    let recorder = store.recorder();
    let record = request(0, &mut fastrand::Rng::with_seed(1));
    let mut group = criterion.benchmark_group("retention");
    group.throughput(Throughput::Elements(1));
    group.bench_function("hand_over", |bencher| {
        bencher.iter_batched(
            || {
                while recorder.stats().slots_in_use() > 32_768 {
                    std::thread::yield_now();
                }
                record.clone()
            },
            |record| recorder.reserve().expect("a slot").keep(black_box(record)),
            BatchSize::SmallInput,
        );
    });
    group.finish();
    store.close().expect("closed");
}

fn writer(criterion: &mut Criterion) {
    let records = records();
    let mut group = criterion.benchmark_group("retention");
    group.sample_size(10).throughput(Throughput::Elements(RECORDS));
    group.bench_function("write_and_sync", |bencher| {
        bencher.iter_custom(|times| {
            let mut total = Duration::ZERO;
            for _ in 0..times {
                let folder = tempfile::tempdir().expect("a folder");
                let (passed, used) = write(folder.path(), &records);
                total += passed;
                let summary = summarize(folder.path()).expect("read");
                let bytes = summary.bytes as f64 / summary.records as f64;
                let rate = RECORDS as f64 / used.as_secs_f64();
                println!("  {bytes:.1} bytes a record; {rate:.0} records for a second of the writer's core");
            }
            total
        });
    });
    group.finish();
}

fn readers(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), &records());
    let bytes = summarize(folder.path()).expect("read").bytes;
    let against = Against { keys: Vec::new(), since: None, at: Clock::system().now() };
    let mut group = criterion.benchmark_group("retention");
    group.sample_size(10).throughput(Throughput::Bytes(bytes));
    group.bench_function("verify", |bencher| {
        bencher.iter(|| assert!(verify(folder.path(), &against).expect("verified").is_ok()));
    });
    group.throughput(Throughput::Elements(RECORDS));
    group.bench_function("export", |bencher| {
        bencher.iter(|| {
            let mut reader = Reader::open(folder.path(), Selection::default()).expect("opened");
            while let Some(item) = reader.next_item().expect("read") {
                black_box(item);
            }
        });
    });
    group.finish();
}

criterion_group!(benches, hand_over, writer, readers);
criterion_main!(benches);
