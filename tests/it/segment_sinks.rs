//! Sinks that hold whole segments, each against a real server: what arrives, what is proved of it, what is promised.

mod anchors;
mod directory;
mod gateway;
pub(crate) mod killed;
pub(crate) mod object_lock;
pub(crate) mod oss;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::Version;
use icpgate::access::record::{AccessRecord, BlockPlace, ConnectionFacts, Event, RequestFacts};
use icpgate::access::request_id::RequestIds;
use icpgate::access::texts::RequestTexts;
use icpgate::clock::Clock;
use icpgate::config::{AccessLog, Config, WhenFull};
use icpgate::retention::{Item, Reader, Selection, Store};
use icpgate::ship::shipper::Shipper;
use icpgate::ship::status::SinkBoard;
use tempfile::TempDir;

use crate::support::edge::{Run, icpgate};
use crate::support::time::pause;

/// Records that most tests ship.
const RECORDS: u64 = 100_000;
/// As many as the recorder has places for at once.
const AT_ONCE: u64 = 20_000;

/// A store with a configuration of its own, and no listener.
pub(crate) struct Spool {
    folder: TempDir,
    store: Option<Store>,
    shipper: Option<Shipper>,
    /// `access_log.reserve`, in bytes.
    reserve: u64,
    /// More keys of `access_log`.
    more: String,
    /// The shipper's.
    clock: Clock,
}

impl Spool {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let clock = Clock::system();
        Self { folder, store: None, shipper: None, reserve: 0, more: String::new(), clock }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes the configuration with these items of `access_log.sinks`.
    pub(crate) fn configure(&self, sinks: &str) -> Arc<Config> {
        let more = &self.more;
        let text = format!(
            "node: test\nfilings: filings.yaml\nlisteners: [{{name: https, addresses: [\"127.0.0.1:1\"], protocol: https}}]\nsites: []\n\
             access_log: {{directory: access, reserve: 0, sinks: [{sinks}]{more}}}\nadmin: {{address: \"127.0.0.1:2\"}}\n"
        );
        let file = self.path("icpgate.yaml");
        fs_err::write(&file, &text).expect("written");
        let loaded = icpgate::config::parse(&file, text.as_bytes());
        Arc::new(loaded.value.unwrap_or_else(|| panic!("{:#?}", loaded.problems)))
    }

    /// Has segments encrypted for this public key.
    fn encrypt_to(&mut self, public: &str) {
        self.more = format!(", encrypt_to: {public}");
    }

    /// Opens the store and ships as `config` says.
    pub(crate) fn start(&mut self, config: &Config) -> SinkBoard {
        let log = AccessLog {
            directory: self.path("access"),
            retention: config.access_log.retention,
            reserve: self.reserve,
            when_full: WhenFull::Refuse,
            redact_query: Vec::new(),
            client_budget: config.access_log.client_budget,
        };
        let store = Store::open(&log, "test".into(), Clock::system()).expect("opened");
        let mut shipper = Shipper::new(store.feed(), self.clock.clone(), config);
        shipper.configure(config);
        let board = shipper.board();
        (self.store, self.shipper) = (Some(store), Some(shipper));
        board
    }

    /// Keeps `count` records.
    pub(crate) async fn record(&self, count: u64) {
        let store = self.store.as_ref().expect("open");
        let (recorder, connection, clock) = (store.recorder(), connection(), Clock::system());
        for number in 0..count {
            while recorder.stats().slots_in_use() as u64 >= AT_ONCE {
                pause(Duration::from_millis(5)).await;
            }
            let path = format!("/{number}/京\"\\");
            let sent = RequestTexts {
                method: b"GET",
                path: path.as_bytes(),
                query: b"a=b",
                referer: b"",
                user_agent: b"test/1.0 (\x7f)",
                is_truncated: false,
            };
            let record = AccessRecord {
                time: clock.now(),
                event: Event::Request,
                reason: None,
                count: 1,
                connection: Arc::clone(&connection),
                generation: 1,
                request_id: Some(connection.ids.next()),
                client: connection.peer,
                host: Some("www.example.cn".into()),
                protocol: Some(Version::HTTP_2),
                request: Some(RequestFacts { status: Some(200), ..RequestFacts::default() }),
                upstream: None,
            };
            recorder.reserve().expect("a slot").keep(record, &sent);
        }
    }

    /// Closes the store in good order, and ships what is left.
    pub(crate) async fn close(&mut self) {
        let store = self.store.take().expect("open");
        tokio::task::spawn_blocking(move || store.close()).await.expect("ended").expect("closed");
        self.shipper.take().expect("open").finish(Duration::from_secs(60)).await;
    }

    async fn logs(&self, command: &str, more: &[&str]) -> Run {
        let config = self.path("icpgate.yaml").display().to_string();
        let words = ["logs", command, "--config", &config].into_iter().chain(more.iter().copied());
        icpgate(words).await
    }

    async fn verify(&self, sink: &str) -> Run {
        self.logs("verify", &["--sink", sink, "--json"]).await
    }
}

/// What a program prints.
async fn run_bytes(program: &str, arguments: &[&str]) -> Vec<u8> {
    let run = tokio::process::Command::new(program).args(arguments).output().await;
    let run = run.unwrap_or_else(|error| panic!("{program} cannot be run: {error}"));
    assert!(run.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&run.stderr));
    run.stdout
}

async fn run(program: &str, arguments: &[&str]) -> String {
    String::from_utf8(run_bytes(program, arguments).await).expect("text")
}

fn connection() -> Arc<ConnectionFacts> {
    let address = |text: &str| text.parse().expect("an address");
    Arc::new(ConnectionFacts {
        id: 1,
        peer: address("198.51.100.7:40000"),
        local: address("203.0.113.10:443"),
        listener: "https".into(),
        server_name: Some("www.example.cn".into()),
        tls_version: Some("TLSv1.3"),
        tls_cipher: None,
        ids: RequestIds::new(),
        place: BlockPlace::default(),
    })
}

/// Every record of a store or of a copy of one, as a line.
pub(crate) fn records(directory: &Path) -> Vec<String> {
    let mut reader = Reader::open(directory, Selection::default()).expect("a store");
    let mut lines = Vec::new();
    while let Some(item) = reader.next_item().expect("read") {
        match item {
            Item::Record(line) => lines.push(String::from_utf8(line.to_vec()).expect("UTF-8")),
            other => panic!("{other:?}"),
        }
    }
    lines
}
