//! Messages as a record batch of Kafka (magic 2), the form that logs are kept in since 0.11.

use super::wire::Writer;
use crate::ship::sink::Message;

/// How a batch is compressed. The numbers are Kafka's.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Compression {
    /// Understood by every broker.
    None = 0,
    /// Since Kafka 2.1, from version 7 of Produce on.
    Zstd = 4,
}

/// 1: as fast as the network, and JSON shrinks to a sixth.
const LEVEL: i32 = 1;
/// What a record adds to its key and value: lengths, time and offset as numbers of variable length.
const OVERHEAD: usize = 40;
/// From the beginning of a batch to the attributes, which the checksum covers first.
const CHECKED_FROM: usize = 21;
/// No producer id, epoch or sequence: repeats are told apart by the messages themselves.
const NO_PRODUCER: i64 = -1;

/// A batch of `messages`, each under `key`. There is at least one message.
pub(super) fn encode(
    messages: &[Message],
    key: &str,
    compression: Compression,
) -> Result<Vec<u8>, std::io::Error> {
    let millis = |message: &Message| message.time.as_millisecond();
    let base = messages.first().map(millis).unwrap_or_default();
    let latest = messages.iter().map(millis).max().unwrap_or_default();

    // At once, so that no smaller copies are left behind.
    let bytes: usize = messages.iter().map(|message| message.json.len() + key.len() + OVERHEAD).sum();
    let mut records = Writer(Vec::with_capacity(bytes));
    let mut record = Writer::default();
    for (offset, message) in (0_i64..).zip(messages) {
        record.0.clear();
        record.int8(0);
        record.varint(millis(message) - base);
        record.varint(offset);
        put_bytes(&mut record, key.as_bytes());
        put_bytes(&mut record, &message.json);
        // No headers.
        record.varint(0);
        put_bytes(&mut records, &record.0);
    }
    let records = match compression {
        Compression::None => records.0,
        Compression::Zstd => zstd::bulk::compress(&records.0, LEVEL)?,
    };

    let count = i32::try_from(messages.len()).unwrap_or(i32::MAX);
    let mut batch = Writer::default();
    batch.int64(0);
    // The length of what follows it.
    batch.length(49 + records.len());
    batch.int32(-1);
    batch.int8(2);
    batch.int32(0);
    batch.int16(compression as i16);
    batch.int32(count - 1);
    batch.int64(base);
    batch.int64(latest);
    batch.int64(NO_PRODUCER);
    batch.int16(-1);
    batch.int32(-1);
    batch.int32(count);
    batch.0.extend_from_slice(&records);

    let checksum = crc32c::crc32c(&batch.0[CHECKED_FROM..]);
    batch.0[CHECKED_FROM - 4..CHECKED_FROM].copy_from_slice(&checksum.to_be_bytes());
    Ok(batch.0)
}

fn put_bytes(out: &mut Writer, bytes: &[u8]) {
    out.varint(i64::try_from(bytes.len()).unwrap_or(i64::MAX));
    out.0.extend_from_slice(bytes);
}
