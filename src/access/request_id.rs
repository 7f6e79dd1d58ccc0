//! Request ids: 32 hexadecimal digits, or the id that a trusted proxy sent.
//!
//! An id need not be secret, only unique. 96 random bits belong to the connection and the last 32 count its
//! requests, so that a request needs no random number and its record only a few bits.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::access::fields::IdText;

/// Leading hexadecimal digits that all ids of a connection share.
const SHARED: usize = 24;
const DIGITS: usize = 32;

/// Makes the request ids of a connection.
#[derive(Debug)]
pub struct RequestIds {
    shared: [u8; SHARED],
    next: AtomicU32,
}

/// A request id.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RequestId {
    /// Made by this edge: the number of the request on its connection.
    Own(u32),
    /// Sent by a trusted proxy.
    Given(Arc<str>),
}

impl RequestIds {
    /// Starts a new connection with random bits.
    pub fn new() -> Self {
        let mut random = [0; SHARED / 2];
        random[..8].copy_from_slice(&fastrand::u64(..).to_le_bytes());
        random[8..].copy_from_slice(&fastrand::u32(..).to_le_bytes());
        Self { shared: shared(random), next: AtomicU32::new(0) }
    }

    /// The id of the next request.
    pub fn next(&self) -> RequestId {
        RequestId::Own(self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// A request id of this connection, as text.
    pub fn text_of<'i>(&self, id: &'i RequestId) -> IdText<'i> {
        match id {
            RequestId::Own(number) => IdText::Own(text(&self.shared, *number)),
            RequestId::Given(id) => IdText::Given(id),
        }
    }

    /// The random bits that all ids of the connection begin with.
    pub fn bits(&self) -> [u8; SHARED / 2] {
        let digit = |digit: u8| if digit >= b'a' { digit - b'a' + 10 } else { digit - b'0' };
        std::array::from_fn(|at| digit(self.shared[2 * at]) << 4 | digit(self.shared[2 * at + 1]))
    }
}

impl Default for RequestIds {
    fn default() -> Self {
        Self::new()
    }
}

/// The id with this number on a connection whose ids begin with `bits`.
pub(super) fn own(bits: [u8; SHARED / 2], number: u32) -> [u8; DIGITS] {
    text(&shared(bits), number)
}

fn shared(bits: [u8; SHARED / 2]) -> [u8; SHARED] {
    let mut digits = [0; SHARED];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(bits) {
        pair.copy_from_slice(&[hex(byte >> 4), hex(byte & 15)]);
    }
    digits
}

fn text(shared: &[u8; SHARED], number: u32) -> [u8; DIGITS] {
    let mut text = [0; DIGITS];
    text[..SHARED].copy_from_slice(shared);
    for (digit, shift) in text[SHARED..].iter_mut().zip([28, 24, 20, 16, 12, 8, 4, 0]) {
        *digit = hex((number >> shift) as u8 & 15);
    }
    text
}

fn hex(nibble: u8) -> u8 {
    nibble + if nibble < 10 { b'0' } else { b'a' - 10 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ_and_are_told_by_the_connection_s_bits_and_a_number() {
        let (ids, others) = (RequestIds::new(), RequestIds::new());
        let (first, second) = (ids.next(), ids.next());
        let (shown, next) = (ids.text_of(&first), ids.text_of(&second));
        assert_eq!((shown.len(), &shown[..SHARED]), (DIGITS, &next[..SHARED]));
        assert!(*shown != *next && *shown != *others.text_of(&others.next()));
        assert!(shown.bytes().all(|digit| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit)));
        assert_eq!((&second, &next[SHARED..]), (&RequestId::Own(1), "00000001"));
        assert_eq!(own(ids.bits(), 1), next.as_bytes());
        assert_eq!(&*ids.text_of(&RequestId::Given("0c1d".into())), "0c1d");
    }
}
