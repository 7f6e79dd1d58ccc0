use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Version;
use proptest::prelude::*;

use super::*;
use crate::access::fields::IdText;
use crate::access::packed::pack::{Packed, pack_connection};
use crate::access::packed::unpack::unpack;
use crate::access::record::{
    AccessRecord, BlockPlace, CacheResult, ConnectionFacts, Event, RequestFacts, ServerFacts,
    UNKNOWN_ADDRESS, UpstreamFacts,
};
use crate::access::request_id::{RequestId, RequestIds, own};
use crate::access::texts::{RequestTexts, to_utf8};
use crate::access::trace_id::TraceId;
use crate::gate::Refusal;
use crate::origin::Region;
use crate::rewrite::FooterResult;

fn connection() -> ConnectionFacts {
    ConnectionFacts {
        id: 7,
        peer: "198.51.100.7:40000".parse().expect("an address"),
        local: "[2001:db8::1]:443".parse().expect("an address"),
        listener: "https".into(),
        server_name: Some("www.example.cn".into()),
        tls_version: Some("TLSv1.3"),
        tls_cipher: None,
        ids: RequestIds::new(),
        place: BlockPlace::default(),
    }
}

/// Records in which each part may be absent.
fn records() -> impl Strategy<Value = AccessRecord> {
    let id = prop_oneof![
        Just(None),
        Just(Some(RequestId::Given("given".into()))),
        any::<u32>().prop_map(|number| Some(RequestId::Own(number))),
    ];
    let request = (any::<Option<u16>>(), any::<(u64, u64, u32)>(), any::<(bool, bool, u8, u128)>()).prop_map(
        |(status, (bytes_in, bytes_out, micros), (site, footer, cache, trace_id))| RequestFacts {
            status,
            bytes_in,
            bytes_out,
            duration: Duration::from_micros(micros.into()),
            site: site.then(|| "shop".into()),
            icp_number: site.then(|| "京ICP备1号-1".into()),
            footer: footer.then_some(FooterResult::Injected),
            cache: CacheResult::ALL.get(usize::from(cache % 8)).copied(),
            trace_id: TraceId::of_bytes((trace_id >> (trace_id % 128)).to_be_bytes()),
        },
    );
    let known: SocketAddr = "[2001:db8::2]:8080".parse().expect("an address");
    let upstream = (any::<Option<u16>>(), any::<Option<u16>>(), any::<Option<u32>>()).prop_map(
        move |(port, status, first_byte)| UpstreamFacts {
            server: Arc::new(ServerFacts {
                origin: "main".into(),
                region: Region::Mainland,
                link: "default".into(),
                address: if status.is_some() { known } else { UNKNOWN_ADDRESS },
                local: port.map(|port| SocketAddr::from(([10, 0, 0, 2], port))),
            }),
            // 0 stands for no status.
            status: status.filter(|status| *status != 0),
            first_byte: first_byte.map(|micros| Duration::from_micros(micros.into())),
        },
    );
    let head = (any::<bool>(), prop_oneof![Just(1), any::<u64>()], any::<u64>(), any::<bool>(), ".{0,9}");
    (head, id, prop::option::of(request), prop::option::of(upstream)).prop_map(
        |((refused, count, generation, other_client, host), request_id, request, upstream)| AccessRecord {
            time: jiff::Timestamp::UNIX_EPOCH,
            event: if refused { Event::Refused } else { Event::Request },
            reason: refused.then_some(Refusal::NotFiled.into()),
            count,
            connection: Arc::new(connection()),
            generation,
            request_id,
            client: if other_client { ([192, 0, 2, 9], 0).into() } else { connection().peer },
            host: Some(host.into()),
            protocol: Some(Version::HTTP_2),
            request,
            upstream,
        },
    )
}

/// The texts of a request.
type Texts = (Vec<u8>, Vec<u8>, Vec<u8>, Vec<u8>, Vec<u8>);

fn texts() -> impl Strategy<Value = Texts> {
    let text =
        || prop_oneof![".{0,9}".prop_map(String::into_bytes), prop::collection::vec(any::<u8>(), 0..9)];
    let method =
        prop_oneof![Just(""), Just("GET"), Just("PROPFIND")].prop_map(|method| method.as_bytes().to_vec());
    (method, text(), text(), text(), text())
}

fn sent((method, path, query, referer, user_agent): &Texts) -> RequestTexts<'_> {
    RequestTexts { method, path, query, referer, user_agent, is_truncated: path.is_empty() }
}

proptest! {
    #[test]
    fn what_is_packed_is_what_is_unpacked(record in records(), texts in texts()) {
        let sent = sent(&texts);
        let (mut packed, mut connection) = (Packed::default(), Vec::new());
        packed.pack(&record, &sent, Clients::One);
        pack_connection(&record.connection, &mut connection);
        let read = unpack(&connection, packed.sections()).expect("a record");
        let client = read.client.expect("one");
        prop_assert_eq!((client.connection, client.peer, client.client), (7, record.connection.peer, record.client));
        prop_assert_eq!((read.refused, read.count), (record.event == Event::Refused, (record.count != 1).then_some(record.count)));
        prop_assert_eq!((read.reason, read.host), (record.reason.map_or("", crate::access::Reason::label), record.host.as_deref().unwrap_or("")));
        prop_assert_eq!(read.truncated, sent.is_truncated);
        prop_assert_eq!((read.generation, read.listener, read.tls_version), (record.generation, "https", "TLSv1.3"));
        prop_assert_eq!((read.server_name, read.protocol), ("www.example.cn", "h2"));
        let bits = record.connection.ids.bits();
        match (read.request_id, &record.request_id) {
            (IdText::None, None) => {}
            (IdText::Given(read), Some(RequestId::Given(id))) => prop_assert_eq!(read, &**id),
            (IdText::Own(read), Some(RequestId::Own(number))) => prop_assert_eq!(read, own(bits, *number)),
            other => prop_assert!(false, "{:?}", other),
        }
        prop_assert_eq!(read.request.is_some(), record.request.is_some());
        if let (Some(read), Some(request)) = (&read.request, &record.request) {
            let RequestTexts { method, path, query, referer, user_agent, .. } = sent;
            let read_texts = [read.method, read.path, read.query, read.referer, read.user_agent];
            prop_assert_eq!(read_texts.map(Cow::Borrowed), [method, path, query, referer, user_agent].map(to_utf8));
            prop_assert_eq!((read.status, read.bytes_in, read.bytes_out), (request.status, request.bytes_in, request.bytes_out));
            prop_assert_eq!(u128::from(read.duration_us), request.duration.as_micros());
            prop_assert_eq!((read.site, read.footer), (request.site.as_deref().unwrap_or(""), request.footer.map_or("", FooterResult::label)));
            prop_assert_eq!((read.cache, read.trace_id), (request.cache.map_or("", CacheResult::label), request.trace_id));
        }
        prop_assert_eq!(read.upstream.is_some(), record.upstream.is_some());
        if let (Some(read), Some(upstream)) = (&read.upstream, &record.upstream) {
            let ServerFacts { origin, region, address, local, .. } = &*upstream.server;
            prop_assert_eq!((read.origin, read.region, read.local), (&**origin, region.label(), *local));
            prop_assert_eq!(read.address.unwrap_or(UNKNOWN_ADDRESS), *address);
            prop_assert_eq!(read.status, upstream.status);
            prop_assert_eq!(read.first_byte_us.map(u128::from), upstream.first_byte.map(|time| time.as_micros()));
        }
    }

    #[test]
    fn a_part_of_a_record_is_none_and_arbitrary_bytes_never_panic(
        mut record in records(), texts in texts(), part in 0.0..1.0_f64, noise in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        // Further flags may be absent: earlier writers knew none.
        record.request.iter_mut().for_each(|request| (request.cache, request.trace_id) = (None, None));
        let sent = sent(&texts);
        let (mut packed, mut connection) = (Packed::default(), Vec::new());
        packed.pack(&record, &sent, Clients::One);
        pack_connection(&record.connection, &mut connection);
        let sections = packed.sections();
        let cut = |bytes: &[u8]| (bytes.len() as f64 * part) as usize;
        let (own, setting) = (&sections.own[..cut(sections.own)], &sections.setting[..cut(sections.setting)]);
        let shorter = [Sections { own, ..sections }, Sections { setting, ..sections }];
        prop_assert!(shorter.into_iter().all(|shorter| unpack(&connection, shorter).is_none()));
        prop_assert!(unpack(&connection[..cut(&connection)], sections).is_none());
        let _ = unpack(&noise, sections);
        let _ = unpack(&connection, Sections { own: &noise, referer: &noise, setting: &noise });
    }
}
