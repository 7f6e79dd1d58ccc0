//! Any bytes can be read as a segment: each record is a line of JSON, and everything else is reported as
//! damage.
//!
//! Input that begins with `icp` is used as the file. Other input becomes the rows of a valid block
//! (docs/retention-format.md), so that fuzzing reaches the decoder of rows.

#![no_main]

use std::cell::RefCell;
use std::io::{Seek, Write};

use icpgate::retention::{Item, Reader, Selection};
use libfuzzer_sys::fuzz_target;
use tempfile::NamedTempFile;
use zstd::bulk::Compressor;

const DICTIONARY: &[u8] = include_bytes!("../../src/retention/format/dictionary.txt");

thread_local! {
    static FILE: RefCell<NamedTempFile> = RefCell::new(NamedTempFile::new().expect("a file"));
    static PACKER: RefCell<Compressor<'static>> =
        RefCell::new(Compressor::with_dictionary(1, DICTIONARY).expect("a compressor"));
}

fuzz_target!(|bytes: &[u8]| {
    let made;
    let file = if bytes.starts_with(b"icp") {
        bytes
    } else {
        made = block(bytes);
        &made
    };
    FILE.with_borrow_mut(|shared| {
        shared.rewind().expect("rewound");
        shared.write_all(file).expect("written");
        shared.as_file().set_len(file.len() as u64).expect("cut");
        // A file without a single frame is refused.
        let Ok(mut reader) = Reader::open(shared.path(), Selection::default()) else { return };
        loop {
            match reader.next_item() {
                Ok(Some(Item::Record(line))) => {
                    let line = std::str::from_utf8(line).expect("UTF-8");
                    assert_eq!(line.find('\n'), Some(line.len() - 1), "one line");
                    assert!(line.starts_with("{\"seq\":") && line.ends_with("}\n"));
                }
                Ok(Some(Item::Damage { from, to, .. })) => assert!(from < to && to <= file.len() as u64),
                Ok(Some(Item::Missing { .. })) => panic!("a segment by itself follows none"),
                // A segment of an older version.
                Ok(None) | Err(_) => return,
            }
        }
    });
});

/// A block with the rows `rows`.
fn block(rows: &[u8]) -> Vec<u8> {
    let payload = PACKER.with_borrow_mut(|packer| packer.compress(rows)).expect("compressed");
    let mut block = vec![0; 136];
    block[..4].copy_from_slice(b"icpB");
    block[8..12].copy_from_slice(&(payload.len() as u32).to_le_bytes());
    block[12..16].copy_from_slice(&crc32c::crc32c(&payload).to_le_bytes());
    block[16..20].copy_from_slice(&(rows.len() as u32).to_le_bytes());
    // More rows than there can be, so that every row is read.
    block[20..24].copy_from_slice(&u32::MAX.to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&block[..4]), &block[8..]);
    block[4..8].copy_from_slice(&crc.to_le_bytes());
    block.extend_from_slice(&payload);
    block
}
