//! What a sink of segments holds, for whoever verifies it.

use std::collections::{BTreeMap, HashSet};

use super::anchor_key::{AnchorKey, CHECKPOINTS};
use super::sink::SegmentSink;
use crate::clock::SHANGHAI;
use crate::encryption;
use crate::remote::failure::RemoteFailure;
use crate::retention::format::note::VERIFIER_FILE;
use crate::retention::{Anchor, AnchoredRoot, Copy, SegmentName};

/// What every segment's name begins with.
const SEGMENTS: &str = "access-";

/// What a sink holds.
#[derive(Debug, Default)]
pub struct Holdings {
    /// What is to be verified.
    pub copy: Copy,
    /// Segments that it holds only encrypted.
    encrypted: HashSet<SegmentName>,
}

impl Holdings {
    /// Whether `segment` has to be decrypted.
    pub fn is_encrypted(&self, segment: SegmentName) -> bool {
        self.encrypted.contains(&segment)
    }

    /// How many segments are encrypted.
    pub fn encrypted(&self) -> usize {
        self.encrypted.len()
    }

    /// The key of a segment in the sink.
    pub fn key(&self, segment: SegmentName) -> String {
        let suffix = if self.is_encrypted(segment) { encryption::SUFFIX } else { "" };
        format!("{segment}{suffix}")
    }
}

/// Lists what `sink` holds, and reads the verifier keys and the last checkpoint of each day. `scratch` is for files.
pub async fn holdings(
    sink: &mut dyn SegmentSink,
    scratch: &std::path::Path,
) -> Result<Holdings, RemoteFailure> {
    let (mut copy, mut encrypted) = (Copy::default(), HashSet::new());
    // In order of keys: a plain segment comes before the same one encrypted.
    for key in all(sink, SEGMENTS).await? {
        if let Some(name) = key.strip_suffix(encryption::SUFFIX).and_then(SegmentName::parse) {
            if copy.segments.last() != Some(&name) {
                copy.segments.push(name);
                encrypted.insert(name);
            }
        } else {
            copy.segments.extend(SegmentName::parse(&key));
        }
    }
    for key in all(sink, VERIFIER_FILE).await? {
        copy.keys.push_str(&String::from_utf8_lossy(&read(sink, &key, scratch).await?));
    }
    // Signatures are checked on the last checkpoint of each day: a year has 365 of those, and half a million in all.
    let mut of_days = BTreeMap::new();
    for key in all(sink, CHECKPOINTS).await? {
        if let Some(AnchorKey { at, size, root }) = AnchorKey::parse(&key) {
            copy.roots.push(AnchoredRoot { size, root });
            of_days.insert(SHANGHAI.to_datetime(at).date(), (at, key));
        }
    }
    for (at, key) in of_days.into_values() {
        copy.anchors.push(Anchor { at, note: read(sink, &key, scratch).await? });
    }
    Ok(Holdings { copy, encrypted })
}

/// Every key that begins with `prefix`, in order.
async fn all(sink: &mut dyn SegmentSink, prefix: &str) -> Result<Vec<String>, RemoteFailure> {
    let mut keys: Vec<String> = Vec::new();
    loop {
        let after = keys.last().cloned().unwrap_or_default();
        let page = sink.list(prefix, &after).await?;
        // A service that lists the same again would list for ever.
        let is_new = page.last().is_some_and(|last| *last > after);
        keys.extend(page);
        if !is_new {
            return Ok(keys);
        }
    }
}

async fn read(
    sink: &mut dyn SegmentSink,
    key: &str,
    scratch: &std::path::Path,
) -> Result<Vec<u8>, RemoteFailure> {
    let file = scratch.join("note");
    let _ = std::fs::remove_file(&file);
    sink.get(key, &file).await?;
    crate::retention::format::note::read_note(&file).map_err(|error| RemoteFailure::of_io(key, &error))
}
