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

/// Nothing that is sent to `port` arrives from now on, nor what is sent from there. In a network of the
/// test's own alone.
pub(crate) async fn cut(port: u16) {
    let rules = format!(
        "table inet cut {{\n chain input {{\n  type filter hook input priority 0;\n  tcp dport {port} drop\n  tcp sport {port} drop\n }}\n}}\n"
    );
    let done = run("sh", ["-c", "printf '%s' \"$1\" | nft -f -", "sh", &rules]).await;
    assert_eq!(done.code, 0, "{done:?}");
}
