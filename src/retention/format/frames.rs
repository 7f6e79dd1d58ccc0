//! A segment file, frame by frame.
//!
//! Damage costs the frame that it is in: the next one is looked for, byte by byte, and what lies
//! between is named. What is unfinished at the end of the file is told apart from damage, since a
//! writer may be at work there. Bytes that the disk cannot give are damage too; whoever cuts off what is damaged
//! asks for them. Memory is one frame and the window that the file is read through.

use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use fs_err::File;
use memchr::memmem;
use rustix::io::Errno;

use crate::retention::format::codec::{self, MAGIC};
use crate::retention::format::{BLOCK_HEAD, BlockHead, Frame, NoFrame, VERSION};

/// How much is read at once where payloads are wanted, and where they are not.
const WHOLE: usize = 256 * 1024;
const HEADS: usize = 4 * 1024;
/// What a disk fails to give, it fails to give by the page.
const PAGE: u64 = 4 * 1024;

/// What comes next in a segment.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// A frame, and where it begins. A block's payload is all there, whatever it may hold.
    Frame(Frame, u64),
    /// Bytes that are no frame.
    Damage {
        /// Where they begin.
        from: u64,
        /// Where the next frame begins, or the file ends.
        to: u64,
    },
    /// The file ends here, or an unfinished frame begins here.
    End {
        /// The end of the last whole frame.
        at: u64,
        /// The end of the file.
        length: u64,
    },
}

/// Reads a segment from its beginning.
#[derive(Debug)]
pub(crate) struct Frames {
    window: Window,
    at: u64,
}

impl Frames {
    /// For a reader who wants payloads.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Self::start(Window::new(File::open(path)?, WHOLE))
    }

    /// For a reader who wants heads.
    pub(crate) fn open_for_heads(path: &Path) -> io::Result<Self> {
        Self::start(Window::new(File::open(path)?, HEADS))
    }

    /// For a file that somebody named: one without a single frame is an error.
    pub(crate) fn open_named(path: &Path) -> io::Result<Self> {
        let mut frames = Self::open(path)?;
        loop {
            match frames.next_step()? {
                Step::Frame(..) => return Ok(Self { at: 0, ..frames }),
                Step::Damage { .. } => {}
                Step::End { .. } => {
                    let hint = "nothing in this file is of a store or of a proof";
                    return Err(io::Error::new(io::ErrorKind::InvalidData, hint));
                }
            }
        }
    }

    fn start(mut window: Window) -> io::Result<Self> {
        let version = codec::version(window.read(0, HEADS)?);
        if let Some(other) = version.filter(|version| *version != VERSION) {
            let path = window.file.path().display();
            let message = format!(
                "{path} is of version {other} of the format, which this program does not read: read it with the \
                 program that wrote it, and move it out of the directory"
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        Ok(Self { window, at: 0 })
    }

    /// Where the next frame begins.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// Where the last bytes end, of those that were looked at, which the disk could not give; the beginning where it
    /// gave all.
    pub(crate) fn lost_until(&self) -> u64 {
        self.window.lost_until
    }

    /// Goes back to the frame at `at`, which was read before.
    pub(crate) fn rewind(&mut self, at: u64) {
        self.at = at;
    }

    /// The next frame, damage or end. After the end, more may follow once it is written.
    pub(crate) fn next_step(&mut self) -> io::Result<Step> {
        match self.frame_at(self.at)? {
            Ok((frame, end)) => {
                let from = std::mem::replace(&mut self.at, end);
                Ok(Step::Frame(frame, from))
            }
            Err(reason) => {
                let from = self.at;
                let length = self.window.file.metadata()?.len();
                let next = if from < length { self.search(from + 1)? } else { None };
                let Some(to) = next.or((reason == NoFrame::Damaged).then_some(length)) else {
                    return Ok(Step::End { at: from, length });
                };
                self.at = to;
                Ok(Step::Damage { from, to })
            }
        }
    }

    /// The payload of the block at `at`.
    pub(crate) fn payload(&mut self, at: u64, head: &BlockHead) -> io::Result<&[u8]> {
        self.window.read(at + BLOCK_HEAD as u64, head.length as usize)
    }

    /// The frame at `at` and its end.
    fn frame_at(&mut self, at: u64) -> io::Result<Result<(Frame, u64), NoFrame>> {
        let mut wanted = BLOCK_HEAD;
        loop {
            let bytes = self.window.read(at, wanted)?;
            let (frame, length) = match codec::parse(bytes) {
                Ok(parsed) => parsed,
                Err(NoFrame::Incomplete(needed)) if needed > wanted && bytes.len() == wanted => {
                    wanted = needed;
                    continue;
                }
                Err(reason) => return Ok(Err(reason)),
            };
            let payload = if let Frame::Block(head) = &frame { head.length } else { 0 };
            let end = at + length as u64 + u64::from(payload);
            if payload > 0 && end > self.window.file.metadata()?.len() {
                return Ok(Err(NoFrame::Incomplete(0)));
            }
            return Ok(Ok((frame, end)));
        }
    }

    /// Where the next frame begins, from `at` on.
    fn search(&mut self, mut at: u64) -> io::Result<Option<u64>> {
        loop {
            let bytes = self.window.read(at, WHOLE)?;
            let (length, found) = (bytes.len(), memmem::find(bytes, MAGIC));
            match found {
                Some(offset) => {
                    at += offset as u64;
                    if self.frame_at(at)?.is_ok() {
                        return Ok(Some(at));
                    }
                    at += 1;
                }
                None if length < WHOLE => return Ok(None),
                None => at += (length - MAGIC.len() + 1) as u64,
            }
        }
    }
}

/// A part of a file. What the disk cannot give is zeros, which no CRC fits.
#[derive(Debug)]
struct Window {
    file: File,
    ahead: usize,
    start: u64,
    bytes: Vec<u8>,
    lost_until: u64,
}

impl Window {
    fn new(file: File, ahead: usize) -> Self {
        Self { file, ahead, start: 0, bytes: Vec::new(), lost_until: 0 }
    }

    /// The `length` bytes at `at`; fewer where the file ends.
    fn read(&mut self, at: u64, length: usize) -> io::Result<&[u8]> {
        let inside = at >= self.start && at + length as u64 <= self.start + self.bytes.len() as u64;
        if !inside {
            self.bytes.resize(length.max(self.ahead), 0);
            self.start = at;
            let read = self.fill(at)?;
            self.bytes.truncate(read);
        }
        let from = (at - self.start) as usize;
        Ok(&self.bytes[from..self.bytes.len().min(from + length)])
    }

    /// Fills the bytes from `at`; how many there were.
    fn fill(&mut self, at: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < self.bytes.len() {
            let from = at + filled as u64;
            match self.file.file().read_at(&mut self.bytes[filled..], from) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_of_the_disk(&error) => {
                    let page_end = (from + 1).next_multiple_of(PAGE);
                    let lost = page_end.min(self.file.metadata()?.len()).saturating_sub(from) as usize;
                    if lost == 0 {
                        break;
                    }
                    let end = self.bytes.len().min(filled + lost);
                    self.bytes[filled..end].fill(0);
                    filled = end;
                    self.lost_until = self.lost_until.max(at + filled as u64);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

/// Whether it is the disk that cannot give the bytes, or what stands on it that is not what it should be.
fn is_of_the_disk(error: &io::Error) -> bool {
    let number = Errno::from_io_error(error);
    number.is_some_and(|number| [Errno::IO, Errno::UCLEAN, Errno::BADMSG].contains(&number))
}
