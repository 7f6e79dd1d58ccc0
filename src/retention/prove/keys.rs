//! Verifier keys: whose signatures count.

use signed_note::{Note, StandardVerifier, Verifier, VerifierList};
use tlog_tiles::Checkpoint;

/// Whose signatures count.
pub(crate) struct Keys(VerifierList);

/// Why a note is no checkpoint that counts.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Unsigned {
    /// It is no checkpoint.
    #[error("is not a signed checkpoint")]
    Malformed,
    /// None of the keys signed it.
    #[error("is not signed with the store's key")]
    Unknown,
}

impl Keys {
    /// Reads verifier keys; the first that is none is returned.
    pub(crate) fn parse<'k>(keys: impl IntoIterator<Item = &'k str>) -> Result<Self, &'k str> {
        let verifier = |key: &'k str| match StandardVerifier::new(key) {
            // Upper case would be read as well, but is not how a key is written.
            Ok(verifier) if key.starts_with(&format!("{}+{:08x}+", verifier.name(), verifier.key_id())) => {
                Ok(Box::new(verifier) as Box<dyn Verifier>)
            }
            _ => Err(key),
        };
        let verifiers = keys.into_iter().map(verifier).collect::<Result<Vec<_>, _>>()?;
        Ok(Self(VerifierList::new(verifiers)))
    }

    /// The checkpoint in `note`, if it is signed.
    pub(crate) fn open(&self, note: &[u8]) -> Result<Checkpoint, Unsigned> {
        let note = Note::from_bytes(note).map_err(|_| Unsigned::Malformed)?;
        note.verify(&self.0).map_err(|_| Unsigned::Unknown)?;
        Checkpoint::from_bytes(note.text()).map_err(|_| Unsigned::Malformed)
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}
