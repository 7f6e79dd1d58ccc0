//! Verification of a proof file, away from its store.

use std::io;
use std::path::Path;

use tlog_tiles::{Hash, check_record};

use crate::retention::format::block::digest;
use crate::retention::format::frames::{Frames, Step};
use crate::retention::format::{BlockHead, Frame};
use crate::retention::prove::keys::Keys;
use crate::retention::prove::{Break, Reason, Verdict};

/// Verifies the proof in `file` with `keys`, or with the keys in the file if `keys` is empty.
pub(in crate::retention::prove) fn verify(file: &Path, keys: &[String]) -> io::Result<Verdict> {
    let mut verdict = Verdict::default();
    let mut frames = Frames::open_named(file)?;
    let mut state = ProofState { keys: keys.to_vec(), ..ProofState::default() };
    loop {
        let at = frames.at();
        let found = match frames.next_step()? {
            Step::Frame(Frame::Block(head), at) => {
                let payload = frames.payload(at, &head)?;
                let whole = digest(payload) == head.digest && crc32c::crc32c(payload) == head.crc;
                if whole { state.block(head) } else { Err(Reason::Changed) }
            }
            Step::Frame(Frame::Head(_), 0) => {
                let hint = "this is a segment of a store; verify the directory of the store";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, hint));
            }
            Step::Frame(frame, _) => state.frame(frame, &mut verdict),
            Step::Damage { .. } => Err(Reason::Damaged),
            Step::End { at, length } if at < length => Err(Reason::CutProof),
            Step::End { .. } => match state {
                ProofState { block: Some(_), .. } => Err(Reason::NotIncluded),
                ProofState { root: None, .. } => Err(Reason::NoProof),
                _ => return Ok(verdict),
            },
        };
        if let Err(reason) = found {
            let block = state.block.map(|block| block.number);
            verdict.first_break =
                Some(Break { segment: Some(file.to_owned()), byte: Some(at), block, reason });
            return Ok(verdict);
        }
    }
}

#[derive(Default)]
struct ProofState {
    keys: Vec<String>,
    /// Size and root of the signed tree.
    root: Option<(u64, Hash)>,
    /// A block whose path has not been read yet.
    block: Option<BlockHead>,
    /// The lowest number that the next block may have.
    next: u64,
}

impl ProofState {
    fn block(&mut self, head: BlockHead) -> Result<(), Reason> {
        if self.block.is_some() || head.number < self.next {
            return Err(Reason::NotIncluded);
        }
        self.next = head.number.saturating_add(1);
        self.block = Some(head);
        Ok(())
    }

    fn frame(&mut self, frame: Frame, verdict: &mut Verdict) -> Result<(), Reason> {
        match frame {
            Frame::Key(keys) if self.root.is_none() => {
                if self.keys.is_empty() {
                    self.keys = String::from_utf8_lossy(&keys).lines().map(str::to_owned).collect();
                }
                Ok(())
            }
            Frame::Checkpoint(note) if self.root.is_none() => {
                if self.keys.is_empty() {
                    return Err(Reason::NoKey);
                }
                let keys = Keys::parse(self.keys.iter().map(String::as_str));
                let keys = keys.map_err(|key| Reason::BadKey(key.to_owned()))?;
                let checkpoint = keys.open(&note).map_err(|_| Reason::BadSignature)?;
                self.root = Some((checkpoint.size(), *checkpoint.hash()));
                verdict.checkpoint = Some(String::from_utf8_lossy(&note).into_owned());
                Ok(())
            }
            Frame::Path(path) => {
                let (Some(head), Some((size, root))) = (self.block, self.root) else {
                    return Err(Reason::NotIncluded);
                };
                let inside = head.number < size;
                if !inside || check_record(&path, size, root, head.number, head.leaf()).is_err() {
                    return Err(Reason::NotIncluded);
                }
                self.block = None;
                verdict.count(&head);
                Ok(())
            }
            _ => Err(Reason::Damaged),
        }
    }
}
