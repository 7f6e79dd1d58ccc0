//! A thousand random changes to a store, all of which must be found.

use super::*;

#[test]
fn every_one_of_a_thousand_changes_is_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let (intact, other) = (folder.path().join("intact"), folder.path().join("other"));
    for (directory, word) in [(&intact, "a"), (&other, "b")] {
        fs_err::create_dir(directory).expect("created");
        write_store(directory, word);
    }
    let mut random = fastrand::Rng::with_seed(7);
    let mut done = 0;
    while done < 1_000 {
        let changed = folder.path().join(format!("changed-{done}"));
        copy(&intact, &changed);
        let what = change(&changed, &other, &mut random);
        if !same(&intact, &changed) {
            // An auditor has the key and the newest checkpoint from before.
            let keys = vec![key_of(&intact)];
            let verdict = verify(&changed, &Against { keys, ..against() }).expect("verified");
            assert!(!verdict.is_ok(), "change {done} was not found: {what}");
            read_and_resume(&changed);
            done += 1;
        }
        fs_err::remove_dir_all(changed).expect("removed");
    }
    check(&intact, &against(), None);
}

fn same(one: &Path, other: &Path) -> bool {
    let content = |directory: &Path| {
        let files = fs_err::read_dir(directory).expect("listed").map(|entry| entry.expect("listed").path());
        let mut files: Vec<_> = files
            .map(|path| (path.file_name().map(ToOwned::to_owned), fs_err::read(&path).expect("read")))
            .collect();
        files.sort();
        files
    };
    content(one) == content(other)
}

/// Makes a random change; returns its description.
fn change(directory: &Path, other: &Path, random: &mut fastrand::Rng) -> String {
    let segments = segments(directory);
    let one = random.usize(..segments.len());
    let path = &segments[one];
    let mut bytes = fs_err::read(path).expect("read");
    let frames = frames_of(path);
    let kind = random.u32(..11);
    match kind {
        0 | 1 => flip(&mut bytes, random),
        2 => {
            flip(&mut bytes, random);
            mend(&mut bytes, &frames);
        }
        3 => bytes.truncate(random.usize(..bytes.len())),
        // Cut at the end of a frame: nothing is torn.
        4 => bytes.truncate(frames[random.usize(..frames.len())].0),
        5 => {
            let files = [path, &directory.join(CHECKPOINT_FILE)];
            fs_err::remove_file(files[random.usize(..2)]).expect("removed");
            return "a file removed".to_owned();
        }
        6 => {
            let two = &segments[random.usize(..segments.len())];
            let content = fs_err::read(two).expect("read");
            fs_err::write(two, &bytes).expect("written");
            bytes = content;
        }
        7 => {
            let [(from, to, _), (from_too, to_too, _)] = two_in_order(&frames, random);
            bytes = [
                &bytes[..from],
                &bytes[from_too..to_too],
                &bytes[to..from_too],
                &bytes[from..to],
                &bytes[to_too..],
            ]
            .concat();
        }
        8 => {
            let (from, to, _) = frames[random.usize(..frames.len())];
            if random.bool() { drop(bytes.drain(from..to)) } else { bytes.extend_from_within(from..to) }
        }
        9 => {
            let at = random.usize(..=bytes.len());
            let inserted: Vec<u8> = (0..random.usize(1..300)).map(|_| random.u8(..)).collect();
            bytes.splice(at..at, inserted);
        }
        // One or more segments replaced by those of another store.
        _ => {
            let strangers = self::segments(other);
            if random.bool() {
                for file in [CHECKPOINT_FILE, VERIFIER_FILE] {
                    fs_err::copy(other.join(file), directory.join(file)).expect("copied");
                }
                for (path, stranger) in segments.iter().zip(&strangers) {
                    fs_err::copy(stranger, path).expect("copied");
                }
            }
            bytes = fs_err::read(&strangers[one]).expect("read");
        }
    }
    fs_err::write(path, bytes).expect("written");
    format!("kind {kind} in segment {one}")
}

fn flip(bytes: &mut [u8], random: &mut fastrand::Rng) {
    let bit = random.usize(..bytes.len() * 8);
    bytes[bit / 8] ^= 1 << (bit % 8);
}

fn two_in_order(frames: &[(usize, usize, bool)], random: &mut fastrand::Rng) -> [(usize, usize, bool); 2] {
    let second = random.usize(1..frames.len());
    [frames[random.usize(..second)], frames[second]]
}
