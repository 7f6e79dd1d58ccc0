//! The process on the status page: which one it is, and what became of its upgrades.

use serde_json::{Value, json};

/// The upgrades that this process has tried.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct UpgradeStatus {
    /// How many have begun.
    pub begun: u64,
    /// Whether one is under way.
    pub under_way: bool,
    /// Why the last one failed.
    pub failure: Option<String>,
}

pub(super) fn status(upgrades: &UpgradeStatus) -> Value {
    let pid = std::process::id();
    json!({
        "pid": pid,
        "started": started(pid),
        "version": env!("CARGO_PKG_VERSION"),
        "upgrades": {
            "begun": upgrades.begun,
            "under_way": upgrades.under_way,
            "failure": upgrades.failure,
        },
    })
}

/// When a process was started, in clock ticks since the system booted; `None` if there is none. No two processes
/// have both this and their id in common, whichever container they are in.
pub fn started(pid: u32) -> Option<u64> {
    let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // proc_pid_stat(5): field 22. The name, field 2, is in parentheses and may hold anything.
    let (_, after_name) = stat.rsplit_once(") ")?;
    after_name.split(' ').nth(22 - 3)?.parse().ok()
}
