//! A cloud's DNS service as its three dialects see it: keys, one request, one answer, and why it failed.
//!
//! No error shows a key, a token or a signature.

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, HeaderValue, Method, Request};

use crate::acme::job::TxtRecord;
use crate::clock::Clock;
use crate::config::acme::{CloudDns, CloudSettings};
use crate::config::sinks::Endpoint;
use crate::remote::credentials::{CredentialSource, Credentials, Variables};
use crate::remote::failure::{FailureKind, RemoteFailure};
use crate::remote::foreign_text::shown;
use crate::remote::http::{Answer, HttpClient, Payload};
use crate::remote::signing::NotAField;

/// Why the service did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum CloudError {
    /// There is no answer of the service, or there are no keys to ask with.
    #[error(transparent)]
    Remote(#[from] RemoteFailure),
    /// The service says no. `code` is its word for why.
    #[error("{code}: {message}")]
    Refused { code: String, message: String },
    /// The account cannot do it, although the service answers.
    #[error("{0}")]
    Impossible(String),
}

impl From<NotAField> for CloudError {
    fn from(error: NotAField) -> Self {
        RemoteFailure::new(FailureKind::Unauthorized, error).into()
    }
}

/// A name in a zone.
#[derive(Clone, Copy, Debug)]
pub(super) struct NameInZone<'a> {
    /// The whole name, such as `_acme-challenge.www.example.cn`.
    pub(super) name: &'a str,
    /// The zone's name, such as `example.cn`.
    pub(super) zone: &'a str,
}

impl<'a> NameInZone<'a> {
    /// The name below the zone, such as `_acme-challenge.www`.
    pub(super) fn relative(self) -> &'a str {
        self.name.strip_suffix(self.zone).and_then(|name| name.strip_suffix('.')).unwrap_or(self.name)
    }
}

/// What the services have in common. TXT records under one name do not replace each other.
pub(super) trait DnsApi {
    /// The zone, and the TXT records under the name.
    type Found;

    /// Codes that say that the keys have no right to a zone. Keys of one zone get them for every other.
    const FORBIDDEN: &'static [&'static str];

    /// The zone and what stands under the name; `None` if the account has no such zone.
    async fn find(&mut self, at: NameInZone<'_>) -> Result<Option<Self::Found>, CloudError>;

    /// Adds a record. One that is there already is fine.
    async fn add(
        &mut self,
        found: Self::Found,
        at: NameInZone<'_>,
        record: &TxtRecord,
    ) -> Result<(), CloudError>;

    /// Removes a record. One that is gone is fine.
    async fn remove(
        &mut self,
        found: Self::Found,
        at: NameInZone<'_>,
        record: &TxtRecord,
    ) -> Result<(), CloudError>;
}

/// The service, and the keys to ask it with.
pub(super) struct Service {
    endpoint: Endpoint,
    client: HttpClient,
    credentials: CredentialSource,
    pub(super) clock: Clock,
}

impl Service {
    pub(super) fn new(settings: &CloudSettings, clock: Clock) -> Result<Self, CloudError> {
        let variables = match settings.dns {
            CloudDns::Alidns => Variables::ALIBABA_CLOUD,
            CloudDns::Dnspod => Variables::TENCENT_CLOUD,
            CloudDns::Huawei => Variables::HUAWEI_CLOUD,
        };
        Ok(Self {
            endpoint: settings.endpoint.clone(),
            client: HttpClient::new(&settings.endpoint, None)?,
            credentials: CredentialSource::new(&settings.credentials, variables, clock.clone()),
            clock,
        })
    }

    pub(super) async fn keys(&mut self) -> Result<Credentials, CloudError> {
        Ok(self.credentials.current().await?)
    }

    /// Headers of a request, with its host alone.
    pub(super) fn headers(&self) -> Result<HeaderMap, CloudError> {
        let host = HeaderValue::try_from(self.endpoint.authority()).map_err(|_| NotAField("the host"))?;
        Ok(HeaderMap::from_iter([(HOST, host)]))
    }

    /// Sends a signed request. `target` is the path with its query.
    pub(super) async fn send(
        &mut self,
        method: Method,
        target: &str,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Answer, CloudError> {
        let mut request = Request::new(Payload::bytes(body));
        *request.method_mut() = method;
        *request.uri_mut() = target
            .parse()
            .map_err(|error| self.failure(FailureKind::Protocol, format_args!("{target}: {error}")))?;
        *request.headers_mut() = headers;
        Ok(self.client.send(request).await?)
    }

    /// The service said no, in these words. They lose what they quote of `keys`.
    pub(super) fn refused(&self, code: &str, message: &str, keys: &Credentials) -> CloudError {
        let code = shown(code.as_bytes());
        let mut message = shown(message.as_bytes());
        // What is said about a signature or a token may quote it.
        if code.contains("Signature") || code.contains("Token") {
            "the keys are not accepted".clone_into(&mut message);
        }
        for secret in [Some(&keys.access_key_secret), keys.security_token.as_ref()].into_iter().flatten() {
            if !secret.is_empty() {
                message = message.replace(secret.as_str(), "***");
            }
        }
        CloudError::Refused { code, message: format!("{message} ({})", self.endpoint) }
    }

    /// The answer is not one of the service.
    pub(super) fn malformed(&self, answer: &Answer) -> CloudError {
        let kind =
            if answer.status.is_server_error() { FailureKind::Unavailable } else { FailureKind::Protocol };
        self.failure(kind, format_args!("it answered {} with no answer of its API", answer.status)).into()
    }

    fn failure(&self, kind: FailureKind, what: impl std::fmt::Display) -> RemoteFailure {
        RemoteFailure::new(kind, format_args!("{}: {what}", self.endpoint))
    }
}
