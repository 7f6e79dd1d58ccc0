//! Answers on disk: they outlive a restart, and a disk that fails costs hits, never answers.

use std::path::{Path, PathBuf};

use rustix::process::Signal;

use super::{fresh, get, status};
use crate::support::edge::{Builder, Edge};
use crate::support::machine::Mounted;
use crate::support::origin::{Origin, Request};
use crate::support::{PATIENCE, eventually};

const HIT: &str = "icpgate; hit";
const MISS: &str = "icpgate; fwd=uri-miss; stored";

fn on_disk(size: &str) -> Builder {
    let disk = format!("cache: {{memory: 1MiB, disk: {{directory: cache, size: {size}}}}}\n");
    Edge::builder().sites(super::SITES).more(&disk)
}

/// Every file of the cache below `folder`.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs_err::read_dir(folder).into_iter().flatten().flatten() {
        // A file may be gone by now.
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => found.extend(files(&entry.path())),
            Ok(_) if entry.path().extension().is_none() => found.push(entry.path()),
            _ => {}
        }
    }
    found
}

async fn until_files(edge: &Edge, count: usize) -> Vec<PathBuf> {
    eventually(&format!("{count} files"), PATIENCE, async || {
        let found = files(&edge.path("cache"));
        (found.len() == count).then_some(found)
    })
    .await
}

/// Stops the program, and starts it again over the same files.
async fn restart(edge: &mut Edge) {
    edge.signal(Signal::TERM);
    assert_eq!(edge.wait_exit().await, 0);
    edge.restart().await;
    edge.logged("the disk is read").await;
}

#[tokio::test]
async fn answers_outlive_a_restart_and_a_corrupt_file_is_a_miss() {
    let origin = Origin::start(|request: &Request| fresh(request.target())).await;
    let mut edge = on_disk("64MiB").origin(origin.address).start().await;
    for path in ["/a", "/b"] {
        assert_eq!(status(&get(&edge, path).await), MISS);
    }
    until_files(&edge, 2).await;
    restart(&mut edge).await;
    let hit = get(&edge, "/a").await;
    assert_eq!((hit.text().as_str(), status(&hit)), ("/a", HIT));
    assert_eq!((status(&get(&edge, "/b").await), origin.seen_count()), (HIT, 2));

    for (at_end, why) in [(true, "the checksum of its body"), (false, "")] {
        for file in until_files(&edge, 2).await {
            let mut bytes = fs_err::read(&file).unwrap();
            let place = if at_end { bytes.len() - 1 } else { 30 };
            bytes[place] ^= 1;
            fs_err::write(&file, bytes).unwrap();
        }
        let before = origin.seen_count();
        restart(&mut edge).await;
        for path in ["/a", "/b"] {
            let answer = get(&edge, path).await;
            assert_eq!((answer.text().as_str(), status(&answer)), (path, MISS), "{why}");
        }
        assert_eq!(origin.seen_count(), before + 2);
        edge.logged(why).await;
    }
    // A file that is no stored answer at all, and one that is cut off.
    let file = until_files(&edge, 2).await.remove(0);
    fs_err::write(&file, b"ICPGATE1").unwrap();
    restart(&mut edge).await;
    until_files(&edge, 1).await;
}

#[tokio::test]
async fn purges_reach_the_disk() {
    let origin = Origin::start(|request: &Request| fresh(request.target())).await;
    let mut edge = on_disk("64MiB").origin(origin.address).start().await;
    for path in ["/a", "/b", "/c"] {
        get(&edge, path).await;
    }
    until_files(&edge, 3).await;
    let purge = async |edge: &Edge, query: &str| super::purge::purge(edge, "POST", query, "").await;
    assert_eq!(purge(&edge, "?url=https://www.example.cn/a").await, 204);
    until_files(&edge, 2).await;
    restart(&mut edge).await;
    assert_eq!((status(&get(&edge, "/a").await), status(&get(&edge, "/b").await)), (MISS, HIT));
    until_files(&edge, 3).await;
    assert_eq!(purge(&edge, "?site=shop").await, 204);
    until_files(&edge, 0).await;
    assert_eq!(status(&get(&edge, "/c").await), MISS);
}

#[tokio::test]
async fn the_size_of_the_files_is_bounded_also_after_a_restart() {
    let origin = Origin::start(|_| fresh(&"x".repeat(100_000))).await;
    let mut edge = on_disk("1MiB").origin(origin.address).start().await;
    // Files take whole blocks: ten of 102,400 bytes each fit.
    for number in 0..30 {
        get(&edge, &format!("/{number}")).await;
    }
    until_files(&edge, 10).await;
    restart(&mut edge).await;
    for number in 30..35 {
        get(&edge, &format!("/{number}")).await;
    }
    eventually("the last one", PATIENCE, async || {
        let last = files(&edge.path("cache")).into_iter().any(|file| {
            let text = fs_err::read(file).unwrap_or_default();
            text.windows(14).any(|part| part == b"\"target\":\"/34\"")
        });
        last.then_some(())
    })
    .await;
    until_files(&edge, 10).await;
}

#[tokio::test]
async fn a_folder_of_another_version_is_deleted_and_nothing_else() {
    let folder = on_disk("64MiB").write();
    for name in ["cache/v0/aa/file", "cache/mine/file", "cache/v1/aa/nonsense"] {
        fs_err::create_dir_all(folder.path(name).parent().unwrap()).unwrap();
        fs_err::write(folder.path(name), "x").unwrap();
    }
    let edge = folder.start().await;
    edge.logged("the disk is read").await;
    assert!(!edge.path("cache/v0").exists() && !edge.path("cache/v1/aa/nonsense").exists());
    assert!(edge.path("cache/mine/file").exists());
    assert!(edge.log().contains("another version's folder is deleted"), "{}", edge.log());
}

#[tokio::test]
async fn a_full_disk_costs_no_answer() {
    let origin = Origin::start(|_| fresh(&"x".repeat(100_000))).await;
    let folder = on_disk("64MiB").origin(origin.address).write();
    let disk = Mounted::at(&folder.path("cache"), &["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).await;
    let edge = folder.start().await;
    for number in 0..30 {
        assert_eq!(get(&edge, &format!("/{number}")).await.body.len(), 100_000);
    }
    edge.logged("the disk takes nothing").await;
    assert_eq!(status(&get(&edge, "/29").await), HIT, "from memory");
    drop(edge);
    drop(disk);
}
