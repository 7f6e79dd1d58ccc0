//! The notary: signs checkpoints (C2SP tlog-checkpoint and signed-note) with the key of the node.
//!
//! The key is made when a store is first opened and never leaves its directory. Others check signatures with
//! the verifier key in `verifier.key`.

use std::io;
use std::path::Path;

use rand_core::OsRng;
use signed_note::{Note, Signer, StandardSigner, StandardVerifier, Verifier};
use tlog_tiles::Checkpoint;

use crate::retention::format::note::{VERIFIER_FILE, read_note, replace};
use crate::retention::format::tree::Tree;
use crate::retention::prove::keys::Keys;

const SIGNER_FILE: &str = "signer.key";
pub(crate) struct Notary {
    signer: StandardSigner,
    verifier_key: String,
}

impl Notary {
    /// Reads the key in `directory`, or makes one named after `node`.
    pub(crate) fn open(directory: &Path, node: &str) -> io::Result<Self> {
        let path = directory.join(SIGNER_FILE);
        let notary = match read_note(&path) {
            Ok(text) => Self::parse(&String::from_utf8_lossy(&text)).ok_or_else(|| {
                let hint = "is not a signer key; restore it from a copy, or delete it to have a new one made";
                io::Error::new(io::ErrorKind::InvalidData, format!("{} {hint}", path.display()))
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let (signer, verifier) = signed_note::generate_key(&mut OsRng, &key_name(node));
                let text = format!("{signer}\n{verifier}\n");
                replace(directory, SIGNER_FILE, text.as_bytes(), 0o600)?;
                Self::parse(&text).ok_or_else(|| io::Error::other("a new key cannot be read"))?
            }
            Err(error) => return Err(error),
        };
        notary.publish(directory)?;
        Ok(notary)
    }

    /// Writes the verifier key as the first line of its file. Earlier keys stay, to check what they signed.
    fn publish(&self, directory: &Path) -> io::Result<()> {
        let known = match read_note(&directory.join(VERIFIER_FILE)) {
            Ok(known) => known,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let known = String::from_utf8_lossy(&known);
        if known.lines().next() == Some(&self.verifier_key) {
            return Ok(());
        }
        let (others, broken): (Vec<_>, Vec<_>) = known
            .lines()
            .filter(|key| *key != self.verifier_key)
            .partition(|key| Keys::parse([*key]).is_ok());
        if let Some(before) = others.first() {
            tracing::warn!(
                %before, now = self.verifier_key,
                "Access records are signed with a new key from now on. Earlier records are checked with the earlier \
                 key: keep both outside the store"
            );
        }
        for line in broken {
            tracing::error!(
                line,
                "A line of verifier.key is not a key; records signed with it cannot be checked"
            );
        }
        let keys = std::iter::once(self.verifier_key.as_str()).chain(others);
        let text: String = keys.flat_map(|key| [key, "\n"]).collect();
        replace(directory, VERIFIER_FILE, text.as_bytes(), 0o640)
    }

    fn parse(text: &str) -> Option<Self> {
        let (signer, verifier) = text.split_once('\n')?;
        let signer = StandardSigner::new(signer).ok()?;
        let verifier_key = verifier.trim_end().to_owned();
        let verifier = StandardVerifier::new(&verifier_key).ok()?;
        let fits = verifier.name() == signer.name() && verifier.key_id() == signer.key_id();
        fits.then_some(Self { signer, verifier_key })
    }

    pub(crate) fn verifier_key(&self) -> &str {
        &self.verifier_key
    }

    pub(crate) fn sign(&self, tree: &Tree) -> io::Result<Vec<u8>> {
        let checkpoint = Checkpoint::new(self.signer.name(), tree.size(), tree.root(), "")
            .map_err(|error| io::Error::other(error.to_string()))?;
        let mut note = Note::new(&checkpoint.to_bytes(), &[]).map_err(io::Error::other)?;
        note.add_sigs(&[&self.signer]).map_err(io::Error::other)?;
        Ok(note.to_bytes())
    }
}

impl std::fmt::Debug for Notary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Notary").field("verifier_key", &self.verifier_key).finish_non_exhaustive()
    }
}

/// The name of the key of `node`; key names contain neither spaces nor plus signs.
fn key_name(node: &str) -> String {
    let kept = |character: char| character.is_ascii_alphanumeric() || "-._/".contains(character);
    let node: String = node.chars().map(|one| if kept(one) { one } else { '-' }).collect();
    format!("icpgate/{node}")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tlog_tiles::record_hash;

    use super::*;
    use crate::retention::prove::keys::Unsigned;

    #[test]
    fn what_is_signed_is_verified_and_by_nobody_else_s_key() {
        let (folder, other) =
            (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let notary = Notary::open(folder.path(), "bj edge+1").expect("a key");
        let mut tree = Tree::default();
        tree.push(record_hash(b"a"));
        let note = notary.sign(&tree).expect("signed");
        let keys = Keys::parse([notary.verifier_key()]).expect("a key");
        let checkpoint = keys.open(&note).expect("a checkpoint");
        assert_eq!((checkpoint.origin(), checkpoint.size()), ("icpgate/bj-edge-1", 1));
        assert_eq!(*checkpoint.hash(), tree.root());
        let stranger = Notary::open(other.path(), "bj edge+1").expect("a key");
        let strangers = Keys::parse([stranger.verifier_key()]).expect("a key");
        assert_eq!(strangers.open(&note), Err(Unsigned::Unknown));
        assert_eq!(keys.open(b"nothing"), Err(Unsigned::Malformed));
    }

    #[test]
    fn the_key_stays_and_is_for_nobody_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = Notary::open(folder.path(), "a").expect("a key");
        let again = Notary::open(folder.path(), "b").expect("the key");
        assert_eq!(first.verifier_key(), again.verifier_key());
        let signer = fs_err::metadata(folder.path().join(SIGNER_FILE)).expect("there");
        assert_eq!(signer.permissions().mode() & 0o777, 0o600);
        fs_err::remove_file(folder.path().join(VERIFIER_FILE)).expect("removed");
        Notary::open(folder.path(), "a").expect("the key");
        assert!(folder.path().join(VERIFIER_FILE).exists());
        // A key that is lost leaves its verifier, whatever stands beside that.
        let shown = fs_err::read(folder.path().join(VERIFIER_FILE)).expect("read");
        fs_err::write(folder.path().join(VERIFIER_FILE), [&shown, &b"\xff nonsense\n"[..]].concat())
            .expect("written");
        fs_err::remove_file(folder.path().join(SIGNER_FILE)).expect("removed");
        let second = Notary::open(folder.path(), "a").expect("another key");
        let shown = fs_err::read_to_string(folder.path().join(VERIFIER_FILE)).expect("read");
        assert_eq!(shown, format!("{}\n{}\n", second.verifier_key(), first.verifier_key()));
        fs_err::write(folder.path().join(SIGNER_FILE), "nonsense").expect("written");
        let error = Notary::open(folder.path(), "a").expect_err("no key");
        assert!(error.to_string().contains(SIGNER_FILE), "{error}");
    }
}
