//! The thread that scans, writes and deletes.

use std::io::{self, BufWriter, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use foldhash::HashMap;
use fs_err as fs;

use super::file;
use super::index::{Entry, Index, Order, is_other_version};
use crate::cache::stored::{PageStamp, Stored};

/// After a failed write, as on a full disk, the thread writes nothing for this long.
const PAUSE: Duration = Duration::from_secs(10);

/// Scans, then does as it is told until nobody is left to tell it.
pub(super) fn run(index: &Index, top: &Path, orders: &Receiver<Order>) {
    delete_other_versions(top);
    match scan(index) {
        Ok(count) => tracing::info!(directory = %top.display(), responses = count, "cache: the disk is read"),
        Err(error) => tracing::warn!(directory = %top.display(), %error, "cache: the disk cannot be read"),
    }
    let mut paused_until = None;
    while let Ok(order) = orders.recv() {
        match order {
            Order::Delete(number) => delete(index, number),
            Order::Write(stored, purges) => {
                if paused_until.is_some_and(|until| Instant::now() < until) {
                    continue;
                }
                paused_until = None;
                if let Err(error) = write(index, &stored, purges) {
                    tracing::warn!(%error, "cache: the disk takes nothing; responses stay in memory alone for 10 s");
                    paused_until = Some(Instant::now() + PAUSE);
                }
            }
        }
    }
}

fn delete_other_versions(top: &Path) {
    for entry in fs::read_dir(top).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() && is_other_version(&path) {
            tracing::info!(directory = %path.display(), "cache: another version's folder is deleted");
            if let Err(error) = fs::remove_dir_all(&path) {
                tracing::warn!(%error, "cache: another version's folder cannot be deleted");
            }
        }
    }
}

/// Enters every file into the index; deletes those that cannot be used.
fn scan(index: &Index) -> io::Result<usize> {
    // Most pages of a site have the same stamp.
    let mut stamps: HashMap<Vec<u8>, Arc<PageStamp>> = HashMap::default();
    let (mut count, purges) = (0, index.purges.load(Ordering::Acquire));
    for folder in fs::read_dir(&index.folder)? {
        for entry in fs::read_dir(folder?.path()).into_iter().flatten().flatten() {
            let path = entry.path();
            // A purge during the scan would come before the file that it means.
            match enter(index, &path, &mut stamps, purges) {
                Some(gone) => {
                    count += 1;
                    gone.into_iter().for_each(|number| delete(index, number));
                }
                None => drop(fs::remove_file(&path)),
            }
        }
    }
    Ok(count)
}

fn enter(
    index: &Index,
    path: &Path,
    stamps: &mut HashMap<Vec<u8>, Arc<PageStamp>>,
    purges: u64,
) -> Option<Vec<u64>> {
    let number = u64::from_str_radix(path.file_name()?.to_str()?, 16).ok()?;
    let mut opened = fs::File::open(path).ok()?;
    let size = opened.metadata().ok()?.len();
    let (head, _) = file::read_head(&mut opened).ok()?;
    let (key, stamp) = (head.key()?, head.stamp()?);
    let route = stamp.route.to_be_bytes();
    let name = [&route[..], &[stamp.pages as u8], stamp.footer.as_deref().unwrap_or_default()].concat();
    let stamp = Arc::clone(stamps.entry(name).or_insert_with(|| Arc::new(stamp)));
    let entry = Entry { number, site: Arc::clone(key.site()), variance: head.variance()?, stamp };
    Some(index.add(key.hash(), entry, size, purges))
}

/// Writes beside, then renames: a file under its name is whole, unless the machine stopped.
fn write(index: &Index, stored: &Stored, purges: u64) -> io::Result<()> {
    let number = fastrand::u64(..);
    let path = index.path(number);
    let beside = path.with_extension("new");
    let written = write_file(stored, &beside).and_then(|size| fs::rename(&beside, &path).map(|()| size));
    let size = written.inspect_err(|_| drop(fs::remove_file(&beside)))?;
    let entry = Entry {
        number,
        site: Arc::clone(stored.key.site()),
        variance: stored.variance.clone(),
        stamp: Arc::new(stored.stamp.clone()),
    };
    for gone in index.add(stored.key.hash(), entry, size, purges) {
        delete(index, gone);
    }
    Ok(())
}

fn write_file(stored: &Stored, path: &Path) -> io::Result<u64> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut out = BufWriter::new(fs::File::create(path)?);
    let size = file::write(stored, &mut out)?;
    out.flush()?;
    Ok(size)
}

fn delete(index: &Index, number: u64) {
    // It may be gone already.
    let _ = fs::remove_file(index.path(number));
}
