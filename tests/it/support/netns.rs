//! A test in a network of its own, where what it does to packets concerns nobody else.
//!
//! The test runs itself again, alone, in a new namespace that has nothing but its own loopback interface.

use std::process::Stdio;

use super::edge::run;

const INSIDE: &str = "ICPGATE_TEST_NETWORK";

/// Where a test finds itself.
#[derive(Debug)]
pub(crate) enum Network {
    /// In a network of its own.
    Own,
    /// In everybody's; it has run in one of its own, and passed.
    Passed,
    /// In everybody's, since this machine allows no other, for this reason.
    Shared(String),
}

/// Runs the test called `name` in a network of its own, unless it is there already.
pub(crate) async fn network(name: &str) -> Network {
    if std::env::var_os(INSIDE).is_some() {
        return Network::Own;
    }
    let namespace = |command: &str| {
        let mut unshare = tokio::process::Command::new("unshare");
        unshare
            .args(["--net", "--map-root-user", "sh", "-c", command])
            .stdin(Stdio::null())
            .kill_on_drop(true);
        unshare
    };
    // Whatever is missing is missing before the test begins.
    let setup = "ip link set lo up && nft list tables";
    match namespace(setup).output().await {
        Ok(tried) if tried.status.success() => {}
        Ok(tried) => return Network::Shared(String::from_utf8_lossy(&tried.stderr).trim().to_owned()),
        Err(error) => return Network::Shared(error.to_string()),
    }
    let own = std::env::current_exe().expect("this program");
    let command = format!("ip link set lo up && exec {own:?} --exact {name} --nocapture");
    let ran = namespace(&command).env(INSIDE, "1").output().await.expect("it ran a moment ago");
    let told = [ran.stdout, ran.stderr].concat();
    let told = String::from_utf8_lossy(&told);
    println!("{told}");
    assert!(ran.status.success() && told.contains("1 passed"), "it failed in a network of its own");
    Network::Passed
}

/// What happens to segments on their way to a port, and back. In a network of the test's own alone.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Trouble {
    /// None arrives.
    Cut,
    /// So many of a hundred do not arrive.
    Loses(u32),
    /// Whoever sends one is reset.
    Resets,
}

impl Trouble {
    /// From now on, in place of what was before.
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
    let script = "printf 'flush ruleset\n%s' \"$1\" | nft -f -";
    let done = run("sh", ["-c", script, "sh", rules]).await;
    assert_eq!(done.code, 0, "{done:?}");
}
