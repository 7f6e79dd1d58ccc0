//! The machine's public addresses, as the metadata service of its cloud tells them.
//!
//! Bounded: on a machine of no cloud nobody answers.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use http::{Method, Request, StatusCode};
use tokio::time::timeout;

use crate::config::sinks::{Endpoint, ServerAddress, SinkHost};
use crate::ship::http::{HttpClient, Payload};

/// For all questions to a cloud's own service together: it is on the same host.
const PATIENCE: Duration = Duration::from_secs(1);
/// For those to a service that the operator named: it is there.
const NAMED_PATIENCE: Duration = Duration::from_secs(5);
/// Alibaba Cloud's, and Tencent Cloud's (metadata.tencentyun.com).
const SERVICES: [Ipv4Addr; 2] = [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(169, 254, 0, 23)];
/// An address bound to the machine from outside (Alibaba), and its own public one.
const PATHS: [&str; 2] = ["/latest/meta-data/eipv4", "/latest/meta-data/public-ipv4"];

/// The public addresses of this machine.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum CloudAddresses {
    NotAsked,
    /// No metadata service answered.
    Unknown,
    /// As its cloud says; empty if it has none.
    Public(Vec<IpAddr>),
}

impl CloudAddresses {
    pub(super) fn known(&self) -> &[IpAddr] {
        match self {
            Self::Public(addresses) => addresses,
            Self::NotAsked | Self::Unknown => &[],
        }
    }
}

/// Asks the metadata service at `at`, or those of Alibaba and Tencent.
pub(super) async fn ask(at: Option<SocketAddr>) -> CloudAddresses {
    let (services, patience) = match at {
        Some(at) => (vec![at], NAMED_PATIENCE),
        None => (SERVICES.map(|ip| SocketAddr::from((ip, 80))).to_vec(), PATIENCE),
    };
    let asked = services.into_iter().map(|service| timeout(patience, public_addresses(service)));
    let answers = futures_util::future::join_all(asked).await;
    match answers.into_iter().find_map(|answer| answer.ok().flatten()) {
        Some(addresses) => CloudAddresses::Public(addresses),
        None => CloudAddresses::Unknown,
    }
}

/// `None` unless the service answers as a metadata service does.
async fn public_addresses(service: SocketAddr) -> Option<Vec<IpAddr>> {
    let address = ServerAddress { host: SinkHost::Address(service.ip()), port: service.port() };
    let endpoint = Endpoint { is_tls: false, address };
    let mut client = HttpClient::new(&endpoint, None).ok()?;
    let request = |method, path| {
        Request::builder().method(method).uri(path).header(http::header::HOST, endpoint.authority())
    };
    // Alibaba's hardened mode answers nothing without a token; other services know none.
    let ask = request(Method::PUT, "/latest/api/token").header("x-aliyun-ecs-metadata-token-ttl-seconds", 60);
    let answer = client.send(ask.body(Payload::empty()).ok()?).await.ok()?;
    let token = (answer.status == StatusCode::OK).then_some(answer.body);
    let mut found = Vec::new();
    for path in PATHS {
        let mut ask = request(Method::GET, path);
        if let Some(token) = &token {
            ask = ask.header("x-aliyun-ecs-metadata-token", token.as_ref());
        }
        let answer = client.send(ask.body(Payload::empty()).ok()?).await.ok()?;
        match answer.status {
            StatusCode::OK => found.extend(String::from_utf8_lossy(&answer.body).trim().parse::<IpAddr>()),
            StatusCode::NOT_FOUND => {}
            _ => return None,
        }
    }
    found.sort_unstable();
    found.dedup();
    Some(found)
}
