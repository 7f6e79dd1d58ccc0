use proptest::prelude::*;

use super::*;
use crate::access::export::write_line;
use crate::access::record::RequestFacts;
use crate::access::texts::Sent;
use crate::access::{AccessRecord, GapReason, RequestTexts};
use crate::retention::tests::{push, request};

fn lines(rows: &[u8], first_seq: u64) -> Vec<String> {
    let mut reader = RowReader::new(first_seq);
    let mut lines = Vec::new();
    while let Some(row) = reader.next(rows) {
        let mut line = Vec::new();
        write_line(&row.expect("a row"), &mut line);
        lines.push(String::from_utf8(line).expect("UTF-8"));
    }
    lines
}

/// A request on a connection, from a page.
fn asked(connection: &AccessRecord, path: &str, referer: &str) -> AccessRecord {
    let sent = Sent { path: path.as_bytes(), referer: referer.as_bytes(), ..Sent::default() };
    AccessRecord {
        connection: Arc::clone(&connection.connection),
        request: Some(RequestFacts { texts: RequestTexts::new(sent), ..RequestFacts::default() }),
        ..request("/")
    }
}

#[test]
fn records_of_connections_that_take_turns_read_as_if_each_stood_alone() {
    let (one, two) = (request("/"), request("/"));
    let records = [
        asked(&one, "/a", ""),
        asked(&two, "/b", "/from"),
        asked(&one, "/c", "/from"),
        AccessRecord { host: Some("other.example.cn".into()), ..asked(&two, "/d", "/from") },
        asked(&one, "/e", "/from"),
        asked(&two, "/f", ""),
    ];
    let mut together = Rows::new("n".into());
    let mut alone = Vec::new();
    for (seq, record) in (1..).zip(&records) {
        push(&mut together, record);
        let mut rows = Rows::new("n".into());
        push(&mut rows, record);
        alone.extend(lines(rows.bytes(), seq));
    }
    assert_eq!(lines(together.bytes(), 1), alone);
    assert_eq!(together.count(), 6);
}

#[test]
fn a_block_knows_nothing_of_the_one_before() {
    let record = request("/");
    let mut rows = Rows::new("n".into());
    push(&mut rows, &record);
    let first = rows.bytes().to_vec();
    push(&mut rows, &record);
    assert!(rows.bytes().len() < first.len() + 20, "a row after another of the same connection is short");
    rows.clear();
    assert_eq!(rows.span(), None);
    push(&mut rows, &record);
    assert_eq!(rows.bytes(), first);
    // A place that another block gave is only a guess.
    let mut other = Rows::new("n".into());
    push(&mut other, &request("/other"));
    push(&mut other, &record);
    assert_eq!(lines(other.bytes(), 1).len(), 2);
}

#[test]
fn what_is_missing_or_deleted_stands_among_the_records() {
    let time = Timestamp::from_millisecond(1_772_000_000_000).expect("a time");
    let mut rows = Rows::new("n".into());
    rows.set_clock(ClockState { synchronized: true, offset_us: 1_500 });
    let gap = |count| Gap { time, since: Timestamp::UNIX_EPOCH, reason: GapReason::TornTail, count };
    rows.push_gap(&gap(None));
    push(&mut rows, &request("/"));
    rows.push_gap(&gap(Some(0)));
    rows.push_expired(&Expired { time, before_seq: 9 });
    let lines = lines(rows.bytes(), 10);
    assert!(
        lines[0].contains(r#""seq":10,"#)
            && lines[0].contains(r#""since":"1970-01-01T08:00:00.000+08:00","clock_"#)
    );
    assert!(lines[2].contains(r#""event":"gap","reason":"torn_tail""#) && lines[2].contains(r#""count":0,"#));
    assert!(lines[3].contains(r#""event":"expired""#) && lines[3].contains(r#""before_seq":9,"#));
    let clock = r#""clock_synchronized":true,"clock_offset_ms":1.500}"#;
    assert!(lines.iter().all(|line| line.trim_end().ends_with(clock)), "{lines:?}");
}

proptest! {
    #[test]
    fn whatever_stands_where_rows_should_be_nothing_panics(
        noise in prop::collection::vec(any::<u8>(), 0..300), at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut rows = Rows::new("n".into());
        let record = request("/");
        for path in ["/a", "/b"] {
            push(&mut rows, &asked(&record, path, path));
        }
        let mut changed = rows.bytes().to_vec();
        let at = at.index(changed.len());
        changed[at] = byte;
        for bytes in [&noise[..], &changed, &rows.bytes()[..at]] {
            let mut reader = RowReader::new(1);
            while let Some(row) = reader.next(bytes) {
                if let Ok(fields) = row {
                    write_line(&fields, &mut Vec::new());
                }
            }
        }
    }
}
