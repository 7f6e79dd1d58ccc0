//! A test in a network namespace of its own, where it may drop packets.
//!
//! The test runs itself again in a new namespace that has only a loopback interface.

use std::process::Stdio;

use super::edge::run;
use super::machine::{Need, require};

const INSIDE: &str = "ICPGATE_TEST_NETWORK";

/// Where a test runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Network {
    /// In its own network: the test goes on.
    Own,
    /// In the machine's network. The test has passed in its own network.
    Passed,
}

/// Runs the test called `name` in a network of its own, unless it is there already.
pub(crate) async fn network(name: &str) -> Network {
    if std::env::var_os(INSIDE).is_some() {
        return Network::Own;
    }
    require([Need::Network]).await;
    let test = std::env::current_exe().expect("this program");
    let command = format!("ip link set lo up && exec {test:?} --exact {name} --nocapture");
    let ran = tokio::process::Command::new("unshare")
        .args(["--net", "--map-root-user", "sh", "-c", &command])
        .env(INSIDE, "1")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .expect("unshare ran a moment ago");
    let output = [ran.stdout, ran.stderr].concat();
    let output = String::from_utf8_lossy(&output);
    println!("{output}");
    assert!(ran.status.success() && output.contains("1 passed"), "{name} failed in a network of its own");
    Network::Passed
}

/// What happens to TCP segments to and from a port. Only in the test's own network.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trouble {
    /// All are dropped.
    Cut,
    /// This many of a hundred are dropped.
    Loses(u32),
    /// Each is answered with RST.
    Resets,
}

impl Trouble {
    /// Replaces the previous trouble.
    pub(crate) async fn befalls(self, port: u16) {
        let verdict = match self {
            Self::Cut => "drop".to_owned(),
            Self::Loses(percent) => format!("numgen random mod 100 < {percent} drop"),
            Self::Resets => "reject with tcp reset".to_owned(),
        };
        rules(&format!(
            "table inet trouble {{\n chain input {{\n  type filter hook input priority 0;\n  \
             tcp dport {port} {verdict}\n  tcp sport {port} {verdict}\n }}\n}}\n"
        ))
        .await;
    }
}

/// Everything arrives again.
pub(crate) async fn heals() {
    rules("").await;
}

async fn rules(rules: &str) {
    let script = "printf 'flush ruleset\n%s' \"$1\" | PATH=$PATH:/usr/sbin nft -f -";
    let done = run("sh", ["-c", script, "sh", rules]).await;
    assert_eq!(done.code, 0, "{done:?}");
}
