//! The link between two processes during a handover: the old one sends the rows of its last exchanges, the new
//! one writes them and acknowledges each block once it is synced.
//!
//! From old to new: frames of a head (record count, earliest and latest time, length; little-endian) and rows. A
//! frame without records says that nothing follows. From new to old: one byte for each block.

use std::io::{self, Read};

use bytes::BytesMut;

use crate::retention::format::PAYLOAD_LIMIT;
use crate::retention::format::rows::RowBlock;

const HEAD: usize = 24;

/// A message of the old process.
#[derive(Debug)]
pub(super) enum Frame {
    Block(RowBlock),
    /// Nothing follows.
    End,
}

/// Appends a block to `out`.
pub(super) fn write_block(block: &RowBlock, out: &mut BytesMut) {
    write_head(block.count, block.span, block.bytes.len() as u32, out);
    out.extend_from_slice(&block.bytes);
}

/// Appends the end to `out`.
pub(super) fn write_end(out: &mut BytesMut) {
    write_head(0, (0, 0), 0, out);
}

fn write_head(count: u32, (earliest, latest): (i64, i64), length: u32, out: &mut BytesMut) {
    out.extend_from_slice(&count.to_le_bytes());
    out.extend_from_slice(&earliest.to_le_bytes());
    out.extend_from_slice(&latest.to_le_bytes());
    out.extend_from_slice(&length.to_le_bytes());
}

/// Reads the next frame, and waits for it.
pub(super) fn read_frame(from: &mut impl Read) -> io::Result<Frame> {
    let mut head = [0; HEAD];
    from.read_exact(&mut head)?;
    let (count, earliest, latest, length) =
        (part(&head, 0), part(&head, 4), part(&head, 12), part(&head, 20));
    let count = u32::from_le_bytes(count);
    if count == 0 {
        return Ok(Frame::End);
    }
    let (span, length) =
        ((i64::from_le_bytes(earliest), i64::from_le_bytes(latest)), u32::from_le_bytes(length));
    if length > PAYLOAD_LIMIT {
        return Err(io::Error::other(format!("a block of {length} bytes")));
    }
    let mut bytes = vec![0; length as usize];
    from.read_exact(&mut bytes)?;
    Ok(Frame::Block(RowBlock { count, span, bytes }))
}

fn part<const LENGTH: usize>(head: &[u8; HEAD], at: usize) -> [u8; LENGTH] {
    std::array::from_fn(|index| head[at + index])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_as_they_were_written_and_never_beyond_their_limit() {
        let block = RowBlock { count: 3, span: (-7, i64::MAX), bytes: b"rows".to_vec() };
        let mut sent = BytesMut::new();
        write_block(&block, &mut sent);
        write_end(&mut sent);
        let from = &mut &sent[..];
        assert!(matches!(read_frame(from), Ok(Frame::Block(read)) if read == block));
        assert!(matches!(read_frame(from), Ok(Frame::End)));
        for cut in 0..HEAD + 4 {
            assert!(read_frame(&mut &sent[..cut]).is_err(), "{cut} bytes are no frame");
        }
        let mut long = sent[..HEAD].to_vec();
        long[20..].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(read_frame(&mut &long[..]).is_err());
    }
}
