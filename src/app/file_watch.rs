//! The files that a snapshot was built from, and the notice that one of them has changed.
//!
//! Directories are watched rather than files, since a file may be replaced by rename or by a link;
//! whether an event concerns us is told by the stamps of the files, not by what the event says.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::watch;

/// Watches the directories of files.
pub(super) struct Watch {
    watcher: Option<RecommendedWatcher>,
    directories: BTreeSet<PathBuf>,
    events: watch::Receiver<()>,
}

impl Watch {
    /// Watches `files` from now on.
    pub(super) fn new<'f>(files: impl Iterator<Item = &'f Path>) -> Self {
        let (sender, events) = watch::channel(());
        let on_event = move |event: notify::Result<Event>| {
            // Being read, by ourselves for one, changes nothing.
            if !event.is_ok_and(|event| matches!(event.kind, EventKind::Access(_))) {
                sender.send_replace(());
            }
        };
        let watcher = notify::recommended_watcher(on_event)
            .inspect_err(
                |error| tracing::warn!(%error, "files cannot be watched; changes are found by looking"),
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
            // A directory that is no more is not watched any more either.
            let _ = watcher.unwatch(gone);
        }
        self.directories = wanted
            .into_iter()
            .filter(|directory| {
                self.directories.contains(directory)
                    || watcher
                        .watch(directory, RecursiveMode::NonRecursive)
                        .inspect_err(|error| tracing::warn!(directory = %directory.display(), %error, "cannot be watched"))
                        .is_ok()
            })
            .collect();
    }

    /// Until something happens in a watched directory.
    pub(super) async fn event(&mut self) {
        if self.events.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// Where changes of `files` show: beside each, and beside what it leads to.
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
    // Whoever is no link itself may still stand in a folder that is one.
    behind.extend(beside.iter().filter_map(|folder| fs_err::canonicalize(folder).ok()));
    beside.append(&mut behind);
    beside
}
