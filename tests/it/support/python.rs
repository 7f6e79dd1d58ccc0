//! Peers in Python, with the libraries of `scripts/requirements.txt`.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::edge::{Run, run_within};
use super::time::{PATIENCE, within};

/// The Python interpreter with the libraries.
fn interpreter() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target folder").to_owned();
    let python = target.join("python/bin/python");
    assert!(python.exists(), "there is no {}; run scripts/python, as `make test` does", python.display());
    python
}

/// A file of a package of `scripts/requirements.txt`.
pub(crate) fn package_file(name: &str) -> PathBuf {
    let libraries = interpreter().parent().expect("bin").with_file_name("lib");
    let python =
        fs_err::read_dir(&libraries).expect("a folder").next().expect("one version").expect("an entry");
    let file = python.path().join("site-packages").join(name);
    assert!(file.exists(), "there is no {}; run scripts/python, as `make test` does", file.display());
    file
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/python").join(name)
}

/// A server in Python. It ends on drop.
#[derive(Debug)]
pub(crate) struct PythonServer {
    pub(crate) port: u16,
    child: Child,
}

impl PythonServer {
    /// Starts `NAME server`, which prints its port.
    pub(crate) async fn start(name: &str) -> Self {
        Self::start_with(name, &[]).await
    }

    /// The same with `words` behind it.
    pub(crate) async fn start_with(name: &str, words: &[&str]) -> Self {
        let mut child = Command::new(interpreter())
            .arg(script(name))
            .arg("server")
            .args(words)
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("Python starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let line = within("the server's port", lines.next_line()).await.expect("a line").expect("a port");
        Self { port: line.trim().parse().expect("a port"), child }
    }
}

impl PythonServer {
    /// Ends it at once, as `kill -9` does, and waits until it is gone.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.expect("it runs");
    }
}

/// What `NAME PART` prints with `words`.
#[track_caller]
pub(crate) fn output(name: &str, part: &str, words: &[&str]) -> impl Future<Output = String> {
    output_within(PATIENCE, name, part, words)
}

/// The same for a script that takes long, such as one that drives a browser.
#[track_caller]
pub(crate) fn output_within(
    limit: Duration,
    name: &str,
    part: &str,
    words: &[&str],
) -> impl Future<Output = String> {
    let mut all = vec![script(name).display().to_string(), part.to_owned()];
    all.extend(words.iter().map(|word| (*word).to_owned()));
    async move {
        let Run { code, stdout, stderr } = run_within(limit, &interpreter().display().to_string(), all).await;
        assert!(code == 0, "{stdout}\n{stderr}");
        stdout
    }
}

/// Runs `NAME client` with `words`, and expects it to say that all is well.
#[track_caller]
pub(crate) fn client(name: &str, words: &[&str]) -> impl Future<Output = ()> {
    part(name, "client", words)
}

/// The same for another part of it.
#[track_caller]
pub(crate) fn part(name: &str, part: &str, words: &[&str]) -> impl Future<Output = ()> {
    let printed = output(name, part, words);
    async move {
        let printed = printed.await;
        assert!(printed.contains("all is well"), "{printed}");
    }
}
