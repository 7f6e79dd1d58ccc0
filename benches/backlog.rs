//! Sinks that are down while records pass: what the shipper's memory grows by, and how fast the sinks catch up.
//!
//! `RECORDS` (one million) pass into real files in simulated time, [`RATE`] a second. A directory and an rsyslog are
//! down meanwhile, and come back one after the other. `STORE` names a folder that keeps the store, for
//! `loadtest/backlog.py`; without it, a temporary one is used. Needs rsyslog with RELP, which `scripts/setup` installs.
//! `cargo test` runs a small backlog, and does not wait for the sinks to come back.

#![allow(clippy::print_stdout, reason = "the figures are told")]

mod requests;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use icpgate::clock::Clock;
use icpgate::config::Config;
use icpgate::retention::{Recorder, Store, summarize};
use icpgate::ship::shipper::Shipper;
use icpgate::ship::status::{SinkBoard, SinkLook};
use requests::{Client, Names, client, record, request};

/// The allocator of the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Records per second of simulated time.
const RATE: u64 = 5000;
/// Records before memory is measured: every buffer has been used by then.
const WARM_UP: u64 = 200_000;
/// Records that may wait for the store's writer.
const WAITING: usize = 4096;
/// Records from one measurement of memory to the next.
const MEASURE_EVERY: u64 = 10_000;
/// The most that the memory of a sink may grow by, in MiB.
const MEMORY: f64 = 16.0;
/// A sink that comes back is probed within a minute; it then has this long.
const PATIENCE: Duration = Duration::from_secs(1800);

fn main() {
    let is_measured = std::env::args().any(|word| word == "--bench");
    let usual = if is_measured { 1_000_000 } else { 2 * WARM_UP };
    let records: u64 = std::env::var("RECORDS").map_or(usual, |asked| asked.parse().expect("a number"));
    let temporary = tempfile::tempdir().expect("a folder");
    let folder = std::env::var_os("STORE").map_or(temporary.path().to_owned(), PathBuf::from);
    fs_err::create_dir_all(&folder).expect("made");
    let backlog = Backlog::open(&folder);
    backlog.pass(WARM_UP);
    let before = memory();
    let took = Instant::now();
    let peak = backlog.pass(records.saturating_sub(WARM_UP));
    println!(
        "{records} records passed in {:.0} simulated minutes ({:.0} s), {} MiB on the disk",
        records as f64 / RATE as f64 / 60.0,
        took.elapsed().as_secs_f64(),
        summarize(&folder.join("access")).expect("read").bytes >> 20
    );
    println!(
        "memory with both sinks down: {before:.1} MiB after {WARM_UP} records, at most {peak:.1} MiB after that"
    );
    assert!(peak <= before + MEMORY, "the backlog costs memory");
    backlog.end();
    if !is_measured {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(backlog_caught_up(&folder, records));
}

/// A store with a shipper whose sinks are down.
struct Backlog {
    store: Store,
    recorder: Recorder,
    shipper: Shipper,
    names: Names,
    clients: Vec<Client>,
    /// Nanoseconds of simulated time since `begin`.
    passed: Arc<AtomicU64>,
    clock: Clock,
}

impl Backlog {
    fn open(folder: &Path) -> Self {
        // A file where the directory should be.
        fs_err::write(folder.join("copy"), "").expect("written");
        let passed = Arc::<AtomicU64>::default();
        let (shown, begin) = (Arc::clone(&passed), Clock::system().now() - Duration::from_secs(86_400));
        let clock = Clock::from_fn(move || begin + Duration::from_nanos(shown.load(Ordering::Relaxed)));
        let (store, config) =
            (requests::open(&folder.join("access"), &clock), configuration(folder, closed_port()));
        let mut shipper = Shipper::new(store.feed(), clock.clone(), &config);
        shipper.configure(&config);
        let (names, mut random) = (Names::new(), fastrand::Rng::with_seed(1));
        let clients = (0..64).map(|_| client(&names, &mut random)).collect();
        let recorder = store.recorder();
        Self { store, recorder, shipper, names, clients, passed, clock }
    }

    /// Records `count` requests; the most memory meanwhile, in MiB.
    fn pass(&self, count: u64) -> f64 {
        let mut random = fastrand::Rng::new();
        let mut peak = memory();
        for number in 0..count {
            let one = self.clients[random.usize(..self.clients.len())].clone();
            let request = request(one, &mut random);
            // Not faster than they are written: what waits for the store's own writer is memory too.
            while self.recorder.stats().slots_in_use() >= WAITING {
                std::thread::park_timeout(Duration::from_millis(1));
            }
            let slot = self.recorder.reserve().expect("a slot");
            slot.keep(record(&request, &self.names, self.clock.now()), &request.sent());
            self.passed.fetch_add(1_000_000_000 / RATE, Ordering::Relaxed);
            if number % MEASURE_EVERY == 0 {
                peak = peak.max(memory());
            }
        }
        for look in self.shipper.board().look() {
            assert!(look.last_error.is_some() && look.acknowledged_seq == 0, "it is down: {look:?}");
        }
        peak
    }

    fn end(self) {
        self.store.close().expect("closed");
        drop(self.shipper);
    }
}

/// Starts again over the store, as the program does, and brings the sinks back one after the other.
async fn backlog_caught_up(folder: &Path, records: u64) {
    let (clock, syslog) = (Clock::system(), closed_port());
    let store = requests::open(&folder.join("access"), &clock);
    let config = configuration(folder, syslog);
    let mut shipper = Shipper::new(store.feed(), clock, &config);
    shipper.configure(&config);
    let board = shipper.board();
    caught_up(&board, "nas", records, || fs_err::remove_file(folder.join("copy")).expect("removed"));
    let mut server = None;
    caught_up(&board, "syslog", records, || server = Some(Rsyslog::start(folder, syslog)));
    store.close().expect("closed");
    shipper.finish(Duration::from_secs(5)).await;
}

/// Brings a sink back by `up`, and waits until it has every record.
fn caught_up(board: &SinkBoard, name: &str, records: u64, up: impl FnOnce()) {
    let look =
        || -> SinkLook { board.look().into_iter().find(|look| *look.name == *name).expect("it is there") };
    let before = memory();
    up();
    let back = Instant::now();
    let mut peak = before;
    // The first batch comes after a pause of up to a minute, which says nothing of the rate.
    let (mut first, mut start) = (0, back);
    while look().acknowledged_seq < records {
        let now = look();
        if first == 0 && now.acknowledged_seq > 0 {
            (first, start) = (now.acknowledged_seq, Instant::now());
        }
        peak = peak.max(memory());
        assert!(back.elapsed() < PATIENCE, "{now:?}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
    let rate = (records - first) as f64 / start.elapsed().as_secs_f64();
    println!(
        "{name} ({}): {rate:.0} records/s, {:.0} times the ingest rate, {:.1} s after its return; {before:.1} MiB before, \
         at most {peak:.1} MiB meanwhile",
        look().kind,
        rate / RATE as f64,
        back.elapsed().as_secs_f64()
    );
    assert!(peak <= before + MEMORY, "catching up costs memory");
    // Few segments arrive as one.
    assert!(first == records || rate >= 10.0 * RATE as f64, "it catches up too slowly");
}

fn configuration(folder: &Path, syslog: SocketAddr) -> Arc<Config> {
    let text = format!(
        "node: bj-edge-1\nfilings: filings.yaml\nlisteners: [{{name: https, addresses: [\"127.0.0.1:1\"], protocol: https}}]\n\
         sites: []\naccess_log: {{directory: access, reserve: 0, sinks: [{{name: nas, type: directory, path: copy}}, \
         {{name: syslog, type: relp, address: \"{syslog}\"}}]}}\nadmin: {{address: \"127.0.0.1:2\"}}\n"
    );
    let loaded = icpgate::config::parse(&folder.join("icpgate.yaml"), text.as_bytes());
    Arc::new(loaded.value.unwrap_or_else(|| panic!("{:#?}", loaded.problems)))
}

/// An address where nothing listens yet.
fn closed_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port")
}

/// The memory of this process that no file backs, in MiB.
fn memory() -> f64 {
    let status = fs_err::read_to_string("/proc/self/status").expect("read");
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a size");
    line.trim().trim_end_matches(" kB").parse::<f64>().expect("a number") / 1024.0
}

/// rsyslog that accepts records and throws them away.
struct Rsyslog(Child);

impl Rsyslog {
    fn start(folder: &Path, address: SocketAddr) -> Self {
        let (ip, port) = (address.ip(), address.port());
        let configuration = format!(
            "global(maxMessageSize=\"512k\" workDirectory=\"{folder}\")\nmodule(load=\"imrelp\")\n\
             ruleset(name=\"records\" queue.type=\"direct\") {{ action(type=\"omfile\" file=\"/dev/null\") }}\n\
             input(type=\"imrelp\" address=\"{ip}\" port=\"{port}\" maxDataSize=\"512k\" ruleset=\"records\")\n",
            folder = folder.display()
        );
        let (file, pid) = (folder.join("rsyslog.conf"), folder.join("rsyslog.pid"));
        fs_err::write(&file, configuration).expect("written");
        let _ = fs_err::remove_file(&pid);
        let child = Command::new("/usr/sbin/rsyslogd")
            .args(["-n".as_ref(), "-f".as_ref(), file.as_os_str(), "-i".as_ref(), pid.as_os_str()])
            .stdout(Stdio::null())
            .spawn()
            .expect("rsyslog starts; scripts/setup installs it");
        while TcpStream::connect(address).is_err() {
            std::thread::park_timeout(Duration::from_millis(20));
        }
        Self(child)
    }
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
