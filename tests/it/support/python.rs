//! Peers in Python, with the libraries of `scripts/requirements.txt`.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::client::within;
use super::edge::{Run, run};

/// The interpreter that has the libraries.
fn interpreter() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("the target folder").to_owned();
    let python = target.join("python/bin/python");
    assert!(python.exists(), "there is no {}; run scripts/python, as `make test` does", python.display());
    python
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/python").join(name)
}

/// A server in Python, which ends with this.
#[derive(Debug)]
pub(crate) struct PythonServer {
    pub(crate) port: u16,
    _child: Child,
}

impl PythonServer {
    /// Starts `NAME server`, which prints its port.
    pub(crate) async fn start(name: &str) -> Self {
        let mut child = Command::new(interpreter())
            .arg(script(name))
            .arg("server")
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("Python starts");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let line = within("the server's port", lines.next_line()).await.expect("a line").expect("a port");
        Self { port: line.trim().parse().expect("a port"), _child: child }
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
    let mut all = vec![script(name).display().to_string(), part.to_owned()];
    all.extend(words.iter().map(|word| (*word).to_owned()));
    async move {
        let python = interpreter().display().to_string();
        let Run { code, stdout, stderr } = run(&python, all).await;
        assert!(code == 0 && stdout.contains("all is well"), "{stdout}\n{stderr}");
    }
}
