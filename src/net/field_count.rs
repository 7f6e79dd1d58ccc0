//! Counts the fields of header blocks (RFC 7541, 6) without decoding them, however the bytes are split.
//!
//! One byte can stand for a field, for which the decoder then keeps a hundred. The count is known before anything is decoded.

/// The flags of HEADERS (RFC 9113, 6.2).
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
const PRIORITY_BYTES: usize = 5;
/// Integers of a header block stay far below; more digits change nothing.
const MOST_SHIFT: u32 = 28;

/// The fields of one header block so far.
#[derive(Debug)]
pub(super) struct FieldCount {
    fields: usize,
    next: Part,
    /// The first byte of the frame says how much padding it ends with.
    padded: bool,
    /// Bytes of the frame before its fragment of the block.
    before: usize,
    /// Bytes of the frame's fragment still to come, and of what is before it.
    left: usize,
}

/// What the next byte is. `texts` are the strings of the field still to come: name and value, or the value.
#[derive(Clone, Copy, Debug)]
enum Part {
    Field,
    /// More digits of an index.
    Index {
        texts: u8,
    },
    /// The first byte of a string.
    Length {
        texts: u8,
    },
    /// More digits of a string's length.
    Digits {
        length: usize,
        shift: u32,
        texts: u8,
    },
    Text {
        left: usize,
        texts: u8,
    },
}

impl Part {
    fn after(texts: u8) -> Self {
        if texts == 0 { Self::Field } else { Self::Length { texts } }
    }

    fn text(length: usize, texts: u8) -> Self {
        if length == 0 { Self::after(texts - 1) } else { Self::Text { left: length, texts } }
    }
}

impl FieldCount {
    /// For the block that begins with a HEADERS frame of this `length`, with these `flags`.
    pub(super) fn begin(flags: u8, length: u32) -> Self {
        Self {
            fields: 0,
            next: Part::Field,
            padded: flags & PADDED != 0,
            before: if flags & PRIORITY != 0 { PRIORITY_BYTES } else { 0 },
            left: length as usize,
        }
    }

    /// The block goes on in a CONTINUATION frame of this `length`.
    pub(super) fn go_on(&mut self, length: u32) {
        (self.padded, self.before, self.left) = (false, 0, length as usize);
    }

    /// The number of fields so far, pseudo-fields included.
    pub(super) fn fields(&self) -> usize {
        self.fields
    }

    /// Takes the next bytes of a frame's payload.
    pub(super) fn observe(&mut self, mut payload: &[u8]) {
        if self.padded
            && let Some((padding, rest)) = payload.split_first()
        {
            self.padded = false;
            self.left = self.left.saturating_sub(1 + usize::from(*padding));
            payload = rest;
        }
        let before = self.before.min(payload.len());
        self.before -= before;
        self.left = self.left.saturating_sub(before);
        let fragment = &payload[before..];
        let fragment = &fragment[..fragment.len().min(self.left)];
        self.left -= fragment.len();
        self.count(fragment);
    }

    fn count(&mut self, mut bytes: &[u8]) {
        while let [byte, rest @ ..] = bytes {
            bytes = rest;
            let is_last_digit = byte & 0x80 == 0;
            self.next = match self.next {
                Part::Field => self.begins(*byte),
                Part::Index { texts } if is_last_digit => Part::after(texts),
                Part::Index { texts } => Part::Index { texts },
                Part::Length { texts } => match usize::from(byte & 0x7f) {
                    0x7f => Part::Digits { length: 0x7f, shift: 0, texts },
                    length => Part::text(length, texts),
                },
                Part::Digits { length, shift, texts } => {
                    let length = length.saturating_add(usize::from(byte & 0x7f) << shift);
                    if is_last_digit {
                        Part::text(length, texts)
                    } else {
                        Part::Digits { length, shift: MOST_SHIFT.min(shift + 7), texts }
                    }
                }
                Part::Text { left, texts } => {
                    // The byte itself, and what else of the text is there.
                    let more = (left - 1).min(bytes.len());
                    bytes = &bytes[more..];
                    Part::text(left - 1 - more, texts)
                }
            };
        }
    }

    /// The first byte of a field, or of a change of the table's size.
    fn begins(&mut self, byte: u8) -> Part {
        let (mask, is_literal) = match byte {
            0x80.. => (0x7f, false),
            0x40..0x80 => (0x3f, true),
            0x20..0x40 => return if byte & 0x1f == 0x1f { Part::Index { texts: 0 } } else { Part::Field },
            0x00..0x20 => (0x0f, true),
        };
        self.fields += 1;
        let texts = match (is_literal, byte & mask) {
            (false, _) => 0,
            (true, 0) => 2,
            (true, _) => 1,
        };
        if byte & mask == mask { Part::Index { texts } } else { Part::after(texts) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Blocks, and how many fields they have. The first ones are from RFC 7541, C.
    fn blocks() -> Vec<(Vec<u8>, usize)> {
        let long = [&[0x00, 1, b'x', 0x7f, 0x80, 0x01][..], &[b'y'; 255], &[0x82]].concat();
        vec![
            (b"\x40\x0acustom-key\x0dcustom-header".to_vec(), 1),
            (b"\x04\x0c/sample/path".to_vec(), 1),
            (b"\x10\x08password\x06secret".to_vec(), 1),
            (vec![0x82], 1),
            (b"\x82\x86\x84\x41\x8c\xf1\xe3\xc2\xe5\xf2\x3a\x6b\xa0\xab\x90\xf4\xff".to_vec(), 4),
            (b"\x3f\xe1\x1f\x82\x20\x84".to_vec(), 2),
            (b"\x0f\x05\x00\xff\x80\x01\x40\x00\x00\x82".to_vec(), 4),
            (long, 2),
            (vec![0xbe; 1800], 1800),
        ]
    }

    #[test]
    fn fields_are_counted_however_a_block_is_split() {
        for (block, fields) in blocks() {
            for size in [1, 2, 3, 7, 1000, 10_000] {
                let mut count = FieldCount::begin(0, u32::try_from(block.len()).expect("short"));
                block.chunks(size).for_each(|bytes| count.observe(bytes));
                assert_eq!(count.fields(), fields, "{block:?} by {size}");
                assert!(matches!(count.next, Part::Field), "{block:?} by {size}");
            }
        }
    }

    #[test]
    fn padding_and_priority_are_no_fields() {
        for size in 1..20 {
            let payload = [&[3, 0, 0, 0, 0, 16][..], &[0x82, 0x84], &[0; 3]].concat();
            let mut count =
                FieldCount::begin(PADDED | PRIORITY, u32::try_from(payload.len()).expect("short"));
            payload.chunks(size).for_each(|bytes| count.observe(bytes));
            count.go_on(1);
            count.observe(&[0x87, 0x87]);
            assert_eq!(count.fields(), 3, "{size}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, flags: u8, length in 0..70_000_u32) {
            FieldCount::begin(flags, length).observe(&bytes);
        }
    }
}
