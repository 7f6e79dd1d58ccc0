//! What a test needs of the machine. A test without it fails and names the package to install.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use super::edge::{Run, run};

/// A tool that `scripts/setup` installs, or a permission that a machine may refuse.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Need {
    /// Builds the second reader of the record store.
    Go,
    /// The reference implementation of Merkle tree proofs, in Go.
    GoTlog,
    /// Decompresses for the second reader.
    Zstd,
    /// Makes system calls of the program fail.
    Strace,
    /// A network namespace with firewall rules of its own.
    Network,
    /// Makes an ext4 file system.
    Mkfs,
}

impl Need {
    /// A command that succeeds if the need is met.
    fn trial(self) -> &'static str {
        match self {
            Self::Go => "go version",
            Self::GoTlog => "ls /usr/share/gocode/src/golang.org/x/mod/sumdb/tlog",
            Self::Zstd => "zstd --version",
            Self::Strace => "strace -D -o /dev/null true",
            Self::Network => {
                "unshare --net --map-root-user sh -c 'ip link set lo up && PATH=$PATH:/usr/sbin nft list tables'"
            }
            Self::Mkfs => "PATH=$PATH:/usr/sbin mkfs.ext4 -V",
        }
    }

    /// The Debian package, and settings that may forbid it.
    fn remedy(self) -> &'static str {
        match self {
            Self::Go => "install the package golang-go",
            Self::GoTlog => "install the package golang-golang-x-mod-dev",
            Self::Zstd => "install the package zstd",
            Self::Strace => "install the package strace, and permit ptrace (sysctl kernel.yama.ptrace_scope)",
            Self::Network => {
                "install the packages util-linux, iproute2 and nftables, and permit user namespaces \
                 (sysctl kernel.apparmor_restrict_unprivileged_userns, user.max_user_namespaces)"
            }
            Self::Mkfs => "install the package e2fsprogs",
        }
    }
}

/// Fails the test if the machine lacks one of `needs`.
#[track_caller]
pub(crate) fn require<const COUNT: usize>(needs: [Need; COUNT]) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        for need in needs {
            let Run { code, stdout, stderr } = run("sh", ["-c", need.trial()]).await;
            assert!(
                code == 0,
                "{caller}: this test needs {need:?}, and `{}` failed: {}{}\n{} (scripts/setup does so)",
                need.trial(),
                stdout.trim(),
                stderr.trim(),
                need.remedy()
            );
        }
    }
}

/// A mounted file system. It is unmounted on drop.
#[derive(Debug)]
pub(crate) struct Mounted(PathBuf);

impl Mounted {
    /// Mounts at the folder `at`, which is made if it is missing. Needs root, or sudo without a password.
    pub(crate) async fn at(at: &Path, options: &[&str]) -> Self {
        if !at.exists() {
            fs_err::create_dir(at).expect("a folder");
        }
        let options = options.iter().map(|option| (*option).to_owned());
        mount(options.chain([at.display().to_string()])).await;
        let mounted = Self(at.to_owned());
        mounted.belongs_to_this_user().await;
        mounted
    }

    /// Changes the options of the mount, such as `remount,ro`.
    pub(crate) async fn change(&self, options: &str) {
        mount(["-o".to_owned(), options.to_owned(), self.0.display().to_string()]).await;
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Gives the new file system, which belongs to root, to this user.
    async fn belongs_to_this_user(&self) {
        let user = rustix::process::getuid();
        if !user.is_root() {
            let owner = user.as_raw().to_string();
            let changed = run("sudo", ["-n", "chown", &owner, &self.0.display().to_string()]).await;
            assert_eq!(changed.code, 0, "{changed:?}");
        }
    }
}

async fn mount(words: impl IntoIterator<Item = String>) {
    let words: Vec<String> = as_root("mount").into_iter().chain(words).collect();
    // The shell reports a missing sudo.
    let shell = ["-c", "exec \"$@\"", "sh"].map(str::to_owned);
    let mounted = run("sh", shell.iter().chain(&words)).await;
    assert_eq!(
        mounted.code,
        0,
        "this test mounts a disk, and `{}` failed: {}\nrun the tests as root, or with a sudo that asks for no password",
        words.join(" "),
        mounted.stderr.trim()
    );
}

/// The words that run `command` as root.
fn as_root(command: &str) -> Vec<String> {
    let words: &[&str] =
        if rustix::process::getuid().is_root() { &[command] } else { &["sudo", "-n", command] };
    words.iter().map(|word| (*word).to_owned()).collect()
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let words = as_root("umount");
        let unmounted = std::process::Command::new(&words[0])
            .args(&words[1..])
            .arg("--lazy")
            .arg(&self.0)
            .stdin(Stdio::null())
            .status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}
