//! Reads a store, while it is written to or long after.
//!
//! Records come oldest first, each as a line of JSON. Memory is one block at a time. A damaged block costs
//! only its own records: it is reported and skipped.

use std::collections::HashSet;
use std::io;
use std::iter::Peekable;
use std::path::{Path, PathBuf};

use crate::access::export::write_line;
use crate::encryption::KeyFile;
use crate::retention::format::Frame;
use crate::retention::format::block::Unpacker;
use crate::retention::format::frames::{Frames, Step};
use crate::retention::format::rows::reader::{Malformed, RowReader};
use crate::retention::format::segment::{self, Segment};
use crate::retention::read::{Item, Selection};

/// Reads a store from its oldest record to the newest at the time.
pub struct Reader {
    segments: Peekable<std::vec::IntoIter<Segment>>,
    selection: Selection,
    current: Option<Current>,
    /// The path of the current segment, or of the previous one.
    path: PathBuf,
    unpacker: Unpacker,
    /// The rows of the current block, and its byte range.
    rows: Vec<u8>,
    row_reader: RowReader,
    block: (u64, u64),
    /// The number of the next block, if the previous segment was read.
    next_block: Option<u64>,
    line: Vec<u8>,
    /// Opens encrypted segments; `None` for a store.
    decrypt: Option<Decrypt>,
}

/// Opens the encrypted segments of a copy.
struct Decrypt {
    key: KeyFile,
    /// For one decrypted segment at a time.
    scratch: PathBuf,
}

struct Current {
    frames: Frames,
    /// The first block of the next segment; `None` for the newest segment.
    end: Option<u64>,
}

impl Reader {
    /// Opens the store in `directory`, or a file: a proof or a single segment.
    pub fn open(directory: &Path, selection: Selection) -> io::Result<Self> {
        let file = directory.is_file();
        let segments = if file { Vec::new() } else { segment::list(directory)? }.into_iter().peekable();
        let frames = if file { Some(Frames::open_named(directory)?) } else { None };
        let unpacker = Unpacker::new()?;
        Ok(Self {
            segments,
            selection,
            current: frames.map(|frames| Current { frames, end: None }),
            path: directory.to_owned(),
            unpacker,
            rows: Vec::new(),
            row_reader: RowReader::default(),
            block: (0, 0),
            next_block: None,
            line: Vec::new(),
            decrypt: None,
        })
    }

    /// Opens the copy of a store in `directory`, whose segments are encrypted for `key`. `scratch` is a folder for
    /// one of them at a time, decrypted.
    pub fn open_encrypted(
        directory: &Path,
        selection: Selection,
        key: KeyFile,
        scratch: &Path,
    ) -> io::Result<Self> {
        let mut reader = Self::open(directory, selection)?;
        let mut segments = segment::list(directory)?;
        let plain: HashSet<_> = segments.iter().map(|segment| segment.name).collect();
        segments
            .extend(segment::list_encrypted(directory)?.into_iter().filter(|one| !plain.contains(&one.name)));
        segments.sort_by_key(|segment| (segment.name.first_block, segment.name.opened));
        reader.segments = segments.into_iter().peekable();
        reader.decrypt = Some(Decrypt { key, scratch: scratch.join("segment") });
        Ok(reader)
    }

    /// The next item; `None` at the end. Segments deleted meanwhile are skipped.
    pub fn next_item(&mut self) -> io::Result<Option<Item<'_>>> {
        loop {
            match self.next_wanted_row() {
                Some(Ok(())) => return Ok(Some(Item::Record(&self.line))),
                Some(Err(Malformed)) => {
                    let (from, to) = self.block;
                    return Ok(Some(Item::Damage { segment: &self.path, from, to }));
                }
                None => {}
            }
            if self.current.is_none() {
                let Some(first) = self.next_segment()? else { return Ok(None) };
                if let Some(from) = self.next_block.replace(first).filter(|next| *next < first) {
                    return Ok(Some(Item::Missing { segment: &self.path, from, to: first - 1 }));
                }
            }
            let Some(current) = &mut self.current else { continue };
            match current.frames.next_step()? {
                Step::Frame(Frame::Block(head), at) => {
                    if current.end.is_some_and(|end| head.number >= end) {
                        continue;
                    }
                    self.next_block = Some(head.number.saturating_add(1));
                    if !self.selection.may_be_in_block(&head) {
                        continue;
                    }
                    let payload = current.frames.payload(at, &head)?;
                    let unpacked = self.unpacker.unpack(head, payload, &mut self.rows);
                    let to = current.frames.at();
                    self.block = (at, to);
                    if !unpacked {
                        self.rows.clear();
                        return Ok(Some(Item::Damage { segment: &self.path, from: at, to }));
                    }
                    self.row_reader = RowReader::of(&head);
                }
                Step::Frame(..) => {}
                Step::Damage { from, to } => {
                    return Ok(Some(Item::Damage { segment: &self.path, from, to }));
                }
                Step::End { at, length } => {
                    // Only the newest segment may end with an unfinished block.
                    let unfinished = at < length && current.end.is_some();
                    self.current = None;
                    if unfinished {
                        return Ok(Some(Item::Damage { segment: &self.path, from: at, to: length }));
                    }
                }
            }
        }
    }

    /// Opens a segment; an encrypted one by its decrypted copy, which is gone from the disk once it is closed.
    fn frames(&self, path: &Path) -> io::Result<Frames> {
        match &self.decrypt {
            Some(decrypt) if path.extension().is_some_and(|end| end == "age") => {
                decrypt.key.decrypt(path, &decrypt.scratch)?;
                let frames = Frames::open(&decrypt.scratch);
                fs_err::remove_file(&decrypt.scratch)?;
                frames
            }
            _ => Frames::open(path),
        }
    }

    fn next_wanted_row(&mut self) -> Option<Result<(), Malformed>> {
        loop {
            match self.row_reader.next(&self.rows)? {
                Ok(fields) if self.selection.wants(&fields) => {
                    self.line.clear();
                    write_line(&fields, &mut self.line);
                    return Some(Ok(()));
                }
                Ok(_) => {}
                Err(malformed) => return Some(Err(malformed)),
            }
        }
    }

    /// Opens the next segment that may match; returns the number of its first block.
    fn next_segment(&mut self) -> io::Result<Option<u64>> {
        while let Some(segment) = self.segments.next() {
            if !self.selection.may_be_in(&segment) {
                self.next_block = None;
                continue;
            }
            match self.frames(&segment.path) {
                Ok(frames) => {
                    let end = self.segments.peek().map(|next| next.name.first_block);
                    self.path = segment.path;
                    self.current = Some(Current { frames, end });
                    return Ok(Some(segment.name.first_block));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => self.next_block = None,
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("selection", &self.selection).finish_non_exhaustive()
    }
}
