//! Requests of browsers to an edge, and their records.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::Version;
use icpgate::access::record::{BlockPlace, ConnectionFacts, RequestFacts, ServerFacts, UpstreamFacts};
use icpgate::access::request_id::RequestIds;
use icpgate::access::texts::RequestTexts;
use icpgate::access::{AccessRecord, Event};
use icpgate::clock::Clock;
use icpgate::config::{AccessLog, WhenFull};
use icpgate::origin::Region;
use icpgate::retention::Store;
use jiff::Timestamp;

const PATHS: [&str; 8] = [
    "/",
    "/product/10086",
    "/static/app.9f3c21.js",
    "/static/style.css",
    "/api/v1/cart",
    "/api/v1/session",
    "/search",
    "/pay/confirm",
];
const AGENTS: [&str; 4] = [
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148 MicroMessenger/8.0.60",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/139.0.0.0 Safari/537.36 Edg/139.0.0.0",
    "Mozilla/5.0 (Linux; Android 15; V2408A) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Mobile Safari/537.36",
    "curl/8.5.0",
];

/// Upstream connections.
const SERVERS: usize = 64;

/// The shared names of an edge.
pub(crate) struct Names {
    host: Arc<str>,
    number: Arc<str>,
    listener: Arc<str>,
    /// Its upstream connections.
    servers: Vec<Arc<ServerFacts>>,
}

impl Names {
    pub(crate) fn new() -> Self {
        let server = |port| ServerFacts {
            origin: "mainland".into(),
            region: Region::Mainland,
            link: "default".into(),
            address: SocketAddr::from(([10, 0, 1, 10], 8080)),
            local: Some(SocketAddr::from(([10, 0, 0, 5], port))),
        };
        Self {
            host: "www.example.cn".into(),
            number: "京ICP备2024012345号-1".into(),
            listener: "https".into(),
            servers: (50_000..).take(SERVERS).map(|port| Arc::new(server(port))).collect(),
        }
    }
}

/// A client connection, and the browser on it.
#[derive(Clone)]
pub(crate) struct Client {
    facts: Arc<ConnectionFacts>,
    agent: &'static str,
}

pub(crate) fn client(names: &Names, random: &mut fastrand::Rng) -> Client {
    let facts = ConnectionFacts {
        id: random.u64(..1 << 40),
        peer: SocketAddr::from((Ipv4Addr::from(random.u32(..)), random.u16(1024..))),
        local: SocketAddr::from(([10, 0, 0, 5], 443)),
        listener: Arc::clone(&names.listener),
        server_name: Some(Arc::clone(&names.host)),
        tls_version: Some("TLSv1.3"),
        tls_cipher: Some("TLS13_AES_128_GCM_SHA256"),
        ids: RequestIds::new(),
        place: BlockPlace::default(),
    };
    Client { facts: Arc::new(facts), agent: AGENTS[random.usize(..AGENTS.len())] }
}

/// The parts of a record, made in advance.
pub(crate) struct Request {
    pub(crate) client: Client,
    path: &'static str,
    query: String,
    bytes_out: u64,
    duration: Duration,
    /// The index of its upstream connection.
    over: usize,
}

impl Request {
    pub(crate) fn sent(&self) -> RequestTexts<'_> {
        RequestTexts {
            method: b"GET",
            path: self.path.as_bytes(),
            query: self.query.as_bytes(),
            referer: b"https://www.example.cn/",
            user_agent: self.client.agent.as_bytes(),
            ..RequestTexts::default()
        }
    }
}

pub(crate) fn request(client: Client, random: &mut fastrand::Rng) -> Request {
    let query = if random.u8(..3) == 0 { format!("id={}", random.u32(..)) } else { String::new() };
    Request {
        client,
        path: PATHS[random.usize(..PATHS.len())],
        query,
        bytes_out: random.u64(200..100_000),
        duration: Duration::from_micros(random.u64(500..200_000)),
        over: random.usize(..SERVERS),
    }
}

/// Builds a record as the exchange does.
pub(crate) fn record(request: &Request, names: &Names, time: Timestamp) -> AccessRecord {
    let facts = &request.client.facts;
    AccessRecord {
        time,
        event: Event::Request,
        reason: None,
        count: 1,
        connection: Arc::clone(facts),
        generation: 3,
        request_id: Some(facts.ids.next()),
        client: facts.peer,
        host: Some(Arc::clone(&names.host)),
        protocol: Some(Version::HTTP_2),
        request: Some(RequestFacts {
            status: Some(200),
            bytes_in: 0,
            bytes_out: request.bytes_out,
            duration: request.duration,
            site: Some(Arc::clone(&names.host)),
            icp_number: Some(Arc::clone(&names.number)),
            footer: None,
            cache: None,
            trace_id: None,
        }),
        upstream: Some(UpstreamFacts {
            server: Arc::clone(&names.servers[request.over]),
            status: Some(200),
            first_byte: Some(request.duration / 2),
        }),
    }
}

/// Opens the store in `directory`, whose records have the time of `clock`.
pub(crate) fn open(directory: &Path, clock: &Clock) -> Store {
    let log = AccessLog {
        directory: directory.to_owned(),
        retention: Duration::from_secs(190 * 24 * 60 * 60),
        reserve: 0,
        when_full: WhenFull::Refuse,
        redact_query: Vec::new(),
        client_budget: 64 << 10,
    };
    Store::open(&log, "bj-edge-1".into(), clock.clone()).expect("opened")
}
