//! Verifier keys: whose signatures count.

use signed_note::{Note, StandardVerifier, Verifier, VerifierList};
use tlog_tiles::Checkpoint;

pub(crate) struct Keys(VerifierList);

/// Why a note is not a valid checkpoint.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum Unsigned {
    #[error("is not a signed checkpoint")]
    Malformed,
    #[error("is not signed with the store's key")]
    Unknown,
}

impl Keys {
    /// Parses verifier keys; on failure returns the first that is malformed.
    pub(crate) fn parse<'k>(keys: impl IntoIterator<Item = &'k str>) -> Result<Self, &'k str> {
        let verifier = |key: &'k str| match StandardVerifier::new(key) {
            // The parser also accepts upper case; a key has exactly one spelling.
            Ok(verifier) if key.starts_with(&format!("{}+{:08x}+", verifier.name(), verifier.key_id())) => {
                Ok(Box::new(verifier) as Box<dyn Verifier>)
            }
            _ => Err(key),
        };
        let verifiers = keys.into_iter().map(verifier).collect::<Result<Vec<_>, _>>()?;
        Ok(Self(VerifierList::new(verifiers)))
    }

    /// The checkpoint in `note`, if one of the keys signed it.
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
