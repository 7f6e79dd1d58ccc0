//! The process on the status page: which one it is, and what became of its upgrades.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

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
        "program_replaced": is_replaced(),
        "upgrades": {
            "begun": upgrades.begun,
            "under_way": upgrades.under_way,
            "failure": upgrades.failure,
        },
    })
}

/// The program on disk: as it was called, so that a replaced file or link is followed. Called by a bare name, the
/// path that the system knows, where another file may stand by now.
pub fn program() -> PathBuf {
    let called = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    if called.components().count() > 1 {
        return called;
    }
    let known = std::env::current_exe().unwrap_or(called);
    let text = known.to_string_lossy();
    text.strip_suffix(" (deleted)").map_or_else(|| known.clone(), PathBuf::from)
}

/// Whether the program on disk is another file than the one that runs. If there is none, there is none to upgrade to.
fn is_replaced() -> bool {
    let file = |path: &Path| fs_err::metadata(path).ok().map(|file| (file.dev(), file.ino()));
    let on_disk = file(&program());
    on_disk.is_some() && on_disk != file(Path::new("/proc/self/exe"))
}

/// When a process was started, in clock ticks since the system booted; `None` if there is none. No two processes
/// have both this and their id in common, whichever container they are in.
pub fn started(pid: u32) -> Option<u64> {
    let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // proc_pid_stat(5): field 22. The name, field 2, is in parentheses and may hold anything.
    let (_, after_name) = stat.rsplit_once(") ")?;
    after_name.split(' ').nth(22 - 3)?.parse().ok()
}
