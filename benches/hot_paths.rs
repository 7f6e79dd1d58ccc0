//! Benches of the hot paths of connections, requests and pages, each on one thread.
//!
//! `cargo bench` measures; `cargo test --benches` runs each once.

use std::hint::black_box;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use encoding_rs::UTF_8;
use http::{HeaderMap, Method};
use icpgate::clock::Moment;
use icpgate::gate::{
    CertificateNeed, Coverage, Filing, FilingNumber, FilingStatus, Gate, ListenerGate, ListenerId, SiteId,
    decide,
};
use icpgate::hostname::{HostPattern, HostTable, Hostname};
use icpgate::listen::hello::{HelloProgress, HelloReader};
use icpgate::origin::balance::{Draw, Known, pick};
use icpgate::origin::first_bytes::{FirstBytes, Observations};
use icpgate::origin::health::ServerHealth;
use icpgate::origin::load::Load;
use icpgate::origin::{OriginId, Server, ServerHost};
use icpgate::rewrite::{Charset, Footer, Injector};
use icpgate::route::{Action, Asked, ClientRegions, Forward, Matcher, PathMatch, Route, Routes};
use ipnet::IpNet;
use jiff::Timestamp;

fn host(name: &str) -> Hostname {
    Hostname::parse(name).expect("a host name")
}

fn time(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn number() -> FilingNumber {
    FilingNumber::parse("京ICP备2024012345号-1", 2026).expect("a number")
}

/// A gate with `count` filings, each with its own site.
fn gate(count: usize) -> Gate {
    let (begins, ends) = (time("2026-01-01T00:00:00Z"), time("2036-01-01T00:00:00Z"));
    let domains: Vec<Hostname> = (0..count).map(|n| host(&format!("example-{n}.com.cn"))).collect();
    let filings = domains.iter().map(|domain| Filing {
        domain: domain.clone(),
        number: Some(number()),
        status: FilingStatus::Approved,
        begins: Some(begins),
        ends: Some(ends),
        hosts: None,
        access: None,
        public_security: None,
        public_security_due: None,
        sms_verification_due: None,
    });
    let mut listener = ListenerGate::new(Vec::new(), CertificateNeed::Required);
    for (site, domain) in domains.iter().enumerate() {
        let pattern = HostPattern::Exact(host(&format!("www.{domain}")));
        let mut names = HostTable::default();
        names.insert(&pattern, ());
        let coverage = Arc::new(Coverage { names, begins, ends });
        listener.serve(&pattern, SiteId(site), Some(&coverage));
    }
    Gate { filings: filings.collect(), listeners: vec![listener] }
}

fn decision(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("decide");
    let now = Moment::at(time("2026-06-01T00:00:00Z"));
    for count in [1, 1_000, 100_000] {
        let gate = gate(count);
        // Hosts in turn: few, as on a busy edge, and so many that none is cached.
        let mut busy = vec![count.min(64), count.min(4096)];
        busy.dedup();
        for busy in busy {
            let name = |n| format!("www.example-{}.com.cn", n * 7919 % count);
            let hosts: Vec<Hostname> = (0..busy).map(|n| host(&name(n))).collect();
            assert!(hosts.iter().all(|host| decide(&gate, ListenerId(0), host, now).is_ok()));
            let mut turn = hosts.iter().cycle();
            group.bench_function(format!("permit/{count}/{busy}_busy"), |bencher| {
                bencher.iter(|| decide(&gate, ListenerId(0), turn.next().expect("endless"), now));
            });
        }
        let unfiled = host("www.unfiled.cn");
        group.bench_function(format!("refusal/{count}"), |bencher| {
            bencher.iter(|| decide(&gate, ListenerId(0), black_box(&unfiled), now));
        });
    }
}

/// A ClientHello.
fn client_hello(name: &'static str) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let name = name.try_into().expect("a server name");
    let mut connection = rustls::ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut hello = Vec::new();
    connection.write_tls(&mut hello).expect("a hello");
    hello
}

fn hello_to_verdict(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("hello");
    let now = Moment::at(time("2026-06-01T00:00:00Z"));
    let gate = gate(1_000);
    let hello = client_hello("www.example-7.com.cn");
    let judge = || match HelloReader::default().advance(black_box(&hello)) {
        HelloProgress::Whole(hello) => decide(&gate, ListenerId(0), &hello.host?, now),
        HelloProgress::Wanting => unreachable!("the hello is whole"),
        HelloProgress::Refused(refusal) => Err(refusal),
    };
    assert!(judge().is_ok());
    group.throughput(Throughput::Bytes(hello.len() as u64));
    group.bench_function("to_verdict", |bencher| bencher.iter(judge));
}

fn route(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("route");
    let below = |prefix: &str| Route {
        matcher: Matcher { path: PathMatch::prefix(prefix), ..Matcher::default() },
        action: Action::Forward(Forward { origins: vec![OriginId(0)], ..Forward::default() }),
        response_fields: None,
    };
    let headers = HeaderMap::new();
    for count in [20, 1_000] {
        let mut routes: Vec<Route> = (0..count).map(|n| below(&format!("/service-{n}/v1"))).collect();
        routes.push(below("/"));
        let routes = Routes::from(routes);
        let first = "/service-0/v1/x".to_owned();
        for path in [first, format!("/service-{}/v1/x/y/z", count - 1), "/catalogue/item/1".to_owned()] {
            group.bench_function(BenchmarkId::new(format!("of_{}", count + 1), &path), |bencher| {
                bencher.iter(|| {
                    let path = black_box(&path);
                    let client = [192, 0, 2, 1].into();
                    let asked = Asked { method: &Method::GET, path, headers: &headers, region: None, client };
                    routes.route(asked.path, &asked).is_ok()
                });
            });
        }
    }
    group.finish();
}

fn region(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("region");
    // Every second /20 and /32: 12,000 networks, none adjacent.
    let v4 = (0..8_000_u32).map(|n| IpNet::new(IpAddr::V4((0x0100_0000 + n * 0x2000).into()), 20));
    let v6 = (0..4_000_u128).map(|n| IpNet::new(IpAddr::V6(((0x2400_0000 + n * 2) << 96).into()), 32));
    let regions: ClientRegions = v4.chain(v6).map(|network| network.expect("a network")).collect();
    assert_eq!(regions.len(), 12_000);
    let v4 =
        (0..4096_u32).map(|n| IpAddr::V4((0x0100_0000 + n.wrapping_mul(0x9e37_79b9) % 0x0400_0000).into()));
    let v6 = (0..4096_u128).map(|n| IpAddr::V6(((0x2400_0000 + n * 7919 % 8192) << 96 | n).into()));
    for (family, clients) in [("ipv4", v4.collect::<Vec<_>>()), ("ipv6", v6.collect())] {
        let mut clients = clients.iter().cycle();
        group.bench_function(BenchmarkId::new("of_12000_networks", family), |bencher| {
            bencher.iter(|| regions.region(*black_box(clients.next().expect("a client"))));
        });
    }
}

/// Choosing the server of a request.
fn choice(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("choice");
    let now = Duration::from_secs(100);
    for count in [1, 3, 16] {
        let server = |port| Server {
            host: ServerHost::Address([10, 0, 0, 1].into()),
            port,
            weight: u32::from(port),
            backup: false,
            link: "default".into(),
        };
        let servers: Vec<Server> = (1..=count).map(server).collect();
        let states: Vec<(ServerHealth, Load)> = servers.iter().map(|_| Default::default()).collect();
        for (_, load) in &states {
            load.answered(Duration::from_millis(30), now);
        }
        let known = |place: usize| {
            let (health, load) = states.get(place)?;
            Some(Known { server: servers.get(place)?, health, load, tier: 0 })
        };
        let mut turn: usize = 0;
        group.bench_function(BenchmarkId::new("server_of", count), |bencher| {
            bencher.iter(|| {
                turn = turn.wrapping_add(1);
                let random = turn.wrapping_mul(0x9e37_79b9);
                pick(servers.len(), known, Draw { max_in_flight: 4096, turn, random, now })
            });
        });
    }
    let server = FirstBytes::default();
    let mut nth: u32 = 0;
    group.bench_function("first_byte_kept", |bencher| {
        bencher.iter(|| {
            nth = nth.wrapping_add(7919) % 100_000;
            server.answered(Duration::from_micros(nth.into()), now);
        });
    });
    let p95 = || Observations::of(std::iter::once(&server), black_box(now)).p95;
    group.bench_function("first_byte_p95", |bencher| bencher.iter(p95));
}

/// A page of at least `size` bytes, made of `parts` in turn.
fn page(bytes: usize, parts: &[&str]) -> Bytes {
    let mut page = String::from("<!DOCTYPE html><html><head><meta charset=\"utf-8\"></head><body>\n");
    for part in parts.iter().cycle() {
        if page.len() >= bytes {
            break;
        }
        page.push_str(part);
    }
    page.push_str("</body></html>\n");
    Bytes::from(page)
}

/// Markup and scripts as in a shop's page.
const ITEM: &str = concat!(
    "<div class=\"item\" data-id=\"42\"><a href=\"/item/42\" title=\"示例商品\"><img src=\"/img/42.webp\" ",
    "alt=\"\" width=\"240\" height=\"240\" loading=\"lazy\"></a><h3>示例商品，七天无理由退货</h3><p>A product ",
    "with a description long enough to read.</p><span class=\"price\">¥ 99.00</span></div>\n",
);
const ITEMS: &str = "<script>window.items = (window.items || []).concat([{id: 42, price: 99}]);</script>\n";
const ROW: &str = "<p class=\"row\">Article 42: <a href=\"/article/42\">more of it</a></p>\n";
const TEXT: &str = concat!(
    "<p>A paragraph of running text has few tags and many words, and goes on until the editor has had enough; ",
    "二〇二六年的春天来得比往年早一些，院子里的树已经发了新芽，路上的行人也渐渐多了起来。</p>\n",
);
const TAGS: &str = "<ul><li><a href=\"/a\"><i></i><b>1</b></a></li><li class=\"on\"><b>2</b></li></ul><br>";
const SCRIPT: &str = concat!(
    "<script>(function(){for(var i=0;i<n;i++){var e=document.createElement('div');e.innerHTML='<b>'+list[i].name+",
    "'</b>';if(i<10){box.appendChild(e);}}})();</script>\n<style>.row>a{color:#333;margin:0 auto}</style>\n",
);

fn footer(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("footer");
    let footer = Footer::new(&number(), None);
    let charset = Charset::Declared(UTF_8);
    let shop = [ITEM, ITEM, ITEM, ITEM, ITEM, ITEM, ITEM, ITEM, ITEMS];
    for (label, page) in [
        ("shop/10KB", page(10_000, &shop)),
        ("rows/10KB", page(10_000, &[ROW])),
        ("text/10KB", page(10_000, &[TEXT])),
        ("tags/10KB", page(10_000, &[TAGS])),
        ("script/10KB", page(10_000, &[SCRIPT])),
        ("shop/1MB", page(1_000_000, &shop)),
    ] {
        group.throughput(Throughput::Bytes(page.len() as u64));
        group.bench_function(BenchmarkId::new("inject", label), |bencher| {
            bencher.iter(|| {
                let mut injector = Injector::new(footer.clone(), charset);
                let mut bytes = 0;
                let mut pass = |part: Bytes| bytes += part.len();
                let mut rest = page.clone();
                while !rest.is_empty() {
                    injector.push(rest.split_to(rest.len().min(16 << 10)), &mut pass);
                }
                injector.finish(&mut pass);
                bytes
            });
        });
    }
}

criterion_group! {
    name = hot_paths;
    config = Criterion::default().warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(3));
    targets = decision, hello_to_verdict, route, region, choice, footer
}
criterion_main!(hot_paths);
