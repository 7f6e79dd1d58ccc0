//! Records to Alibaba Cloud Log Service: PutLogs with protobuf and zstd, signed with V4.
//!
//! Only an answer of the service itself acknowledges a batch. Its error codes, not its statuses, decide what happens next.

mod errors;
mod log_group;
pub mod sign;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, HeaderMap, HeaderName};
use http::{HeaderValue, Method, Request};
use serde::Deserialize;

use self::log_group::LogGroup;
use self::sign::{Signed, Signer};
use super::sink::{BatchLimits, Immutability, Message, Promise, RecordSink, SinkResult};
use crate::clock::Clock;
use crate::config::sinks::{Endpoint, ServerAddress, SinkHost, SlsSettings};
use crate::hostname::Hostname;
use crate::remote::credentials::{CredentialSource, Credentials, Variables};
use crate::remote::failure::{FailureKind, RemoteFailure};
use crate::remote::http::{Answer, HttpClient, Payload};

/// The version of the API that every SDK names.
const API_VERSION: &str = "0.6.0";
/// What the logs of a logstore are told apart by, besides the node.
const TOPIC: &str = "icpgate";
/// 1, as Alibaba's own producers: JSON shrinks to a sixth.
const COMPRESSION_LEVEL: i32 = 1;
/// A `ttl` of so many days means for ever.
const FOREVER: u64 = 3650;

/// A sink of type `sls`.
#[derive(Debug)]
pub struct SlsSink {
    settings: SlsSettings,
    node: Arc<str>,
    clock: Clock,
    credentials: CredentialSource,
    client: Option<HttpClient>,
}

/// What GetLogStore says that matters here.
#[derive(Deserialize)]
struct Logstore {
    ttl: u64,
}

impl SlsSink {
    /// Connects when there is something to send.
    pub fn new(settings: SlsSettings, node: Arc<str>, clock: Clock) -> Self {
        let credentials =
            CredentialSource::new(&settings.credentials, Variables::ALIBABA_CLOUD, clock.clone());
        Self { settings, node, clock, credentials, client: None }
    }

    async fn put_logs(&mut self, batch: &[Message]) -> Result<(), RemoteFailure> {
        let group = self.encode(batch)?;
        let body = zstd::bulk::compress(&group, COMPRESSION_LEVEL).map_err(|error| {
            RemoteFailure::new(FailureKind::Rejected, format_args!("compression: {error}"))
        })?;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
        headers.insert(HeaderName::from_static("x-log-compresstype"), HeaderValue::from_static("zstd"));
        headers.insert(HeaderName::from_static("x-log-bodyrawsize"), group.len().into());
        let path = format!("/logstores/{}/shards/lb", self.settings.logstore);
        self.call(Method::POST, &path, headers, body.into()).await.map(drop)
    }

    fn encode(&self, batch: &[Message]) -> Result<Vec<u8>, RemoteFailure> {
        let mut group = LogGroup::new(TOPIC, &self.node);
        for message in batch {
            group.push(message.time, &message.json).map_err(|error| {
                RemoteFailure::new(FailureKind::Rejected, format_args!("record {}: {error}", message.seq))
            })?;
        }
        Ok(group.into_bytes())
    }

    async fn read_promise(&mut self) -> Result<Promise, RemoteFailure> {
        let mut headers = HeaderMap::new();
        headers.insert(HeaderName::from_static("x-log-bodyrawsize"), 0.into());
        let path = format!("/logstores/{}", self.settings.logstore);
        let answer = self.call(Method::GET, &path, headers, Bytes::new()).await?;
        let Ok(Logstore { ttl }) = serde_json::from_slice(&answer.body) else {
            return Err(self.failure(FailureKind::Protocol, "the logstore's settings have no ttl"));
        };
        let retention = (ttl < FOREVER).then(|| Duration::from_secs(ttl.saturating_mul(86_400)));
        Ok(Promise::Keeps {
            retention,
            immutability: Immutability::Deletable,
            detail: format!("ttl {ttl} of the logstore {}", self.settings.logstore),
        })
    }

    /// Sends a signed request and returns the answer if it is a success of the service.
    async fn call(
        &mut self,
        method: Method,
        path: &str,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Result<Answer, RemoteFailure> {
        let keys = self.credentials.current().await?;
        let host = format!("{}.{}", self.settings.project, self.settings.endpoint.authority());
        let host = HeaderValue::try_from(host).map_err(|error| self.failure(FailureKind::Missing, error))?;
        headers.insert(HOST, host);
        headers.insert(HeaderName::from_static("x-log-apiversion"), HeaderValue::from_static(API_VERSION));
        let signed = Signed { method: method.as_str(), path, query: &[], body: &body };
        self.signer(&keys)
            .sign(signed, &mut headers, self.clock.now())
            .map_err(|error| self.failure(FailureKind::Unauthorized, error))?;

        let mut request = Request::new(Payload::bytes(body));
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().map_err(|error| self.failure(FailureKind::Missing, error))?;
        *request.headers_mut() = headers;
        let mut client = match self.client.take() {
            Some(client) => client,
            None => HttpClient::new(&project_endpoint(&self.settings)?, self.settings.trust.as_deref())?,
        };
        let answer = client.send(request).await?;
        let failure = errors::failure(&answer, &self.settings.endpoint, &keys, self.clock.now());
        match failure.as_ref().map(|failure| failure.kind) {
            Some(FailureKind::Unauthorized | FailureKind::Expired) => self.credentials.refused(),
            // Whoever answers there is not the service.
            Some(FailureKind::Protocol) => return failure.map_or(Ok(answer), Err),
            Some(_) | None => {}
        }
        self.client = Some(client);
        failure.map_or(Ok(answer), Err)
    }

    fn signer<'a>(&'a self, keys: &'a Credentials) -> Signer<'a> {
        Signer {
            access_key_id: &keys.access_key_id,
            access_key_secret: &keys.access_key_secret,
            security_token: keys.security_token.as_deref(),
            region: &self.settings.region,
        }
    }

    fn failure(&self, kind: FailureKind, what: impl std::fmt::Display) -> RemoteFailure {
        RemoteFailure::new(kind, format_args!("{}: {what}", self.settings.endpoint))
    }
}

impl RecordSink for SlsSink {
    /// The service takes 4096 logs and 10 MB in one request; a log is at most twice its JSON.
    fn limits(&self) -> BatchLimits {
        BatchLimits { records: 4096, bytes: 3 << 20 }
    }

    fn send<'a>(&'a mut self, batch: &'a [Message]) -> SinkResult<'a, ()> {
        Box::pin(self.put_logs(batch))
    }

    fn promise(&mut self, _retention: Duration) -> SinkResult<'_, Promise> {
        Box::pin(self.read_promise())
    }
}

/// Where to connect: the project's own host name. An address is connected to as it is, as Alibaba's SDKs do.
fn project_endpoint(settings: &SlsSettings) -> Result<Endpoint, RemoteFailure> {
    let SlsSettings { endpoint, project, .. } = settings;
    let SinkHost::Name(name) = &endpoint.address.host else {
        return Ok(endpoint.clone());
    };
    let name = format!("{project}.{name}");
    let host = Hostname::parse(&name).map_err(|error| {
        RemoteFailure::new(FailureKind::Missing, format_args!("{name} is no host name: {error}"))
    })?;
    let address = ServerAddress { host: SinkHost::Name(host), port: endpoint.address.port };
    Ok(Endpoint { is_tls: endpoint.is_tls, address })
}
