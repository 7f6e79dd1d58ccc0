//! File events of the files that a snapshot was built from.
//!
//! Every directory on the way to a file is watched, through symlinks too: a file, a link or any folder above it may be
//! replaced. An event only means that something happened: stamps tell whether a file changed.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::mem;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use notify::{ErrorKind, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::watch;

/// The most symlinks on the way to one file: the kernel follows no more (`path_resolution(7)`).
const LINKS: u32 = 40;

pub(super) struct Watch {
    watcher: Option<RecommendedWatcher>,
    directories: BTreeSet<PathBuf>,
    /// The directories that cannot be watched, each logged once.
    unwatched: BTreeSet<PathBuf>,
    noticed: Arc<Mutex<Noticed>>,
    events: watch::Receiver<()>,
}

/// What the watcher's thread shares with ours.
#[derive(Default)]
struct Noticed {
    /// The files, and every link and folder on the way to them.
    names: HashSet<PathBuf>,
    /// Folders that are followed themselves: whatever is in them counts.
    folders: HashSet<PathBuf>,
    /// Those of them with an event since directories were last watched.
    changed: BTreeSet<PathBuf>,
}

impl Noticed {
    fn is_ours(&self, path: &Path) -> bool {
        self.names.contains(path) || path.parent().is_some_and(|folder| self.folders.contains(folder))
    }

    /// Notes an event; `false` if it is about other files. Reads, ours among them, change nothing.
    fn note(&mut self, event: Event) -> bool {
        if event.need_rescan() {
            // Events were lost.
            self.changed.insert(PathBuf::from("/"));
            return true;
        }
        if matches!(event.kind, EventKind::Access(_)) {
            return false;
        }
        let ours: Vec<PathBuf> = event.paths.into_iter().filter(|path| self.is_ours(path)).collect();
        let is_ours = !ours.is_empty();
        self.changed.extend(ours);
        is_ours
    }
}

fn lock(noticed: &Mutex<Noticed>) -> MutexGuard<'_, Noticed> {
    noticed.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watch {
    pub(super) fn new<'f>(files: impl Iterator<Item = &'f Path>) -> Self {
        let (sender, events) = watch::channel(());
        let noticed = Arc::new(Mutex::new(Noticed::default()));
        let shared = Arc::clone(&noticed);
        let on_event = move |event: notify::Result<Event>| {
            if event.map_or(true, |event| lock(&shared).note(event)) {
                sender.send_replace(());
            }
        };
        let watcher = notify::recommended_watcher(on_event)
            .inspect_err(
                |error| tracing::warn!(%error, "file events are not available; files are checked every 5 s instead"),
            )
            .ok();
        let (directories, unwatched) = (BTreeSet::new(), BTreeSet::new());
        let mut watch = Self { watcher, directories, unwatched, noticed, events };
        watch.follow(files);
        watch
    }

    /// Watches `files` instead, and anew what has been replaced.
    pub(super) fn follow<'f>(&mut self, files: impl Iterator<Item = &'f Path>) {
        if self.watcher.is_none() {
            return;
        }
        let Trail { directories, names, folders } = Trail::of(files);
        let changed = {
            let mut noticed = lock(&self.noticed);
            (noticed.names, noticed.folders) = (names, folders);
            mem::take(&mut noticed.changed)
        };
        // The watch of a removed folder ends with all below it, and that of a renamed one follows it.
        let is_replaced = |directory: &Path| changed.iter().any(|path| directory.starts_with(path));
        let (kept, gone): (BTreeSet<_>, BTreeSet<_>) = mem::take(&mut self.directories)
            .into_iter()
            .partition(|directory| directories.contains(directory) && !is_replaced(directory));
        for directory in &gone {
            self.unwatch(directory);
        }
        self.unwatched.retain(|directory| directories.contains(directory));
        let added: Vec<PathBuf> =
            directories.into_iter().filter(|directory| !kept.contains(directory)).collect();
        self.directories = kept;
        for directory in added {
            self.watch(directory);
        }
    }

    fn unwatch(&mut self, directory: &Path) {
        if let Some(watcher) = &mut self.watcher {
            // Fails if the directory no longer exists, which ends the watch anyway.
            let _ = watcher.unwatch(directory);
        }
    }

    fn watch(&mut self, directory: PathBuf) {
        let Some(watcher) = &mut self.watcher else { return };
        match watcher.watch(&directory, RecursiveMode::NonRecursive) {
            Ok(()) => {
                self.unwatched.remove(&directory);
                self.directories.insert(directory);
            }
            // The directory above tells when it is there.
            Err(error) if matches!(error.kind, ErrorKind::PathNotFound) => {}
            Err(error) => {
                let shown = directory.display().to_string();
                if self.unwatched.insert(directory) {
                    tracing::warn!(directory = shown, %error, "the directory cannot be watched; its files are checked every 5 s instead");
                }
            }
        }
    }

    /// Waits for an event of one of the files, or on the way to it.
    pub(super) async fn event(&mut self) {
        if self.events.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

/// The way to files from the root: where each name on it stands.
#[derive(Default)]
struct Trail {
    /// Without links in their paths, so that each directory has one path, which its events name.
    directories: BTreeSet<PathBuf>,
    /// The files, links and folders that are looked up in these directories, whether they exist or not.
    names: HashSet<PathBuf>,
    /// The files that are folders.
    folders: HashSet<PathBuf>,
}

impl Trail {
    fn of<'f>(files: impl Iterator<Item = &'f Path>) -> Self {
        let mut trail = Self::default();
        // Many files share a folder.
        let mut folders: HashMap<PathBuf, PathBuf> = HashMap::new();
        for file in files {
            let Ok(file) = std::path::absolute(file) else { continue };
            let (Some(folder), Some(name)) = (file.parent(), file.file_name()) else { continue };
            let mut links = LINKS;
            let known = folders.get(folder).cloned();
            let real = known.unwrap_or_else(|| {
                let real = trail.walk(PathBuf::from("/"), folder, &mut links);
                folders.insert(folder.to_owned(), real.clone());
                real
            });
            let end = trail.walk(real, Path::new(name), &mut links);
            if end.is_dir() {
                trail.directories.insert(end.clone());
                trail.folders.insert(end);
            }
        }
        trail
    }

    /// Notes what is looked up on the way along `path` from `at`, a directory; where the way ends.
    fn walk(&mut self, mut at: PathBuf, path: &Path, links: &mut u32) -> PathBuf {
        for component in path.components() {
            match component {
                Component::RootDir | Component::Prefix(_) => at = PathBuf::from("/"),
                Component::CurDir => {}
                Component::ParentDir => {
                    at.pop();
                }
                Component::Normal(name) => {
                    let named = at.join(name);
                    if !self.directories.contains(&at) {
                        self.directories.insert(at.clone());
                    }
                    self.names.insert(named.clone());
                    at = match fs_err::read_link(&named) {
                        Ok(target) if *links > 0 => {
                            *links -= 1;
                            self.walk(at, &target, links)
                        }
                        // No link, or nothing yet.
                        Ok(_) | Err(_) => named,
                    };
                }
            }
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_name_on_the_way_to_a_file_is_known() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = fs_err::canonicalize(folder.path()).expect("it is there");
        fs_err::create_dir_all(root.join("store/v1")).expect("made");
        symlink("store/v1", root.join("live")).expect("linked");
        symlink("filings.yaml", root.join("store/v1/link")).expect("linked");
        symlink("round", root.join("round")).expect("linked");
        let files = ["live/../v1/link", "missing/a/b.pem", "round/c.pem"].map(|file| root.join(file));
        let trail = Trail::of(files.iter().map(PathBuf::as_path));
        let beneath = |paths: Vec<PathBuf>| -> BTreeSet<String> {
            let inside = |path: PathBuf| Some(path.strip_prefix(&root).ok()?.display().to_string());
            paths.into_iter().filter_map(inside).collect()
        };
        let expected = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let names = [
            "",
            "live",
            "store",
            "store/v1",
            "store/v1/link",
            "store/v1/filings.yaml",
            "missing",
            "missing/a",
            "missing/a/b.pem",
            "round",
            "round/c.pem",
        ];
        assert_eq!(beneath(trail.names.into_iter().collect()), expected(&names));
        let directories = ["", "store", "store/v1", "missing", "missing/a", "round"];
        assert_eq!(beneath(trail.directories.iter().cloned().collect()), expected(&directories));
        let above = root.ancestors().skip(1);
        assert!(above.map(Path::to_owned).all(|above| trail.directories.contains(&above)));
    }
}
