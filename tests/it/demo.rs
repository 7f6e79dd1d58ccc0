//! `icpgate demo`: the printed commands work as printed.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::support::edge::{Loopback, Run, run};
use crate::support::probe::is_refused;
use crate::support::time::within;
use crate::support::{PATIENCE, eventually};

/// The first segment is sealed after 30 s.
const FIRST_SEGMENT: Duration = Duration::from_secs(60);

/// The running demonstration.
struct Demo {
    child: Child,
    loopback: Loopback,
    /// What it printed, line by line.
    guide: Vec<String>,
    allowlist: PathBuf,
}

impl Demo {
    async fn start() -> Self {
        let loopback = Loopback::claim();
        let mut child = Command::new(env!("CARGO_BIN_EXE_icpgate"))
            .arg("demo")
            .args(["--listen", &loopback.at(8443).to_string()])
            .args(["--http", &loopback.at(8080).to_string()])
            .args(["--admin", &loopback.at(9180).to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut guide = Vec::new();
        let allowlist = loop {
            let line = within("the guide", lines.next_line()).await.unwrap().expect("the whole guide");
            let allowlist = line
                .split(' ')
                .find(|word| line.starts_with("The allowlist is ") && word.contains("filings.yaml"));
            let allowlist = allowlist.map(|word| PathBuf::from(word.trim_end_matches([':', '.'])));
            guide.push(line);
            if let Some(allowlist) = allowlist {
                break allowlist;
            }
        };
        let demo = Self { child, loopback, guide, allowlist };
        eventually("the ports are open", PATIENCE, async || {
            (!is_refused(demo.loopback.at(8443)).await && !is_refused(demo.loopback.at(8080)).await)
                .then_some(())
        })
        .await;
        demo
    }

    /// Runs each printed line that holds all of `words`, as typed into a shell.
    async fn typed(&self, words: &[&str]) -> Run {
        let line = self
            .guide
            .iter()
            .find(|line| !line.starts_with('#') && words.iter().all(|word| line.contains(word)));
        let line = line.unwrap_or_else(|| panic!("no line with {words:?} in {:#?}", self.guide));
        run("sh", ["-c", line]).await
    }

    fn folder(&self) -> &Path {
        self.allowlist.parent().unwrap()
    }
}

#[tokio::test]
async fn every_printed_command_does_what_the_guide_says() {
    let mut demo = Demo::start().await;
    let page = demo.typed(&["curl", "https://www.example.cn:8443/"]).await;
    assert_eq!(page.code, 0, "{page:?}");
    assert!(
        page.stdout.contains("https://beian.miit.gov.cn/") && page.stdout.contains("京ICP备2024012345号-1"),
        "{page:?}"
    );
    assert!(page.stdout.find("京ICP备").unwrap() < page.stdout.find("</body>").unwrap());
    assert_eq!(demo.typed(&["curl", "http_version"]).await.stdout.trim(), "2 200");
    assert!(demo.typed(&["curl", "/pay"]).await.stdout.contains("offshore"));
    let kept = demo.typed(&["curl", "cache-status"]).await;
    assert_eq!(kept.stdout.lines().collect::<Vec<_>>(), ["icpgate; fwd=uri-miss; stored", "icpgate; hit"]);
    let redirect = demo.typed(&["curl", "http://www.example.cn:8080/a?b=c"]).await;
    assert!(
        redirect.stdout.starts_with("HTTP/1.1 308") && redirect.stdout.contains("https://www.example.cn"),
        "{redirect:?}"
    );
    // curl's exit code 35: the handshake failed.
    assert_eq!(demo.typed(&["curl", "https://www.example.net:8443/"]).await.code, 35);
    assert_eq!(demo.typed(&["curl", "--insecure"]).await.code, 35);
    assert!(demo.typed(&["curl", "-H 'host: www.example.net'"]).await.stdout.contains("421"));
    let explained = demo.typed(&["explain", "www.example.net"]).await;
    assert!(explained.code == 1 && explained.stdout.contains("not_filed"), "{explained:?}");
    let exported = demo.typed(&["logs export"]).await;
    assert!(
        exported.stdout.contains("\"not_filed\"") && exported.stdout.contains("\"/pay\""),
        "{exported:?}"
    );
    let verified = demo.typed(&["logs verify"]).await;
    assert_eq!(verified.code, 0, "{verified:?}");
    let sinks = demo.typed(&["logs sinks"]).await;
    assert!(sinks.code == 0 && sinks.stdout.contains("audit"), "{sinks:?}");
    let audited = demo.typed(&["doctor --offline"]).await;
    assert!(audited.code == 0 && audited.stdout.contains("held by the running icpgate"), "{audited:?}");
    let status = demo.typed(&["curl", "status.json"]).await;
    assert!(serde_json::from_str::<serde_json::Value>(&status.stdout).unwrap()["ready"] == true);

    assert_eq!(demo.typed(&["sed", "approved/status: suspended/"]).await.code, 0);
    eventually("the ports are closed", PATIENCE, async || {
        (is_refused(demo.loopback.at(8443)).await && is_refused(demo.loopback.at(8080)).await).then_some(())
    })
    .await;
    // curl's exit code 7: connection refused.
    assert_eq!(demo.typed(&["curl", "https://www.example.cn:8443/"]).await.code, 7);
    assert_eq!(demo.typed(&["sed", "suspended/status: approved/"]).await.code, 0);
    eventually("the port is open", PATIENCE, async || {
        (!is_refused(demo.loopback.at(8443)).await).then_some(())
    })
    .await;
    assert_eq!(demo.typed(&["curl", "https://www.example.cn:8443/"]).await.code, 0);

    let folder = demo.folder().to_owned();
    eventually("the first segment is shipped", FIRST_SEGMENT, async || {
        let mut shipped = fs_err::read_dir(folder.join("audit")).ok()?;
        shipped
            .any(|entry| entry.is_ok_and(|entry| entry.path().extension().is_some_and(|end| end == "seg")))
            .then_some(())
    })
    .await;
    let verified = demo.typed(&["logs verify", "--sink audit"]).await;
    assert!(verified.code == 0 && !verified.stdout.contains("intact: 0 records"), "{verified:?}");

    assert!(folder.is_dir());
    let pid = Pid::from_raw(demo.child.id().unwrap().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::TERM).unwrap();
    assert_eq!(within("its end", demo.child.wait()).await.unwrap().code(), Some(0));
    assert!(!folder.exists(), "{} is left behind", folder.display());
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let loopback = Loopback::claim();
    let _taken = tokio::net::TcpListener::bind(loopback.at(8443)).await.unwrap();
    let address = loopback.at(8443).to_string();
    let words = [
        "demo",
        "--listen",
        &address,
        "--http",
        &loopback.at(8080).to_string(),
        "--admin",
        &loopback.at(9180).to_string(),
    ];
    let run = crate::support::edge::icpgate(words).await;
    assert!(run.code == 2 && run.stderr.contains(&address) && run.stderr.contains("--listen"), "{run:?}");
}
