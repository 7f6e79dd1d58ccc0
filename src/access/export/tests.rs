use std::sync::Arc;
use std::time::Duration;

use http::Version;

use super::*;
use crate::access::fields::ClockState;
use crate::access::packed::Clients;
use crate::access::packed::pack::{Packed, pack_connection};
use crate::access::packed::unpack::unpack;
use crate::access::record::{
    BlockPlace, CacheResult, ConnectionFacts, RequestFacts, ServerFacts, UpstreamFacts,
};
use crate::access::request_id::RequestIds;
use crate::access::texts::RequestTexts;
use crate::access::trace_id::TraceId;
use crate::access::{AccessRecord, Event, RequestId};
use crate::gate::Refusal;
use crate::origin::Region;
use crate::rewrite::FooterResult;

fn request() -> AccessRecord {
    AccessRecord {
        time: "2026-03-01T16:00:00.0075Z".parse().expect("a time"),
        event: Event::Request,
        reason: None,
        count: 1,
        connection: Arc::new(ConnectionFacts {
            id: 7,
            peer: "[::ffff:198.51.100.7]:40000".parse().expect("an address"),
            local: "[2001:db8::1]:443".parse().expect("an address"),
            listener: "https".into(),
            server_name: Some("www.example.cn".into()),
            tls_version: Some("TLSv1.3"),
            tls_cipher: Some("TLS_AES_128_GCM_SHA256"),
            ids: RequestIds::new(),
            place: BlockPlace::default(),
        }),
        generation: 3,
        request_id: Some(RequestId::Given("0c1d".into())),
        client: "192.0.2.9:0".parse().expect("an address"),
        host: Some("www.example.cn".into()),
        protocol: Some(Version::HTTP_2),
        request: Some(RequestFacts {
            status: Some(200),
            bytes_in: 0,
            bytes_out: 5120,
            duration: Duration::from_micros(12_034),
            site: Some("shop".into()),
            icp_number: Some("京ICP备2024012345号-1".into()),
            footer: Some(FooterResult::Injected),
            cache: Some(CacheResult::Hit),
            trace_id: TraceId::of_traceparent(b"00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01"),
        }),
        upstream: Some(UpstreamFacts {
            server: Arc::new(ServerFacts {
                origin: "mainland".into(),
                region: Region::Mainland,
                link: "default".into(),
                address: "10.0.1.10:8080".parse().expect("an address"),
                local: Some("10.0.0.2:50000".parse().expect("an address")),
            }),
            status: Some(200),
            first_byte: Some(Duration::from_micros(11_000)),
        }),
    }
}

/// The exported line of a packed record.
fn line(record: &AccessRecord, clients: Clients) -> String {
    let (mut packed, mut connection, mut out) = (Packed::default(), Vec::new(), Vec::new());
    let sent = RequestTexts {
        method: b"GET",
        path: b"/a",
        query: b"x=1&token=***",
        user_agent: b"curl/8",
        ..RequestTexts::default()
    };
    packed.pack(record, &sent, clients);
    pack_connection(&record.connection, &mut connection);
    let exchange = unpack(&connection, packed.sections()).expect("a record");
    let fields = Fields {
        seq: 1,
        time: Timestamp::from_millisecond(record.time.as_millisecond()).expect("a time"),
        node: "bj-edge-1",
        clock: ClockState { synchronized: true, offset_us: -1_234 },
        detail: Detail::Exchange(Box::new(exchange)),
    };
    write_line(&fields, &mut out);
    String::from_utf8(out).expect("UTF-8")
}

#[test]
fn a_request_has_every_field_in_its_place() {
    let expected = concat!(
        r#"{"seq":1,"time":"2026-03-02T00:00:00.007+08:00","event":"request","node":"bj-edge-1","generation":3,"#,
        r#""connection_id":7,"request_id":"0c1d","peer_ip":"198.51.100.7","peer_port":40000,"client_ip":"192.0.2.9","#,
        r#""local_ip":"2001:db8::1","local_port":443,"listener":"https","protocol":"h2","tls_version":"TLSv1.3","#,
        r#""tls_cipher":"TLS_AES_128_GCM_SHA256","server_name":"www.example.cn","host":"www.example.cn","#,
        r#""method":"GET","path":"/a","query":"x=1&token=***","status":200,"bytes_in":0,"bytes_out":5120,"#,
        r#""duration_ms":12.034,"user_agent":"curl/8","site":"shop","icp_number":"京ICP备2024012345号-1","#,
        r#""origin":"mainland","region":"mainland","link":"default","upstream_address":"10.0.1.10:8080","#,
        r#""upstream_local_address":"10.0.0.2:50000","upstream_status":200,"upstream_ms":11.000,"#,
        r#""footer":"injected","cache":"hit","trace_id":"0af7651916cd43dd8448eb211c80319c","clock_synchronized":true,"clock_offset_ms":-1.234}"#,
        "\n",
    );
    assert_eq!(line(&request(), Clients::One), expected);
}

#[test]
fn a_refused_connection_has_only_what_is_known_of_it() {
    let mut record = request();
    record.event = Event::Refused;
    record.reason = Some(Refusal::NotFiled.into());
    record.request_id = None;
    record.host = Some("".into());
    record.protocol = None;
    record.request = None;
    record.upstream = None;
    record.count = 1_000;
    record.connection = Arc::new(ConnectionFacts {
        server_name: None,
        tls_version: None,
        tls_cipher: None,
        ids: RequestIds::new(),
        place: BlockPlace::default(),
        listener: Arc::clone(&record.connection.listener),
        ..*record.connection
    });
    let expected = concat!(
        r#"{"seq":1,"time":"2026-03-02T00:00:00.007+08:00","event":"refused","reason":"not_filed","#,
        r#""node":"bj-edge-1","generation":3,"connection_id":7,"peer_ip":"198.51.100.7","peer_port":40000,"#,
        r#""client_ip":"192.0.2.9","local_ip":"2001:db8::1","local_port":443,"listener":"https","#,
        r#""count":1000,"clock_synchronized":true,"clock_offset_ms":-1.234}"#,
        "\n",
    );
    assert_eq!(line(&record, Clients::One), expected);
    let of_many = line(&record, Clients::Many);
    assert!(!of_many.contains("198.51.100.7") && !of_many.contains("connection_id"), "{of_many}");
}

#[test]
fn whatever_a_client_sends_stays_one_line_of_json_and_reads_back() {
    for hostile in [
        "a\"b\\c",
        "\r\n{\"seq\":1}\r\n",
        "\0\u{1}\u{1f}\u{7f}",
        "\u{1b}[31m",
        "\u{85}\u{9b}31m",
        "\u{2028}\u{2029}",
        "中文 🦀 \u{fffd}",
        "\"",
        "end\\",
    ] {
        let mut record = request();
        record.host = Some(hostile.into());
        let line = line(&record, Clients::One);
        let inner = line.strip_suffix('\n').expect("a newline at the end");
        let lines_apart = |c: char| c.is_control() || c == '\u{2028}' || c == '\u{2029}';
        assert!(!inner.contains(lines_apart), "{inner:?}");
        let value: serde_json::Value = serde_json::from_str(inner).expect("JSON");
        assert_eq!(value["host"], hostile);
    }
}

#[test]
fn numbers_and_times_are_written_as_the_library_writes_them() {
    for number in [0, 9, 10, 99, 100, 12_345, u64::MAX - 1, u64::MAX] {
        let mut out = Vec::new();
        write_number(number, &mut out);
        assert_eq!(out, number.to_string().as_bytes());
    }
    for time in ["1970-01-01T00:00:00Z", "2024-02-28T16:00:00.999999Z", "2026-12-31T15:59:59.001Z"] {
        let time: Timestamp = time.parse().expect("a time");
        let mut out = Vec::new();
        write_time(time, &mut out);
        let expected = time.display_with_offset(SHANGHAI).to_string();
        let back: Timestamp = expected.parse().expect("a time");
        assert_eq!(back, time);
        let written: Timestamp = String::from_utf8(out).expect("UTF-8").parse().expect("a time");
        assert_eq!(written.as_millisecond(), time.as_millisecond());
    }
}
