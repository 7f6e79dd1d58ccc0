//! The record store: the cost of a record in handing over, writing and verifying, and its size on disk.

#![allow(clippy::print_stdout, reason = "what criterion does not measure is told")]

mod requests;

use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group};
use icpgate::clock::Clock;
use icpgate::retention::{Against, Reader, Selection, Store, summarize, verify};
use requests::{Client, Names, Request, client, record, request};

/// The allocator of the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const RECORDS: u64 = 400_000;
/// Records per second of a busy thread, and the interval at which a batch of them comes.
const RATE: u64 = 50_000;
const EVERY: Duration = Duration::from_millis(10);
fn open(directory: &Path) -> Store {
    requests::open(directory, &Clock::system())
}

/// Hands over a record of each of `requests` at full speed and waits until all are synced; returns the time
/// and the fraction of a core that the writer used.
fn write(directory: &Path, requests: &[Request]) -> (Duration, Duration) {
    let (store, names, clock) = (open(directory), Names::new(), Clock::system());
    let recorder = store.recorder();
    let start = Instant::now();
    for request in requests {
        let slot = loop {
            match recorder.reserve() {
                Ok(slot) => break slot,
                Err(_) => std::thread::yield_now(),
            }
        };
        slot.keep(record(request, &names, clock.now()), &request.sent());
    }
    while recorder.stats().synced_before() <= requests.len() as u64 {
        std::thread::yield_now();
    }
    let (passed, used) = (start.elapsed(), processor_time("access-records") + processor_time("access-sync"));
    store.close().expect("closed");
    (passed, used)
}

/// The CPU time of the thread with this name. The thread must have slept since it did anything.
fn processor_time(name: &str) -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").expect("listed");
    let thread = tasks
        .map(|task| task.expect("listed").path())
        .find(|task| std::fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim_end() == name));
    let schedule = std::fs::read_to_string(thread.expect("the thread").join("schedstat")).expect("read");
    let nanoseconds = schedule.split(' ').next().and_then(|time| time.parse().ok());
    Duration::from_nanos(nanoseconds.expect("a number"))
}

/// The CPU time of this thread.
fn own_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Requests of `clients` in turn, or each of a new client if there are none.
fn requests(clients: usize, count: u64) -> Vec<Request> {
    let (names, mut random) = (Names::new(), fastrand::Rng::with_seed(1));
    let clients: Vec<Client> = (0..clients).map(|_| client(&names, &mut random)).collect();
    (0..count)
        .map(|_| {
            let one = match clients.len() {
                0 => client(&names, &mut random),
                many => clients[random.usize(..many)].clone(),
            };
            request(one, &mut random)
        })
        .collect()
}

/// The whole cost of a record at the rate of a busy edge: on the worker, from the texts of the request on,
/// and on the writer.
fn in_all(_: &mut Criterion) {
    for (kind, clients) in [("64 kept connections", 64), ("a connection for each", 0)] {
        let (names, clock, folder) = (Names::new(), Clock::system(), tempfile::tempdir().expect("a folder"));
        let requests = requests(clients, RATE * 4);
        let store = open(folder.path());
        let recorder = store.recorder();
        let before = own_time();
        paced(&requests, |request| {
            recorder.reserve().expect("a slot").keep(record(request, &names, clock.now()), &request.sent());
        });
        let worker = own_time().saturating_sub(before);
        while recorder.stats().synced_before() <= requests.len() as u64 {
            std::thread::park_timeout(EVERY);
        }
        let writer = processor_time("access-records") + processor_time("access-sync");
        store.close().expect("closed");
        let summary = summarize(folder.path()).expect("read");
        let a_record = |time: Duration| time.as_nanos() as f64 / requests.len() as f64;
        println!(
            "a record in all, {kind}, {RATE}/s: {:.0} ns on the worker, {:.0} ns on the writer, {:.1} bytes",
            a_record(worker),
            a_record(writer),
            summary.bytes as f64 / summary.records as f64
        );
    }
}

fn build(criterion: &mut Criterion) {
    let (names, time) = (Names::new(), Clock::system().now());
    let requests = requests(64, 1);
    let mut group = criterion.benchmark_group("retention");
    group.throughput(Throughput::Elements(1));
    group.bench_function("build", |bencher| {
        bencher.iter(|| black_box(record(&requests[0], &names, time)));
    });
    group.finish();
}

/// How long handing over one record takes, at the rate of a busy thread, with the writer at work.
fn hand_over(_: &mut Criterion) {
    let (names, clock, folder) = (Names::new(), Clock::system(), tempfile::tempdir().expect("a folder"));
    let requests = requests(64, RATE * 8);
    let store = open(folder.path());
    let recorder = store.recorder();
    let mut took = Vec::with_capacity(requests.len());
    paced(&requests, |request| {
        let record = record(request, &names, clock.now());
        let start = Instant::now();
        recorder.reserve().expect("a slot").keep(record, &request.sent());
        took.push(start.elapsed().as_nanos());
    });
    let mut nothing: Vec<_> = took.iter().map(|_| Instant::now().elapsed().as_nanos()).collect();
    for (what, times) in
        [("handing a record over", &mut took), ("the clock's own part of that", &mut nothing)]
    {
        times.sort_unstable();
        let [p50, p99, p999] = [500, 990, 999].map(|of| times[times.len() * of / 1000]);
        println!("{what}, one by one, {RATE}/s: p50 {p50} ns, p99 {p99} ns, p99.9 {p999} ns");
    }
    store.close().expect("closed");
}

/// Calls `each` for every request at [`RATE`], in batches every [`EVERY`].
fn paced(requests: &[Request], mut each: impl FnMut(&Request)) {
    let mut due = Instant::now();
    for batch in requests.chunks((RATE / 100) as usize) {
        batch.iter().for_each(&mut each);
        due += EVERY;
        std::thread::park_timeout(due.saturating_duration_since(Instant::now()));
    }
}

fn writer(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("retention");
    group.sample_size(10).throughput(Throughput::Elements(RECORDS));
    for (kind, clients) in [("kept", 64), ("strangers", 0)] {
        let requests = requests(clients, RECORDS);
        let mut seen = Vec::new();
        group.bench_function(format!("write_and_sync/{kind}"), |bencher| {
            bencher.iter_custom(|times| {
                let mut total = Duration::ZERO;
                for _ in 0..times {
                    let folder = tempfile::tempdir().expect("a folder");
                    let (passed, used) = write(folder.path(), &requests);
                    total += passed;
                    let summary = summarize(folder.path()).expect("read");
                    let bytes = summary.bytes as f64 / summary.records as f64;
                    seen.push((RECORDS as f64 / used.as_secs_f64(), bytes));
                }
                total
            });
        });
        seen.sort_by(|one, other| one.0.total_cmp(&other.0));
        if let [(least, bytes), .., (most, _)] = seen[..] {
            println!(
                "  {kind}: {least:.0} to {most:.0} records for a second of the writer's core, {bytes:.1} bytes each"
            );
        }
    }
    group.finish();
}

fn readers(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), &requests(0, RECORDS));
    let bytes = summarize(folder.path()).expect("read").bytes;
    let against = Against { keys: Vec::new(), since: None, clock: Clock::system() };
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

/// If the environment asks for it, only writes a store of `MIB` mebibytes to `STORE`, for measuring `logs` on
/// large stores.
fn large_store() -> bool {
    let Ok(directory) = std::env::var("STORE") else { return false };
    let mib = std::env::var("MIB").ok().and_then(|mib| mib.parse::<u64>().ok()).expect("MIB, a number");
    let (store, names, clock) = (open(Path::new(&directory)), Names::new(), Clock::system());
    let (recorder, mut random) = (store.recorder(), fastrand::Rng::with_seed(1));
    while recorder.stats().bytes() < mib << 20 {
        let request = request(client(&names, &mut random), &mut random);
        match recorder.reserve() {
            Ok(slot) => slot.keep(record(&request, &names, clock.now()), &request.sent()),
            Err(_) => std::thread::park_timeout(Duration::from_millis(1)),
        }
    }
    store.close().expect("closed");
    true
}

criterion_group!(benches, in_all, build, hand_over, writer, readers);

fn main() {
    if !large_store() {
        benches();
        Criterion::default().configure_from_args().final_summary();
    }
}
