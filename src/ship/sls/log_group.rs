//! A LogGroup of the Log Service, encoded as protobuf by hand: three small messages, whose `.proto` is in Alibaba's SDKs.
//!
//! ```text
//! LogGroup { repeated Log logs = 1; string topic = 3; string source = 4; }
//! Log      { uint32 time = 1; repeated Content contents = 2; fixed32 time_ns = 4; }
//! Content  { string key = 1; string value = 2; }
//! ```
//!
//! Every field of a record becomes a key with the text that JSON shows, so that the service can index each.

use std::borrow::Cow;
use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::value::RawValue;

/// Field number and wire type: 2 is length-delimited, 0 a varint, 5 four bytes.
const GROUP_LOGS: u8 = 1 << 3 | 2;
const GROUP_TOPIC: u8 = 3 << 3 | 2;
const GROUP_SOURCE: u8 = 4 << 3 | 2;
const LOG_TIME: u8 = 1 << 3;
const LOG_CONTENTS: u8 = 2 << 3 | 2;
const LOG_TIME_NS: u8 = 4 << 3 | 5;
const CONTENT_KEY: u8 = 1 << 3 | 2;
const CONTENT_VALUE: u8 = 2 << 3 | 2;

/// Logs that go in one request.
#[derive(Debug)]
pub(super) struct LogGroup {
    bytes: Vec<u8>,
    scratch: Vec<u8>,
}

/// The line is no JSON object of plain values.
#[derive(Debug, thiserror::Error)]
#[error("a record that is no JSON object of plain values: {0}")]
pub(super) struct NoRecord(#[from] serde_json::Error);

impl LogGroup {
    /// An empty group; `source` names the node.
    pub(super) fn new(topic: &str, source: &str) -> Self {
        let mut bytes = Vec::new();
        put_bytes(GROUP_TOPIC, topic.as_bytes(), &mut bytes);
        put_bytes(GROUP_SOURCE, source.as_bytes(), &mut bytes);
        Self { bytes, scratch: Vec::new() }
    }

    /// Adds a record.
    pub(super) fn push(&mut self, time: Timestamp, json: &[u8]) -> Result<(), NoRecord> {
        let fields: BTreeMap<&str, &RawValue> = serde_json::from_slice(json)?;
        self.scratch.clear();
        // Negative only before 1970, and four bytes end in 2106.
        let seconds = u32::try_from(time.as_second()).unwrap_or_default();
        self.scratch.push(LOG_TIME);
        put_varint(seconds.into(), &mut self.scratch);
        for (key, value) in fields {
            let value = plain_text(value)?;
            let content = field_length(key.len()) + field_length(value.len());
            self.scratch.push(LOG_CONTENTS);
            put_varint(content as u64, &mut self.scratch);
            put_bytes(CONTENT_KEY, key.as_bytes(), &mut self.scratch);
            put_bytes(CONTENT_VALUE, value.as_bytes(), &mut self.scratch);
        }
        self.scratch.push(LOG_TIME_NS);
        let nanoseconds = u32::try_from(time.subsec_nanosecond()).unwrap_or_default();
        self.scratch.extend_from_slice(&nanoseconds.to_le_bytes());
        put_bytes(GROUP_LOGS, &self.scratch, &mut self.bytes);
        Ok(())
    }

    /// The message, uncompressed.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// A string without its quotes and escapes; a number or a word as it is written.
fn plain_text(value: &RawValue) -> Result<Cow<'_, str>, serde_json::Error> {
    let text = value.get();
    if text.starts_with('"') {
        let borrowed: serde_json::Result<&str> = serde_json::from_str(text);
        return borrowed.map(Cow::Borrowed).or_else(|_| serde_json::from_str(text).map(Cow::Owned));
    }
    Ok(Cow::Borrowed(text))
}

fn put_bytes(tag: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    put_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

fn put_varint(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Bytes of a length-delimited field: tag, length, content.
fn field_length(content: usize) -> usize {
    let significant = usize::BITS - content.leading_zeros();
    1 + significant.div_ceil(7).max(1) as usize + content
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time() -> Timestamp {
        "2026-03-02T10:11:12.345678901+08:00".parse().expect("a time")
    }

    #[test]
    fn a_group_is_what_protobuf_says() {
        let mut group = LogGroup::new("t", "n");
        group.push(time(), br#"{"seq":7,"path":"/a\"b","ok":true}"#).expect("a record");
        let log = [
            &[0x08, 0xc0, 0xe3, 0x93, 0xcd, 0x06][..],
            b"\x12\x0a\x0a\x02ok\x12\x04true",
            b"\x12\x0c\x0a\x04path\x12\x04/a\"b",
            b"\x12\x08\x0a\x03seq\x12\x017",
            &[0x25, 0x35, 0xa4, 0x9a, 0x14],
        ]
        .concat();
        let expected = [b"\x1a\x01t\x22\x01n\x0a", &[log.len() as u8][..], &log].concat();
        assert_eq!(group.into_bytes(), expected);
    }

    #[test]
    fn lengths_are_those_of_their_varints() {
        for length in [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152] {
            let mut out = Vec::new();
            put_bytes(GROUP_LOGS, &vec![0; length], &mut out);
            assert_eq!(out.len(), field_length(length), "{length}");
        }
    }

    #[test]
    fn what_is_no_record_is_refused() {
        let mut group = LogGroup::new("t", "n");
        for json in [&b""[..], b"[1]", b"{\"a\":", b"{\"a\":\"\xff\"}"] {
            assert!(group.push(time(), json).is_err(), "{json:?}");
        }
        assert_eq!(group.into_bytes(), LogGroup::new("t", "n").into_bytes());
    }
}
