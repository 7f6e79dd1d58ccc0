use http::Version;
use proptest::prelude::*;

use super::*;
use crate::access::GapReason;
use crate::access::export::write_line;
use crate::access::record::{RequestFacts, ServerFacts, UpstreamFacts};
use crate::origin::Region;
use crate::retention::format::rows::reader::RowReader;
use crate::retention::tests::{push, request, sent};

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

/// The texts of a request with a referer.
fn from<'s>(path: &'s str, referer: &'s str) -> RequestTexts<'s> {
    RequestTexts { referer: referer.as_bytes(), ..sent(path) }
}

#[test]
fn records_of_connections_that_take_turns_read_as_if_each_stood_alone() {
    let (one, two) = (request(), request());
    let records = [
        (&one, from("/a", "")),
        (&two, from("/b", "/from")),
        (&one, from("/c", "/from")),
        (&AccessRecord { host: Some("other.example.cn".into()), ..two.clone() }, from("/d", "/from")),
        (&one, from("/e", "/from")),
        (&two, from("/f", "")),
    ];
    let mut together = Rows::new("n".into());
    let mut alone = Vec::new();
    for (seq, (record, sent)) in (1..).zip(&records) {
        together.push(record, sent, Clients::One);
        let mut rows = Rows::new("n".into());
        rows.push(record, sent, Clients::One);
        alone.extend(lines(rows.bytes(), seq));
    }
    assert_eq!(lines(together.bytes(), 1), alone);
    assert_eq!(together.count(), 6);
}

#[test]
fn a_block_knows_nothing_of_the_one_before() {
    let record = request();
    let mut rows = Rows::new("n".into());
    push(&mut rows, &record, "/");
    let first = rows.bytes().to_vec();
    push(&mut rows, &record, "/");
    assert!(rows.bytes().len() < first.len() + 20, "a row after another of the same connection is short");
    rows.clear();
    assert_eq!(rows.span(), None);
    push(&mut rows, &record, "/");
    assert_eq!(rows.bytes(), first);
    // An index from another block is only a hint.
    let mut other = Rows::new("n".into());
    push(&mut other, &request(), "/other");
    push(&mut other, &record, "/");
    assert_eq!(lines(other.bytes(), 1).len(), 2);
}

#[test]
fn what_is_missing_or_deleted_stands_among_the_records() {
    let time = Timestamp::from_millisecond(1_772_000_000_000).expect("a time");
    let mut rows = Rows::new("n".into());
    rows.set_clock(ClockState { synchronized: true, offset_us: 1_500 });
    let gap = |count| Gap { time, since: Timestamp::UNIX_EPOCH, reason: GapReason::TornTail, count };
    rows.push_gap(&gap(None));
    push(&mut rows, &request(), "/");
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

/// A record with one of a few values for each part of its setting; some are the same allocation, others equal
/// copies.
fn varied(
    connection: &Arc<ConnectionFacts>,
    shared: &[Arc<str>; 2],
    server: &Arc<ServerFacts>,
    choice: [u8; 12],
) -> AccessRecord {
    let name = |place: usize| match choice[place] {
        0 => None,
        1 => Some(Arc::clone(&shared[0])),
        2 => Some(Arc::from(&*shared[0])),
        _ => Some(Arc::clone(&shared[1])),
    };
    let own = || ServerFacts {
        origin: name(4).unwrap_or_else(|| Arc::clone(&shared[1])),
        region: if choice[6] < 2 { Region::Mainland } else { Region::Offshore },
        link: name(5).unwrap_or_else(|| Arc::clone(&shared[1])),
        address: ([10, 0, 1, choice[7]], 8080).into(),
        local: (choice[8] < 3).then(|| ([10, 0, 0, choice[8]], 50_000).into()),
    };
    let upstream = || UpstreamFacts {
        server: if choice[0] == 0 { Arc::clone(server) } else { Arc::new(own()) },
        status: Some(200),
        first_byte: None,
    };
    let facts = RequestFacts { site: name(2), icp_number: name(3), ..RequestFacts::default() };
    AccessRecord {
        connection: Arc::clone(connection),
        host: name(1),
        generation: choice[9].into(),
        client: ([192, 0, 2, choice[10]], 0).into(),
        protocol: (choice[11] < 2).then_some(Version::HTTP_2),
        request: (choice[11] != 2).then_some(facts),
        upstream: (choice[6] != 3).then(upstream),
        ..request()
    }
}

proptest! {
    #[test]
    fn whatever_part_of_a_setting_changes_records_read_as_if_each_stood_alone(
        choices in prop::collection::vec(
            // The first value is the most likely, so that settings repeat.
            (any::<bool>(), prop::array::uniform12(prop_oneof![20 => Just(1_u8), 1 => 0..4_u8]), 0..2_usize),
            1..24,
        ),
    ) {
        let connections = [request().connection, request().connection];
        let shared: [Arc<str>; 2] = ["www.example.cn".into(), "shop".into()];
        let server = Arc::new(ServerFacts {
            origin: Arc::clone(&shared[0]),
            region: Region::Mainland,
            link: Arc::clone(&shared[1]),
            address: ([10, 0, 1, 1], 8080).into(),
            local: None,
        });
        let (mut together, mut alone) = (Rows::new("n".into()), Vec::new());
        for (seq, (connection, choice, agent)) in (1..).zip(choices) {
            let record = varied(&connections[usize::from(connection)], &shared, &server, choice);
            let user_agent = ["curl/8", "wrk"][agent].as_bytes();
            let sent = RequestTexts { user_agent, is_truncated: choice[11] == 3, ..sent("/") };
            together.push(&record, &sent, Clients::One);
            let mut rows = Rows::new("n".into());
            rows.push(&record, &sent, Clients::One);
            alone.extend(lines(rows.bytes(), seq));
        }
        prop_assert_eq!(lines(together.bytes(), 1), alone);
    }

    #[test]
    fn whatever_stands_where_rows_should_be_nothing_panics(
        noise in prop::collection::vec(any::<u8>(), 0..300), at in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut rows = Rows::new("n".into());
        let record = request();
        for path in ["/a", "/b"] {
            rows.push(&record, &from(path, path), Clients::One);
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
