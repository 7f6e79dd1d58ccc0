//! The files of one program, and the address that it has to itself.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tempfile::TempDir;

use super::{Builder, Edge, Run, icpgate};
use crate::support::pki::Authority;
use crate::support::time::pause;

/// A loopback address that no other test uses, in this process or another, until it is dropped.
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
            // Derived from the process id to avoid clashes; the bound UDP port is the lock.
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

/// The files of one program.
#[derive(Debug)]
pub(crate) struct Folder {
    pub(super) directory: TempDir,
    pub(super) loopback: Loopback,
    /// The authority in `ca.pem`, which issued `site.pem`.
    pub(crate) authority: Authority,
    pub(super) builder: Builder,
}

impl Folder {
    /// The path of a file in the folder.
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

    /// Another port of the edge's loopback address, for a peer program.
    pub(crate) fn beside(&self, port: u16) -> SocketAddr {
        self.loopback.at(port)
    }

    pub(crate) fn admin(&self) -> SocketAddr {
        self.loopback.at(9180)
    }

    /// Adds an environment variable of the program.
    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.builder = self.builder.env(name, value);
        self
    }

    /// `yaml` with `$HTTPS` and the other variables replaced.
    pub(crate) fn filled(&self, yaml: &str) -> String {
        yaml.replace("$HTTPS", &self.https().to_string())
            .replace("$HTTP", &self.http().to_string())
            .replace("$ADMIN", &self.admin().to_string())
            .replace("$ORIGIN", &self.builder.origin.to_string())
            .replace("$IP", &self.ip().to_string())
    }

    /// The configuration as built, with the variables replaced.
    pub(crate) fn configuration(&self) -> String {
        self.filled(&self.builder.yaml())
    }

    /// Replaces a file by rename.
    pub(crate) fn replace(&self, name: &str, text: impl AsRef<[u8]>) {
        let aside = self.path(&format!("{name}.new"));
        fs_err::write(&aside, text).expect("written");
        fs_err::rename(aside, self.path(name)).expect("renamed");
    }

    /// Overwrites a file in place.
    pub(crate) fn overwrite(&self, name: &str, text: impl AsRef<[u8]>) {
        fs_err::write(self.path(name), text).expect("written");
    }

    /// Overwrites a file in place, in pieces with a pause after each.
    pub(crate) async fn overwrite_slowly(&self, name: &str, text: &str, pieces: usize, wait: Duration) {
        use std::io::Write as _;
        let mut file = fs_err::File::create(self.path(name)).expect("created");
        for piece in text.as_bytes().chunks(text.len().div_ceil(pieces)) {
            file.write_all(piece).expect("written");
            pause(wait).await;
        }
    }

    /// Publishes `files` in `folder` as Kubernetes mounts a ConfigMap: each name is a link into
    /// `..data`, which is itself a link that is replaced by rename.
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

    /// Starts the program without waiting.
    pub(crate) fn spawn(self) -> Edge {
        let (child, log, reading) = self.launch();
        Edge { folder: self, child, log, reading: Some(reading) }
    }

    /// Puts a link to the program into the folder, from which it is then started. An upgrade starts what stands there.
    pub(crate) fn install(&self) {
        let aside = self.path("icpgate.new");
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_icpgate"), &aside).expect("linked");
        fs_err::rename(aside, self.path("icpgate")).expect("renamed");
    }

    /// Puts a copy of the program in the place of the installed one: another file.
    pub(crate) fn install_copy(&self) {
        let aside = self.path("icpgate.new");
        fs_err::copy(env!("CARGO_BIN_EXE_icpgate"), &aside).expect("copied");
        fs_err::rename(aside, self.path("icpgate")).expect("renamed");
    }

    /// Puts another program in the place of the installed one.
    pub(crate) fn install_script(&self, text: &str, mode: u32) {
        use std::os::unix::fs::PermissionsExt as _;
        let aside = self.path("icpgate.new");
        fs_err::write(&aside, text).expect("written");
        fs_err::set_permissions(&aside, std::fs::Permissions::from_mode(mode)).expect("set");
        fs_err::rename(aside, self.path("icpgate")).expect("renamed");
    }

    fn program(&self) -> String {
        let installed = self.path("icpgate");
        let built = env!("CARGO_BIN_EXE_icpgate").to_owned();
        if installed.exists() { installed.display().to_string() } else { built }
    }

    /// The process, its stderr so far, and the thread that reads stderr.
    pub(super) fn launch(&self) -> (Child, Arc<Mutex<String>>, std::thread::JoinHandle<()>) {
        let mut words = self.builder.wrapper.clone();
        words.extend([self.program(), "run".to_owned(), "--config".to_owned()]);
        let mut child = Command::new(&words[0])
            .args(&words[1..])
            .arg(self.config_path())
            .envs(self.builder.environment.iter().cloned())
            // A group of their own for the program and what replaces it, which is killed with it.
            .process_group(0)
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

    /// Starts the program, and waits until its first snapshot is in use.
    pub(crate) async fn start(self) -> Edge {
        let mut edge = self.spawn();
        edge.serving().await;
        edge
    }
}
