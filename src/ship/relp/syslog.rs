//! A record as a syslog message (RFC 5424).
//!
//! The structured data tells repeats apart by `node`, `epoch` and `seq`; the message is the record's JSON. No value can end
//! the structured data early or begin a field of its own.

use std::io::Write as _;

use jiff::Timestamp;

/// `local0.info`: 16 * 8 + 6 (RFC 5424, 6.2.1).
const PRIORITY: u8 = 134;
/// RFC 5424, 6.2.4: the longest HOSTNAME.
const MAX_HOSTNAME: usize = 255;

/// Who wrote a record, and which of its records it is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin<'a> {
    pub(super) node: &'a str,
    pub(super) epoch: &'a str,
    pub(super) seq: u64,
}

/// Appends the message for a record of this `time` to `out`. `json` has no line feed.
///
/// 32473 is the enterprise number that RFC 5612 sets apart for examples; icpgate has none of its own.
pub(super) fn write(origin: Origin<'_>, time: Timestamp, json: &[u8], out: &mut Vec<u8>) {
    let Origin { node, epoch, seq } = origin;
    // Writing to a Vec cannot fail. Six decimals are the most that a TIMESTAMP may have.
    let _ = write!(out, "<{PRIORITY}>1 {time:.6} ");
    write_hostname(node, out);
    out.extend_from_slice(b" icpgate - access [icpgate@32473 node=\"");
    write_value(node, out);
    out.extend_from_slice(b"\" epoch=\"");
    write_value(epoch, out);
    let _ = write!(out, "\" seq=\"{seq}\"] ");
    // Without a byte order mark: parsers of JSON refuse one, and MSG-ANY needs none.
    out.extend_from_slice(json);
}

/// Printable ASCII without spaces; a name with anything else is left out, as the nil value.
fn write_hostname(node: &str, out: &mut Vec<u8>) {
    let fits = (1..=MAX_HOSTNAME).contains(&node.len()) && node.bytes().all(|byte| byte.is_ascii_graphic());
    out.extend_from_slice(if fits { node.as_bytes() } else { b"-" });
}

/// PARAM-VALUE: `"`, `\` and `]` are escaped (RFC 5424, 6.3.3). Control characters become spaces, since rsyslog would
/// write them as `#ooo`.
fn write_value(value: &str, out: &mut Vec<u8>) {
    for byte in value.bytes() {
        match byte {
            b'"' | b'\\' | b']' => out.extend_from_slice(&[b'\\', byte]),
            0..0x20 | 0x7f => out.push(b' '),
            _ => out.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(node: &str, expected: &str) {
        let time = "2026-03-02T10:11:12.345678901+08:00".parse().expect("a time");
        let mut out = Vec::new();
        write(Origin { node, epoch: "e1", seq: 7 }, time, "{\"path\":\"/京\"}".as_bytes(), &mut out);
        assert_eq!(String::from_utf8(out).expect("UTF-8"), expected);
    }

    #[test]
    fn a_record_is_one_message() {
        check(
            "bj-edge-1",
            "<134>1 2026-03-02T02:11:12.345678Z bj-edge-1 icpgate - access \
             [icpgate@32473 node=\"bj-edge-1\" epoch=\"e1\" seq=\"7\"] {\"path\":\"/京\"}",
        );
    }

    #[test]
    fn a_strange_node_stays_one_value() {
        check(
            "a\"] [x y=\"\\\n北京",
            "<134>1 2026-03-02T02:11:12.345678Z - icpgate - access \
             [icpgate@32473 node=\"a\\\"\\] [x y=\\\"\\\\ 北京\" epoch=\"e1\" seq=\"7\"] {\"path\":\"/京\"}",
        );
    }
}
