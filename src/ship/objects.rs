//! Object stores: what S3 and OSS have in common as sinks of segments.
//!
//! An object is written once, under the name of the segment, with the digest of its content in its metadata. A write
//! that finds the name taken succeeds only if the digest is the same.

mod digest;
mod oss;
mod s3;
pub mod sign;
mod xml;

use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::header::{ETAG, HOST, HeaderMap};
use http::{HeaderName, HeaderValue, Method, Request, StatusCode};
use jiff::Timestamp;

use self::digest::{Digests, payload};
use super::sink::{Body, Promise, Put, SegmentSink, SinkResult, Stored};
use crate::clock::Clock;
use crate::config::sinks::{CredentialsFrom, Endpoint, OssSettings, S3Settings, ServerAddress, SinkHost};
use crate::hostname::Hostname;
use crate::remote::credentials::{CredentialSource, Credentials, Variables};
use crate::remote::failure::{FailureKind, RemoteFailure};
use crate::remote::foreign_text;
use crate::remote::http::{Answer, HttpClient, Payload};
use crate::remote::signing::percent_encoded;

/// Keys in a page of a listing: as many as both services give.
const PAGE: &str = "1000";
/// How much of a digest makes the name of a published file.
const NAME_DIGITS: usize = 16;

/// A bucket.
pub(super) struct ObjectSink {
    dialect: Dialect,
    endpoint: Endpoint,
    trust: Option<std::path::PathBuf>,
    region: String,
    bucket: String,
    prefix: String,
    /// Whether the bucket stands in the path rather than in the host.
    in_path: bool,
    credentials: CredentialSource,
    clock: Clock,
    client: Option<HttpClient>,
    /// Whether the bucket locks objects, by the last look at it; `None` before the first.
    locks: Option<bool>,
    /// The last segment stored, and until when it must be kept.
    last_put: Option<(String, Timestamp)>,
}

/// Which service it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Dialect {
    S3,
    Oss,
}

/// A request, but for what every request has.
struct Call<'c> {
    method: Method,
    /// Without the prefix; empty for the bucket itself.
    key: &'c str,
    query: &'c [(&'c str, &'c str)],
    headers: HeaderMap,
    body: Option<(&'c Body, &'c Digests)>,
}

impl<'c> Call<'c> {
    fn new(method: Method, key: &'c str, query: &'c [(&'c str, &'c str)]) -> Self {
        Self { method, key, query, headers: HeaderMap::new(), body: None }
    }
}

impl ObjectSink {
    pub(super) fn s3(settings: &S3Settings, clock: Clock) -> Self {
        let S3Settings { endpoint, trust, region, bucket, prefix, path_style, credentials } =
            settings.clone();
        let place = (endpoint, trust, region, bucket, prefix);
        Self::new(Dialect::S3, place, path_style, (&credentials, Variables::AWS), clock)
    }

    pub(super) fn oss(settings: &OssSettings, clock: Clock) -> Self {
        let OssSettings { endpoint, trust, region, bucket, prefix, credentials } = settings.clone();
        // No bucket can stand before an address: a proxy, or a test.
        let in_path = matches!(endpoint.address.host, SinkHost::Address(_));
        let place = (endpoint, trust, region, bucket, prefix);
        Self::new(Dialect::Oss, place, in_path, (&credentials, Variables::ALIBABA_CLOUD), clock)
    }

    fn new(
        dialect: Dialect,
        (endpoint, trust, region, bucket, prefix): (
            Endpoint,
            Option<std::path::PathBuf>,
            String,
            String,
            String,
        ),
        in_path: bool,
        (from, variables): (&CredentialsFrom, Variables),
        clock: Clock,
    ) -> Self {
        let credentials = CredentialSource::new(from, variables, clock.clone());
        let (client, locks, last_put) = (None, None, None);
        Self {
            dialect,
            endpoint,
            trust,
            region,
            bucket,
            prefix,
            in_path,
            credentials,
            clock,
            client,
            locks,
            last_put,
        }
    }

    /// Sends a signed request and reads the answer, whatever its status.
    async fn call(&mut self, call: Call<'_>) -> Result<Answer, RemoteFailure> {
        let (mut client, request) = self.prepare(call).await?;
        let answer = client.send(request).await?;
        self.client = Some(client);
        Ok(answer)
    }

    /// The connection to send over, and the signed request.
    async fn prepare(&mut self, call: Call<'_>) -> Result<(HttpClient, Request<Payload>), RemoteFailure> {
        let keys = self.credentials.current().await?;
        let Call { method, key, query, mut headers, body } = call;
        let object = if key.is_empty() { String::new() } else { format!("{}{key}", self.prefix) };
        let path = if self.in_path { format!("/{}/{object}", self.bucket) } else { format!("/{object}") };
        let host = HeaderValue::try_from(self.authority())
            .map_err(|error| self.failure(FailureKind::Missing, error))?;
        headers.insert(HOST, host);
        let signed = sign::Signed {
            method: method.as_str(),
            path: &path,
            resource: &format!("/{}/{object}", self.bucket),
            query,
            payload: body.map(|(_, digests)| digests.sha256.as_str()),
        };
        self.sign(&keys, signed, &mut headers)?;
        let query: Vec<String> = query
            .iter()
            .map(|(name, value)| match *value {
                "" => (*name).to_owned(),
                value => format!("{name}={}", percent_encoded(value)),
            })
            .collect();
        let uri = if query.is_empty() { path } else { format!("{path}?{}", query.join("&")) };
        let body = match body {
            None => Payload::empty(),
            Some((body, digests)) => {
                payload(body, digests).map_err(|error| RemoteFailure::of_store(&error))?
            }
        };
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = uri.parse().map_err(|error| self.failure(FailureKind::Missing, error))?;
        *request.headers_mut() = headers;
        let client = match self.client.take() {
            Some(client) => client,
            None => HttpClient::new(&self.bucket_endpoint()?, self.trust.as_deref())?,
        };
        Ok((client, request))
    }

    fn sign(
        &self,
        keys: &Credentials,
        signed: sign::Signed<'_>,
        headers: &mut HeaderMap,
    ) -> Result<(), RemoteFailure> {
        let signer = sign::Signer { keys, region: &self.region };
        let signed = match self.dialect {
            Dialect::S3 => signer.sign_s3(signed, headers, self.clock.now()),
            Dialect::Oss => signer.sign_oss(signed, headers, self.clock.now()),
        };
        signed.map_err(|error| self.failure(FailureKind::Unauthorized, error))
    }

    /// What stands in the field `host`.
    fn authority(&self) -> String {
        let authority = self.endpoint.authority();
        if self.in_path { authority } else { format!("{}.{authority}", self.bucket) }
    }

    fn bucket_endpoint(&self) -> Result<Endpoint, RemoteFailure> {
        let SinkHost::Name(name) = &self.endpoint.address.host else { return Ok(self.endpoint.clone()) };
        if self.in_path {
            return Ok(self.endpoint.clone());
        }
        let name = format!("{}.{name}", self.bucket);
        let host = Hostname::parse(&name).map_err(|error| {
            self.failure(FailureKind::Missing, format_args!("{name} is no host name: {error}"))
        })?;
        let address = ServerAddress { host: SinkHost::Name(host), port: self.endpoint.address.port };
        Ok(Endpoint { is_tls: self.endpoint.is_tls, address })
    }

    /// The failure that an answer tells of. Keys that were refused are asked for again.
    fn refusal(&mut self, answer: &Answer) -> RemoteFailure {
        let code = xml::text(&answer.body, "Code").unwrap_or_default();
        let kind = match self.dialect {
            Dialect::S3 => s3::kind(answer.status, &code),
            Dialect::Oss => oss::kind(answer.status, &code),
        };
        // The service's message may quote the request; its code does not.
        let shown = if code.is_empty() {
            foreign_text::shown(
                self.credentials.without_token(&String::from_utf8_lossy(&answer.body)).as_bytes(),
            )
        } else {
            code
        };
        if matches!(kind, FailureKind::Unauthorized | FailureKind::Expired) {
            self.credentials.refused();
        }
        let mut failure = self.failure(kind, format_args!("{} {shown}", answer.status));
        failure.retry_after = answer.retry_after(self.clock.now());
        failure
    }

    fn failure(&self, kind: FailureKind, what: impl std::fmt::Display) -> RemoteFailure {
        RemoteFailure::new(kind, format_args!("{} bucket {}: {what}", self.endpoint, self.bucket))
    }

    /// The name of a field of the dialect, such as `x-amz-meta-sha256`.
    fn meta(&self) -> HeaderName {
        HeaderName::from_static(match self.dialect {
            Dialect::S3 => "x-amz-meta-sha256",
            Dialect::Oss => "x-oss-meta-sha256",
        })
    }

    async fn store(&mut self, key: &str, body: &Body, retain_until: Timestamp) -> Result<Put, RemoteFailure> {
        let locks = self.locks().await?;
        let digests = Digests::of(body).map_err(|error| RemoteFailure::of_store(&error))?;
        let mut call = Call::new(Method::PUT, key, &[]);
        call.headers = match self.dialect {
            Dialect::S3 => s3::put_headers(&digests, locks.then_some(retain_until)),
            Dialect::Oss => oss::put_headers(&digests),
        };
        let digest = HeaderValue::try_from(digests.sha256.as_str());
        call.headers.insert(self.meta(), digest.map_err(|error| self.failure(FailureKind::Protocol, error))?);
        call.body = Some((body, &digests));
        let answer = self.call(call).await?;
        if answer.status.is_success() {
            // An object store says what it has stored; whoever says nothing is none.
            if !answer.headers.contains_key(ETAG) {
                return Err(self
                    .failure(FailureKind::Protocol, "the answer is not an object store's: it has no ETag"));
            }
            return Ok(Put::Created);
        }
        let failure = self.refusal(&answer);
        if failure.kind != FailureKind::Conflict {
            return Err(failure);
        }
        match self.digest_of(key).await? {
            Some(stored) if stored == digests.sha256 => Ok(Put::Present),
            Some(_) => Err(self.failure(
                FailureKind::Conflict,
                format_args!("{key} holds something else; each edge needs a prefix of its own"),
            )),
            None => Err(failure),
        }
    }

    /// Whether objects are locked as they are written. Nothing is written before that is known, unless it cannot be
    /// known: a missing permission keeps no record from being shipped.
    async fn locks(&mut self) -> Result<bool, RemoteFailure> {
        if self.dialect == Dialect::S3 && self.locks.is_none() {
            match self.read_promise().await {
                Ok(_) => {}
                Err(failure) if failure.kind.is_permanent() => self.locks = Some(false),
                Err(failure) => return Err(failure),
            }
        }
        Ok(self.locks.unwrap_or(false))
    }

    async fn look(&mut self, key: &str) -> Result<Option<Answer>, RemoteFailure> {
        let answer = self.call(Call::new(Method::HEAD, key, &[])).await?;
        match answer.status {
            status if status.is_success() => Ok(Some(answer)),
            StatusCode::NOT_FOUND => Ok(None),
            _ => Err(self.refusal(&answer)),
        }
    }

    /// The digest that an object was stored with.
    async fn digest_of(&mut self, key: &str) -> Result<Option<String>, RemoteFailure> {
        let meta = self.meta();
        let answer = self.look(key).await?;
        let digest = answer.and_then(|answer| Some(answer.headers.get(meta)?.to_str().ok()?.to_owned()));
        Ok(digest)
    }

    async fn keys(&mut self, prefix: &str, after: &str) -> Result<Vec<String>, RemoteFailure> {
        let (whole, start) = (format!("{}{prefix}", self.prefix), format!("{}{after}", self.prefix));
        let mut query = vec![("list-type", "2"), ("max-keys", PAGE), ("prefix", &whole)];
        if !after.is_empty() {
            query.push(("start-after", &start));
        }
        let answer = self.call(Call::new(Method::GET, "", &query)).await?;
        if !answer.status.is_success() {
            return Err(self.refusal(&answer));
        }
        if xml::text(&answer.body, "Name").is_none() {
            return Err(self.failure(FailureKind::Protocol, "the answer is not a listing"));
        }
        let keys = xml::texts(&answer.body, "Key").into_iter();
        Ok(keys.filter_map(|key| Some(key.strip_prefix(self.prefix.as_str())?.to_owned())).collect())
    }

    async fn fetch(&mut self, key: &str, to: &Path) -> Result<(), RemoteFailure> {
        let (mut client, request) = self.prepare(Call::new(Method::GET, key, &[])).await?;
        let (head, mut body) = client.begin(request).await?.into_parts();
        if !head.status.is_success() {
            let what = format_args!("{} for {key}", head.status);
            return Err(self.failure(FailureKind::Missing, what));
        }
        let into = |error: &std::io::Error| RemoteFailure::of_io(to.display(), error);
        let mut file = std::fs::File::create_new(to).map_err(|error| into(&error))?;
        while let Some(chunk) = client.next_chunk(&mut body).await? {
            file.write_all(&chunk).map_err(|error| into(&error))?;
        }
        self.client = Some(client);
        Ok(())
    }

    async fn read_promise(&mut self) -> Result<Promise, RemoteFailure> {
        let query = match self.dialect {
            Dialect::S3 => [("object-lock", "")],
            Dialect::Oss => [("worm", "")],
        };
        let answer = self.call(Call::new(Method::GET, "", &query)).await?;
        let code = xml::text(&answer.body, "Code").unwrap_or_default();
        let read = match self.dialect {
            Dialect::S3 => s3::promise(answer.status, &answer.body, &code),
            Dialect::Oss => oss::promise(answer.status, &answer.body, &code),
        };
        let Some(promise) = read else { return Err(self.refusal(&answer)) };
        let locks = matches!(promise, Promise::Keeps { .. });
        self.locks = Some(locks);
        if self.dialect == Dialect::S3 && locks {
            return self.check_last_put(promise).await;
        }
        Ok(promise)
    }

    /// Looks whether the last segment is locked for as long as it was asked for.
    async fn check_last_put(&mut self, promise: Promise) -> Result<Promise, RemoteFailure> {
        let Some((key, until)) = self.last_put.clone() else { return Ok(promise) };
        let Some(answer) = self.look(&key).await? else {
            return Ok(Promise::Broken { why: format!("{key} was stored, and is not there any more") });
        };
        Ok(match s3::retention_of(&answer.headers) {
            Some(kept) if kept.as_second() >= until.as_second() => promise,
            Some(kept) => {
                Promise::Broken { why: format!("{key} is locked until {kept}, and not until {until}") }
            }
            None => Promise::Broken { why: format!("{key} is not locked in COMPLIANCE mode") },
        })
    }
}

impl SegmentSink for ObjectSink {
    fn put<'a>(&'a mut self, key: &'a str, body: &'a Body, retain_until: Timestamp) -> SinkResult<'a, Put> {
        async move {
            let put = self.store(key, body, retain_until).await?;
            self.last_put = Some((key.to_owned(), retain_until));
            Ok(put)
        }
        .boxed()
    }

    fn head<'a>(&'a mut self, key: &'a str) -> SinkResult<'a, Option<Stored>> {
        async move {
            Ok(self.look(key).await?.map(|answer| {
                let length = answer.headers.get(http::header::CONTENT_LENGTH);
                let bytes = length.and_then(|length| length.to_str().ok()?.parse().ok()).unwrap_or(0);
                Stored { bytes, retain_until: s3::retention_of(&answer.headers) }
            }))
        }
        .boxed()
    }

    fn list<'a>(&'a mut self, prefix: &'a str, after: &'a str) -> SinkResult<'a, Vec<String>> {
        self.keys(prefix, after).boxed()
    }

    fn get<'a>(&'a mut self, key: &'a str, to: &'a Path) -> SinkResult<'a, ()> {
        self.fetch(key, to).boxed()
    }

    fn is_locked<'a>(&'a mut self, key: &'a str, until: Timestamp) -> SinkResult<'a, bool> {
        async move {
            Ok(match self.dialect {
                // The policy is the bucket's, and once locked it cannot be lifted.
                Dialect::Oss => self.locks == Some(true),
                Dialect::S3 => {
                    let kept = self.look(key).await?.and_then(|answer| s3::retention_of(&answer.headers));
                    kept.is_some_and(|kept| kept.as_second() >= until.as_second())
                }
            })
        }
        .boxed()
    }

    fn publish<'a>(&'a mut self, name: &'a str, bytes: Bytes, retain_until: Timestamp) -> SinkResult<'a, ()> {
        async move {
            let body = Body::Bytes(bytes);
            let digests = Digests::of(&body).map_err(|error| RemoteFailure::of_store(&error))?;
            let key = format!("{name}-{}", &digests.sha256[..NAME_DIGITS]);
            self.store(&key, &body, retain_until).await.map(drop)
        }
        .boxed()
    }

    fn replaces(&self) -> bool {
        false
    }

    fn promise(&mut self, _: Duration) -> SinkResult<'_, Promise> {
        self.read_promise().boxed()
    }
}

impl std::fmt::Debug for ObjectSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ObjectSink").field("bucket", &self.bucket).finish_non_exhaustive()
    }
}
