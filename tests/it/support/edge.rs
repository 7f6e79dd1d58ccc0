//! The real program in a folder of its own, on a loopback address of its own.

mod builder;
mod command;
mod metrics;

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::pki::Authority;
use super::probe::is_refused;
use super::{PATIENCE, eventually};

pub(crate) use builder::Builder;
pub(crate) use command::{Run, icpgate, run};
pub(crate) use metrics::Metrics;

/// The hosts that the site of the default configuration serves.
pub(crate) const HOSTS: [&str; 2] = ["www.example.cn", "example.cn"];
/// The filing of these hosts, approved.
pub(crate) const APPROVED: &str = "filings:\n  - {domain: example.cn, number: 京ICP备2024012345号-1, status: approved, approved_on: 2020-01-02}\n";
/// The same, taken back.
pub(crate) const SUSPENDED: &str = "filings:\n  - {domain: example.cn, number: 京ICP备2024012345号-1, status: suspended, approved_on: 2020-01-02}\n";

/// A loopback address that nobody else uses, in this process or another, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Loopback {
    pub(crate) ip: IpAddr,
    _lock: UdpSocket,
}

impl Loopback {
    pub(crate) fn claim() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        const LOCK_PORT: u16 = 65_000;
        loop {
            // Apart from other processes at first sight; the lock is what makes it certain.
            let count = std::process::id().wrapping_mul(64) + NEXT.fetch_add(1, Ordering::Relaxed);
            let [_, a, b, c] = count.to_be_bytes();
            let ip = IpAddr::from(Ipv4Addr::new(127, a.clamp(1, 254), b, c.clamp(1, 254)));
            if let Ok(lock) = UdpSocket::bind((ip, LOCK_PORT)) {
                return Self { ip, _lock: lock };
            }
        }
    }

    pub(crate) fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.ip, port)
    }
}

/// The files that the program is started with.
#[derive(Debug)]
pub(crate) struct Folder {
    directory: TempDir,
    loopback: Loopback,
    /// Issued `site.pem`, and is `ca.pem`.
    pub(crate) authority: Authority,
    builder: Builder,
}

impl Folder {
    /// A file of the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn config_path(&self) -> PathBuf {
        self.path("icpgate.yaml")
    }

    pub(crate) fn ip(&self) -> IpAddr {
        self.loopback.ip
    }

    pub(crate) fn https(&self) -> SocketAddr {
        self.loopback.at(8443)
    }

    pub(crate) fn http(&self) -> SocketAddr {
        self.loopback.at(8080)
    }

    /// Another port of the edge's own address, for whoever works with it.
    pub(crate) fn beside(&self, port: u16) -> SocketAddr {
        self.loopback.at(port)
    }

    pub(crate) fn admin(&self) -> SocketAddr {
        self.loopback.at(9180)
    }

    /// One more variable of the program's environment.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.builder = self.builder.env(name, value);
        self
    }

    /// `yaml` with the addresses filled in.
    pub(crate) fn filled(&self, yaml: &str) -> String {
        yaml.replace("$HTTPS", &self.https().to_string())
            .replace("$HTTP", &self.http().to_string())
            .replace("$ADMIN", &self.admin().to_string())
            .replace("$ORIGIN", &self.builder.origin.to_string())
            .replace("$IP", &self.ip().to_string())
    }

    /// The configuration as it was built, with the addresses filled in.
    pub(crate) fn configuration(&self) -> String {
        self.filled(&self.builder.yaml())
    }

    /// Replaces a file by a rename.
    pub(crate) fn replace(&self, name: &str, text: impl AsRef<[u8]>) {
        let aside = self.path(&format!("{name}.new"));
        fs_err::write(&aside, text).expect("written");
        fs_err::rename(aside, self.path(name)).expect("renamed");
    }

    /// Writes a file where it stands.
    pub(crate) fn overwrite(&self, name: &str, text: impl AsRef<[u8]>) {
        fs_err::write(self.path(name), text).expect("written");
    }

    /// Writes a file where it stands, in pieces with a pause after each.
    pub(crate) async fn overwrite_slowly(&self, name: &str, text: &str, pieces: usize, pause: Duration) {
        use std::io::Write as _;
        let mut file = fs_err::File::create(self.path(name)).expect("created");
        for piece in text.as_bytes().chunks(text.len().div_ceil(pieces)) {
            file.write_all(piece).expect("written");
            tokio::time::sleep(pause).await;
        }
    }

    /// Makes `folder/NAME` show `files` as Kubernetes mounts a ConfigMap: each name is a link into
    /// `..data`, which is itself a link that is replaced by a rename.
    pub(crate) fn publish(&self, folder: &str, files: &[(&str, &str)]) {
        use std::os::unix::fs::symlink;
        static VERSION: AtomicU32 = AtomicU32::new(0);
        let mount = self.path(folder);
        let version = format!("..version_{}", VERSION.fetch_add(1, Ordering::Relaxed));
        fs_err::create_dir_all(mount.join(&version)).expect("a folder");
        for (name, text) in files {
            fs_err::write(mount.join(&version).join(name), text).expect("written");
        }
        let before = fs_err::read_link(mount.join("..data")).ok();
        symlink(&version, mount.join("..data_tmp")).expect("linked");
        fs_err::rename(mount.join("..data_tmp"), mount.join("..data")).expect("renamed");
        for (name, _) in files {
            if !mount.join(name).is_symlink() {
                symlink(Path::new("..data").join(name), mount.join(name)).expect("linked");
            }
        }
        if let Some(before) = before {
            fs_err::remove_dir_all(mount.join(before)).expect("removed");
        }
    }

    /// `icpgate check` with `more` arguments.
    pub(crate) async fn check(&self, more: &[&str]) -> Run {
        self.ask("check", more).await
    }

    /// `icpgate explain` with `more` arguments.
    pub(crate) async fn explain(&self, more: &[&str]) -> Run {
        self.ask("explain", more).await
    }

    /// A command of the program with this configuration and `more` arguments.
    pub(crate) async fn ask(&self, command: &str, more: &[&str]) -> Run {
        let config = self.config_path();
        let mut words: Vec<&OsStr> = vec![command.as_ref(), "--config".as_ref(), config.as_ref()];
        words.extend(more.iter().map(OsStr::new));
        icpgate(words).await
    }

    /// Starts the program, and waits for nothing.
    pub(crate) fn spawn(self) -> Edge {
        let (child, log, reading) = self.launch();
        Edge { folder: self, child, log, reading: Some(reading) }
    }

    /// The process, what it writes to stderr, and the thread that reads it.
    fn launch(&self) -> (Child, Arc<Mutex<String>>, std::thread::JoinHandle<()>) {
        let mut words = self.builder.wrapper.clone();
        words.extend([env!("CARGO_BIN_EXE_icpgate").to_owned(), "run".to_owned(), "--config".to_owned()]);
        let mut child = Command::new(&words[0])
            .args(&words[1..])
            .arg(self.config_path())
            .envs(self.builder.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::inherit())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let log = Arc::new(Mutex::new(String::new()));
        let (written, stderr) = (Arc::clone(&log), child.stderr.take().expect("stderr is piped"));
        let reading = std::thread::spawn(move || {
            for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
                let mut log = written.lock().unwrap_or_else(PoisonError::into_inner);
                log.push_str(&String::from_utf8_lossy(&line));
                log.push('\n');
            }
        });
        (child, log, reading)
    }

    /// Starts the program, and waits until it has bound what it may.
    pub(crate) async fn start(self) -> Edge {
        let mut edge = self.spawn();
        edge.serving().await;
        edge
    }
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

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

    /// Waits until the program has bound what it may.
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

    /// Starts the program again over the same files, once it has ended.
    pub(crate) async fn restart(&mut self) {
        self.launch_again();
        self.serving().await;
    }

    /// The same, whatever becomes of it.
    pub(crate) fn launch_again(&mut self) {
        let (child, log, reading) = self.folder.launch();
        (self.child, self.log, self.reading) = (child, log, Some(reading));
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The memory that the program holds, in MiB.
    pub(crate) fn resident(&self) -> u64 {
        let status = fs_err::read_to_string(format!("/proc/{}/status", self.pid())).expect("it runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
        line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number") / 1024
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).expect("the program is there");
    }

    /// Waits for the program to end; the code that it exits with, or 128 and the signal that ended it.
    pub(crate) async fn wait_exit(&mut self) -> i32 {
        let child = &mut self.child;
        let status =
            eventually("the program ends", PATIENCE, async || child.try_wait().expect("it can be asked"));
        let status = status.await;
        if let Some(reading) = self.reading.take() {
            // Its end of the pipe is closed: what it wrote has been read, or is about to be.
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

    /// An admin page: its status and its body; nothing while the admin port is closed.
    pub(crate) async fn get(&self, path: &str) -> Option<(u16, String)> {
        let mut socket = TcpStream::connect(self.admin()).await.ok()?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n");
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

    /// Waits until `/readyz` answers with `status`: what it says follows the ports.
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

    /// The access records of now, oldest first, as `icpgate logs export` prints them.
    pub(crate) async fn records(&self) -> Vec<Value> {
        let directory = self.path("access");
        let run = icpgate(["logs".as_ref(), "export".as_ref(), directory.as_os_str()]).await;
        assert_eq!(run.code, 0, "{run:?}");
        run.stdout.lines().map(|line| serde_json::from_str(line).expect("a record is JSON")).collect()
    }

    /// Waits until `count` records satisfy `wanted`, and gives these.
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
        // It may have ended already.
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
