//! Reads a segment file frame by frame.
//!
//! Damage costs only the frame it is in: the reader searches for the next frame byte by byte and reports the
//! range between. An unfinished frame at the end of the file is not damage, since a writer may be at work
//! there. Unreadable sectors count as damage; recovery asks for them separately, before it cuts anything.
//! Memory is one frame and the read window.

use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use fs_err::File;
use memchr::memmem;
use rustix::io::Errno;

use crate::retention::format::codec::{self, MAGIC};
use crate::retention::format::{BLOCK_HEAD, BlockHead, Frame, NoFrame, VERSION};

/// Bytes read at once, for readers that want payloads and for readers that do not.
const WHOLE: usize = 256 * 1024;
const HEADS: usize = 4 * 1024;
/// Disks fail to read by the page: 4 KiB.
const PAGE: u64 = 4 * 1024;

#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// A frame and its offset. The payload of a block is present but not checked.
    Frame(Frame, u64),
    /// Bytes that are not a frame.
    Damage {
        from: u64,
        /// The offset of the next frame, or the end of the file.
        to: u64,
    },
    /// The end of the file, or the start of an unfinished frame.
    End { at: u64, length: u64 },
}

/// A reader of one segment.
#[derive(Debug)]
pub(crate) struct Frames {
    window: Window,
    at: u64,
}

impl Frames {
    /// Opens a segment for reading payloads.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Self::start(Window::new(File::open(path)?, WHOLE))
    }

    /// Opens a segment for reading heads only, in small reads.
    pub(crate) fn open_for_heads(path: &Path) -> io::Result<Self> {
        Self::start(Window::new(File::open(path)?, HEADS))
    }

    /// Opens a file given by a user; a file without a single frame is an error.
    pub(crate) fn open_named(path: &Path) -> io::Result<Self> {
        let mut frames = Self::open(path)?;
        loop {
            match frames.next_step()? {
                Step::Frame(..) => return Ok(Self { at: 0, ..frames }),
                Step::Damage { .. } => {}
                Step::End { .. } => {
                    let hint = "the file holds no frame of a store or of a proof";
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
                "{path} has version {other} of the format, which this program does not read; read it with the program \
                 that wrote it, and move it out of the directory"
            );
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        Ok(Self { window, at: 0 })
    }

    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// The end of the last bytes that the disk could not read, among those looked at; 0 if it could read all.
    pub(crate) fn lost_until(&self) -> u64 {
        self.window.lost_until
    }

    /// Goes back to the frame at `at`, so that it is read again.
    pub(crate) fn rewind(&mut self, at: u64) {
        self.at = at;
    }

    /// The next item. After an end, more may follow once it is written.
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

    pub(crate) fn payload(&mut self, at: u64, head: &BlockHead) -> io::Result<&[u8]> {
        self.window.read(at + BLOCK_HEAD as u64, head.length as usize)
    }

    /// The frame at `at`, and its end.
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

    /// The offset of the next frame from `at` on.
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

/// A file range. Unreadable sectors read as zeros, so their CRC fails.
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

    /// The `length` bytes at `at`; fewer at the end of the file.
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

    /// Fills the window from `at`; returns how many bytes there were.
    fn fill(&mut self, at: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < self.bytes.len() {
            let from = at + filled as u64;
            match self.file.file().read_at(&mut self.bytes[filled..], from) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if is_disk_failure(&error) => {
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

/// Whether the disk failed to read, as opposed to any other error.
fn is_disk_failure(error: &io::Error) -> bool {
    let number = Errno::from_io_error(error);
    number.is_some_and(|number| [Errno::IO, Errno::UCLEAN, Errno::BADMSG].contains(&number))
}
