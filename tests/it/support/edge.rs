//! The real program in a folder of its own, on a loopback address of its own.

mod builder;
mod command;
mod folder;
mod metrics;

use std::os::unix::process::ExitStatusExt as _;
use std::process::Child;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::origin::Origin;
use super::probe::is_refused;
use super::{PATIENCE, eventually};

pub(crate) use builder::Builder;
pub(crate) use command::{Run, icpgate, run, run_within};
pub(crate) use folder::{Folder, Loopback};
pub(crate) use metrics::Metrics;

/// The hosts of the default site.
pub(crate) const HOSTS: [&str; 2] = ["www.example.cn", "example.cn"];
/// An allowlist with the filing of these hosts, approved.
pub(crate) const APPROVED: &str = "filings:\n  - {domain: example.cn, number: 京ICP备2024012345号-1, status: approved, approved_on: 2020-01-02}\n";
/// An allowlist with the filing suspended.
pub(crate) const SUSPENDED: &str = "filings:\n  - {domain: example.cn, number: 京ICP备2024012345号-1, status: suspended, approved_on: 2020-01-02}\n";

/// The running program. It is killed when this is dropped, and its log shown if the test fails.
#[derive(Debug)]
pub(crate) struct Edge {
    folder: Folder,
    child: Child,
    log: Arc<Mutex<String>>,
    reading: Option<std::thread::JoinHandle<()>>,
}

impl std::ops::Deref for Edge {
    type Target = Folder;

    fn deref(&self) -> &Folder {
        &self.folder
    }
}

impl Edge {
    pub(crate) fn builder() -> Builder {
        Builder::new()
    }

    /// The program in front of one origin, with the default configuration.
    pub(crate) async fn in_front_of(origin: &Origin) -> Self {
        Self::builder().origin(origin.address).start().await
    }

    /// Waits until the first snapshot is in use.
    async fn serving(&mut self) {
        eventually("the program serves", PATIENCE, async || {
            let ended = self.child.try_wait().expect("it can be asked");
            assert!(ended.is_none(), "the program ended: {ended:?}");
            let (_, body) = self.get("/status.json").await?;
            let status: Value = serde_json::from_str(&body).expect("JSON");
            (!status["listeners"].as_array()?.is_empty()).then_some(())
        })
        .await;
    }

    /// Starts the program again over the same files, after it has ended.
    pub(crate) async fn restart(&mut self) {
        self.launch_again();
        self.serving().await;
    }

    /// Starts the program again without waiting.
    pub(crate) fn launch_again(&mut self) {
        let (child, log, reading) = self.folder.launch();
        (self.child, self.log, self.reading) = (child, log, Some(reading));
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The program's resident memory, in MiB.
    pub(crate) fn resident(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// The program's memory that no file backs, in MiB.
    pub(crate) fn anonymous(&self) -> u64 {
        self.memory("RssAnon:")
    }

    fn memory(&self, key: &str) -> u64 {
        let status = fs_err::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("a size");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") / 1024
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.group(), signal).expect("the program is there");
    }

    /// The process that was started first, and the group of everything that has replaced it.
    fn group(&self) -> Pid {
        i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process id")
    }

    /// Waits for the process that was started first to end, after others have replaced it; its exit code.
    pub(crate) async fn wait_replaced(&mut self) -> Option<i32> {
        let child = &mut self.child;
        let ended = eventually("the first process ends", PATIENCE, async || {
            child.try_wait().expect("it can be asked")
        });
        ended.await.code()
    }

    /// Waits for the program to end; its exit code, or 128 plus the signal.
    pub(crate) async fn wait_exit(&mut self) -> i32 {
        let child = &mut self.child;
        let status =
            eventually("the program ends", PATIENCE, async || child.try_wait().expect("it can be asked"));
        let status = status.await;
        if let Some(reading) = self.reading.take() {
            // The pipe is closed: the thread reads the rest and ends.
            reading.join().expect("the log is read");
        }
        status.code().or_else(|| status.signal().map(|signal| 128 + signal)).expect("an end")
    }

    /// What the program has written to stderr so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until the program's log holds `text`.
    pub(crate) async fn logged(&self, text: &str) {
        eventually(text, PATIENCE, async || self.log().contains(text).then_some(())).await;
    }

    /// Status and body of an admin page; `None` while the admin port is closed.
    pub(crate) async fn get(&self, path: &str) -> Option<(u16, String)> {
        self.get_as(&self.admin().to_string(), path).await
    }

    /// The same, asked by another host.
    pub(crate) async fn get_as(&self, host: &str, path: &str) -> Option<(u16, String)> {
        let mut socket = TcpStream::connect(self.admin()).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        socket.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.ok()?;
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        Some((status, body.to_owned()))
    }

    /// `/status.json`.
    pub(crate) async fn status(&self) -> Value {
        let (_, body) = self.get("/status.json").await.expect("the admin port is open");
        serde_json::from_str(&body).expect("JSON")
    }

    /// `/metrics`.
    pub(crate) async fn metrics(&self) -> Metrics {
        Metrics(self.get("/metrics").await.expect("the admin port is open").1)
    }

    /// One metric, such as `icpgate_listener_bound{listener="https"}`.
    pub(crate) async fn metric(&self, series: &str) -> f64 {
        self.metrics().await.value(series)
    }

    /// Waits until a metric is `value`.
    pub(crate) async fn metric_becomes(&self, series: &str, value: f64) {
        eventually(&format!("{series} {value}"), PATIENCE, async || {
            let now = self.metric(series).await;
            ((now - value).abs() < 1e-9).then_some(())
        })
        .await;
    }

    /// Waits until `/readyz` answers with `status`.
    pub(crate) async fn readyz_becomes(&self, status: u16) {
        let answer = async || self.get("/readyz").await.filter(|(now, _)| *now == status).map(drop);
        eventually(&format!("/readyz {status}"), PATIENCE, answer).await;
    }

    /// Waits until every address of the TLS and the clear-text listener accepts connections.
    pub(crate) async fn ports_open(&self) {
        eventually("the ports are open", PATIENCE, async || {
            (!is_refused(self.https()).await && !is_refused(self.http()).await).then_some(())
        })
        .await;
    }

    /// Waits until they refuse them.
    pub(crate) async fn ports_closed(&self) {
        eventually("the ports are closed", PATIENCE, async || {
            (is_refused(self.https()).await && is_refused(self.http()).await).then_some(())
        })
        .await;
    }

    /// The access records, oldest first, as `icpgate logs export` prints them.
    pub(crate) async fn records(&self) -> Vec<Value> {
        let directory = self.path("access");
        let run = icpgate(["logs".as_ref(), "export".as_ref(), directory.as_os_str()]).await;
        assert_eq!(run.code, 0, "{run:?}");
        run.stdout.lines().map(|line| serde_json::from_str(line).expect("a record is JSON")).collect()
    }

    /// Waits until `count` records satisfy `wanted`; these records.
    pub(crate) async fn records_where(&self, count: usize, wanted: impl Fn(&Value) -> bool) -> Vec<Value> {
        eventually(&format!("{count} records"), PATIENCE, async || {
            let found: Vec<Value> =
                self.records().await.into_iter().filter(|record| wanted(record)).collect();
            (found.len() >= count).then_some(found)
        })
        .await
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        // The program may have ended already, and so may what has replaced it.
        let _ = kill_process_group(self.group(), Signal::KILL);
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(reading) = self.reading.take() {
            let _ = reading.join();
        }
        if std::thread::panicking() {
            eprintln!("--- the program's log\n{}---", self.log());
        }
    }
}
