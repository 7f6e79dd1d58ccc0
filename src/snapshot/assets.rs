//! Copied assets: the folders of `assets.map`, each read once for all of its sites.
//!
//! Regular files alone are read, and none outside of the folder. A folder is not read again while nothing in it has changed.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::stamps::Stamps;
use crate::config::problem::{Problem, Severity};
use crate::config::{AssetFolder, Config, Site};
use crate::regular_file;
use crate::rewrite::{AssetFile, AssetMap, AssetName, media_type};

/// The most files of one folder.
const MAX_FILES: usize = 2000;
/// The most bytes of one folder: they stay in memory.
const MAX_BYTES: u64 = 64 << 20;
/// The most names in one folder, other folders and what is passed over included.
const MAX_NAMES: usize = 5 * MAX_FILES;
/// The most folders within each other: symbolic links may form circles.
const MAX_DEPTH: usize = 16;

/// The folders of a configuration.
#[derive(Debug, Default)]
pub(super) struct AssetFolders {
    folders: HashMap<PathBuf, Folder>,
    /// By the name of the site, for the next build.
    maps: HashMap<Arc<str>, BuiltMap>,
}

#[derive(Clone, Debug)]
struct Folder {
    files: Arc<[AssetFile]>,
    /// What was passed over, and why.
    remarks: Vec<String>,
    /// Of the folder and everything in it.
    stamps: Stamps,
}

/// A map, and what it was built from.
#[derive(Clone, Debug)]
struct BuiltMap {
    map: Arc<AssetMap>,
    hosts: Vec<(Arc<str>, Arc<[AssetFile]>)>,
}

impl AssetFolders {
    /// Reads every folder that has changed since `previous`, and builds the maps of all sites.
    pub(super) fn load(
        config: &Config,
        previous: Option<&Self>,
        files: &mut Stamps,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let mut loaded = Self::default();
        for (place, site) in config.sites.iter().enumerate() {
            for AssetFolder { host, folder } in &site.asset_folders {
                let mut report = |severity, message: String, hint: &str| {
                    let place = format!("sites[{place}].assets.map.{:?}", host.as_str());
                    let hint = Some(hint.to_owned());
                    problems.push(Problem { severity, file: config.file.clone(), place, message, hint });
                };
                match loaded.folder(folder, previous, files) {
                    Ok(folder) => {
                        for remark in &folder.remarks {
                            report(
                                Severity::Warning,
                                remark.clone(),
                                "only regular files of known types are served",
                            );
                        }
                    }
                    Err(message) => report(
                        Severity::Fatal,
                        message,
                        "give a folder with the host's files, named as in their URLs",
                    ),
                }
            }
        }
        for site in config.sites.iter().filter(|site| !site.asset_folders.is_empty()) {
            let known = previous.and_then(|previous| previous.maps.get(&site.name));
            let map = loaded.map(config, site, known);
            loaded.maps.insert(Arc::clone(&site.name), map);
        }
        loaded
    }

    /// The maps of the sites, in their order.
    pub(super) fn maps(&self, config: &Config) -> Vec<Option<Arc<AssetMap>>> {
        config
            .sites
            .iter()
            .map(|site| self.maps.get(&site.name).map(|built| Arc::clone(&built.map)))
            .collect()
    }

    fn folder(
        &mut self,
        folder: &Path,
        previous: Option<&Self>,
        files: &mut Stamps,
    ) -> Result<&Folder, String> {
        if !self.folders.contains_key(folder) {
            let known = previous.and_then(|previous| previous.folders.get(folder));
            let read = match known.filter(|known| known.stamps.anew() == known.stamps) {
                Some(known) => Ok(known.clone()),
                None => Walk::read(folder, files),
            };
            let read = read.map_err(|why| format!("{} {why}", folder.display()))?;
            files.extend(&read.stamps);
            self.folders.insert(folder.to_owned(), read);
        }
        self.folders.get(folder).ok_or_else(|| "it is gone".to_owned())
    }

    /// The map of a site; the known one if its files are the same.
    fn map(&self, config: &Config, site: &Site, known: Option<&BuiltMap>) -> BuiltMap {
        let of_host =
            |of: &AssetFolder| Some((of.host.shared(), Arc::clone(&self.folders.get(&of.folder)?.files)));
        let hosts: Vec<_> = site.asset_folders.iter().filter_map(of_host).collect();
        let is_same = |known: &&BuiltMap| {
            known.hosts.len() == hosts.len()
                && known
                    .hosts
                    .iter()
                    .zip(&hosts)
                    .all(|(old, new)| old.0 == new.0 && Arc::ptr_eq(&old.1, &new.1))
                && known.map.is_compressed_by(&config.compress)
        };
        match known.filter(is_same) {
            Some(known) => known.clone(),
            None => BuiltMap { map: Arc::new(AssetMap::new(&hosts, &config.compress)), hosts },
        }
    }
}

/// A folder that is being read.
struct Walk {
    /// Without symbolic links.
    root: PathBuf,
    files: Vec<AssetFile>,
    names: HashSet<AssetName>,
    seen: usize,
    bytes: u64,
    remarks: Vec<String>,
    stamps: Stamps,
}

impl Walk {
    /// The error says what is wrong with the folder.
    fn read(folder: &Path, files: &mut Stamps) -> Result<Folder, String> {
        // Its return is waited for.
        files.take(folder);
        let root =
            fs_err::canonicalize(folder).map_err(|error| format!("cannot be read: {}", error.kind()))?;
        let mut walk = Self {
            root,
            files: Vec::new(),
            names: HashSet::new(),
            seen: 0,
            bytes: 0,
            remarks: Vec::new(),
            stamps: Stamps::default(),
        };
        let read = walk.folder(folder, Path::new(""), 0);
        files.extend(&walk.stamps);
        read?;
        if walk.files.is_empty() {
            return Err("holds no file that can be served".to_owned());
        }
        Ok(Folder { files: walk.files.into(), remarks: walk.remarks, stamps: walk.stamps })
    }

    /// Reads what is in `path`, the folder `below` the first one.
    fn folder(&mut self, path: &Path, below: &Path, depth: usize) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err(format!("has more than {MAX_DEPTH} folders within each other: {}", below.display()));
        }
        self.stamps.take(path);
        let cannot = |error: io::Error| format!("cannot be read: {}: {}", below.display(), error.kind());
        let mut names = Vec::new();
        for entry in fs_err::read_dir(path).map_err(cannot)? {
            names.push(entry.map_err(cannot)?.file_name());
        }
        names.sort();
        // `..data` of Kubernetes, `.git` and their like.
        for name in names.iter().filter(|name| !name.as_bytes().starts_with(b".")) {
            self.entry(&path.join(name), &below.join(name), depth)?;
        }
        Ok(())
    }

    fn entry(&mut self, path: &Path, below: &Path, depth: usize) -> Result<(), String> {
        self.seen += 1;
        if self.seen > MAX_NAMES {
            return Err(format!("holds more than {MAX_NAMES} names"));
        }
        self.stamps.take(path);
        let shown = below.display();
        let real = match fs_err::canonicalize(path) {
            Ok(real) if real.starts_with(&self.root) => real,
            Ok(_) => return self.remark(format!("{shown} leads out of the folder")),
            Err(error) => return self.remark(format!("{shown} cannot be read: {}", error.kind())),
        };
        let Ok(kind) = fs_err::metadata(&real) else { return self.remark(format!("{shown} is gone")) };
        if kind.is_dir() {
            return self.folder(path, below, depth + 1);
        }
        let name = AssetName::of_path(OsStr::as_bytes(below.as_os_str()));
        if media_type(&name).is_none() {
            return self.remark(format!("{shown} has no known type"));
        }
        let content = match regular_file::read_up_to(&real, MAX_BYTES - self.bytes) {
            Ok(content) => content,
            Err(error) => return self.remark(format!("{shown} cannot be read: {error}")),
        };
        self.bytes += content.len() as u64;
        if self.bytes > MAX_BYTES || self.files.len() == MAX_FILES {
            return Err(format!("holds more than {MAX_FILES} files or {} MiB", MAX_BYTES >> 20));
        }
        if !self.names.insert(name.clone()) {
            return self.remark(format!("{shown} stands for the same URL as another file"));
        }
        self.files.push(AssetFile::new(name, content.into()));
        Ok(())
    }

    /// Notes what is passed over.
    fn remark(&mut self, remark: String) -> Result<(), String> {
        const SHOWN: usize = 20;
        if self.remarks.len() < SHOWN {
            self.remarks.push(remark);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn read(folder: &Path) -> Result<Folder, String> {
        Walk::read(folder, &mut Stamps::default())
    }

    fn folder(files: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let path = folder.path().join(file);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, file).unwrap();
        }
        folder
    }

    #[test]
    fn files_of_known_types_within_the_folder_are_read() {
        let outside = folder(&["secret.css", "x/y.css"]);
        let kept = folder(&[
            "css%3Ff=A",
            "css?f=A",
            "s/a.woff2",
            "a.html",
            ".hidden.css",
            ".git/a.css",
            "..data/d.css",
        ]);
        let at = |name: &str| kept.path().join(name);
        symlink(outside.path().join("secret.css"), at("b.css")).unwrap();
        symlink(outside.path().join("x"), at("c")).unwrap();
        symlink("..data/d.css", at("d.css")).unwrap();
        symlink("missing", at("e.css")).unwrap();
        let pipe = std::process::Command::new("mkfifo").arg(at("f.css")).status().unwrap();
        assert!(pipe.success());
        let read = read(kept.path()).unwrap();
        assert_eq!(read.files.len(), 3, "{:?}", read.files);
        for passed in
            ["b.css leads", "c leads", "e.css cannot", "f.css cannot", "a.html has", "css?f=A stands"]
        {
            assert!(
                read.remarks.iter().any(|remark| remark.starts_with(passed)),
                "{passed}: {:?}",
                read.remarks
            );
        }
    }

    #[test]
    fn every_change_within_the_folder_is_noticed() {
        let kept = folder(&["s/a.css", "s/b.css"]);
        let stamps = read(kept.path()).unwrap().stamps;
        assert_eq!(stamps.anew(), stamps);
        fs_err::write(kept.path().join("s/c.css"), "").unwrap();
        assert_ne!(stamps.anew(), stamps);
        let stamps = read(kept.path()).unwrap().stamps;
        fs_err::write(kept.path().join("s/c.css"), "more").unwrap();
        assert_ne!(stamps.anew(), stamps);
    }

    #[test]
    fn a_folder_that_is_missing_empty_or_endless_is_none() {
        let round = folder(&["a.css"]);
        symlink(".", round.path().join("round")).unwrap();
        for (path, why) in [
            (folder(&[]).path(), "holds no file"),
            (folder(&["a.html"]).path(), "holds no file"),
            (Path::new("/nowhere/at/all"), "cannot be read"),
            (&*round.path().join("a.css"), "cannot be read"),
            (round.path(), "within each other"),
        ] {
            assert!(read(path).unwrap_err().contains(why), "{}", path.display());
        }
    }
}
