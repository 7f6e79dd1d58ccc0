//! File events of the files that a snapshot was built from.
//!
//! Directories are watched rather than files, since a file may be replaced by rename or by symlink. An event
//! only means that something happened: stamps tell whether a file of ours changed.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::watch;

pub(super) struct Watch {
    watcher: Option<RecommendedWatcher>,
    directories: BTreeSet<PathBuf>,
    events: watch::Receiver<()>,
}

impl Watch {
    pub(super) fn new<'f>(files: impl Iterator<Item = &'f Path>) -> Self {
        let (sender, events) = watch::channel(());
        let on_event = move |event: notify::Result<Event>| {
            // Reads, ours among them, change nothing.
            if !event.is_ok_and(|event| matches!(event.kind, EventKind::Access(_))) {
                sender.send_replace(());
            }
        };
        let watcher = notify::recommended_watcher(on_event)
            .inspect_err(
                |error| tracing::warn!(%error, "file events are not available; files are checked every 5 s instead"),
            )
            .ok();
        let mut watch = Self { watcher, directories: BTreeSet::new(), events };
        watch.follow(files);
        watch
    }

    /// Watches `files` instead.
    pub(super) fn follow<'f>(&mut self, files: impl Iterator<Item = &'f Path>) {
        let wanted = directories(files);
        let Some(watcher) = &mut self.watcher else { return };
        for gone in self.directories.difference(&wanted) {
            // Fails if the directory no longer exists, which ends the watch anyway.
            let _ = watcher.unwatch(gone);
        }
        self.directories = wanted
            .into_iter()
            .filter(|directory| {
                self.directories.contains(directory)
                    || watcher
                        .watch(directory, RecursiveMode::NonRecursive)
                        .inspect_err(|error| tracing::warn!(directory = %directory.display(), %error, "the directory cannot be watched; its files are checked every 5 s instead"))
                        .is_ok()
            })
            .collect();
    }

    /// Waits for an event in a watched directory.
    pub(super) async fn event(&mut self) {
        if self.events.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// The directories in which changes of `files` show: those of the paths, and those that symlinks lead to.
fn directories<'f>(files: impl Iterator<Item = &'f Path>) -> BTreeSet<PathBuf> {
    let parent = |path: &Path| match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    let mut beside = BTreeSet::new();
    let mut behind = BTreeSet::new();
    for file in files {
        beside.insert(parent(file));
        if file.is_symlink() {
            behind.extend(fs_err::canonicalize(file).ok().as_deref().map(parent));
        }
    }
    // A plain file may be in a directory that is itself a symlink.
    behind.extend(beside.iter().filter_map(|folder| fs_err::canonicalize(folder).ok()));
    beside.append(&mut behind);
    beside
}
