//! An allowlist behind a URL: fetched with its ETag, and with its signature where a key demands one.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ETAG, HOST, HeaderValue, IF_NONE_MATCH, USER_AGENT};
use http::{Method, Request, StatusCode};
use tokio::time::{sleep, timeout};

use super::signature::Key;
use super::{Answer, Content, Held, NoAnswer};
use crate::config::filings::MAX_BYTES;
use crate::config::filings_source::UrlSource;
use crate::remote::failure::{FailureKind, RemoteFailure};
use crate::remote::http::{self as client, HttpClient, Payload};

/// A whole fetch: the allowlist and its signature.
const FETCH: Duration = Duration::from_secs(60);
/// A signature file has four short lines.
const SIGNATURE_BYTES: usize = 8 << 10;
/// Between two looks at an allowlist whose signature does not fit: a publisher replaces the two files one after the other.
const SECOND_LOOK: Duration = Duration::from_millis(500);
/// The longest ETag that is sent back.
const ETAG_BYTES: usize = 1024;

/// Fetches from one URL.
pub(super) struct UrlClient {
    source: UrlSource,
    /// Dropped after a failure, so that changed roots are read.
    client: Option<HttpClient>,
}

impl UrlClient {
    pub(super) fn new(source: &UrlSource) -> Self {
        Self { source: source.clone(), client: None }
    }

    /// Asks for a version other than the one that is held.
    pub(super) async fn fetch(&mut self, held: &Held) -> Result<Answer, NoAnswer> {
        let fetched = match timeout(FETCH, self.look_twice(held)).await {
            Ok(fetched) => fetched,
            Err(_) => {
                let message =
                    format!("{}: no whole answer within {} s", self.source.endpoint, FETCH.as_secs());
                Err(RemoteFailure::new(FailureKind::TimedOut, message).into())
            }
        };
        if fetched.is_err() {
            self.client = None;
        }
        fetched
    }

    async fn look_twice(&mut self, held: &Held) -> Result<Answer, NoAnswer> {
        match self.look(held).await {
            Err(NoAnswer::Rejected(_)) if self.source.public_key.is_some() => {
                sleep(SECOND_LOOK).await;
                self.look(held).await
            }
            looked => looked,
        }
    }

    async fn look(&mut self, held: &Held) -> Result<Answer, NoAnswer> {
        let key = self.source.public_key.as_deref().map(Key::load).transpose().map_err(NoAnswer::Rejected)?;
        let key_text = key.as_ref().map(|key| key.text.clone());
        let is_verified = key_text.is_none() || held.verified_by == key_text;
        let version = held.version.as_deref().filter(|_| is_verified);
        let limit = usize::try_from(MAX_BYTES).unwrap_or(usize::MAX);
        let target = self.source.target.clone();
        let answer = self.get(&target, version, limit).await?;
        let body = match answer.status {
            StatusCode::NOT_MODIFIED if version.is_some() => return Ok(Answer::Unchanged),
            StatusCode::OK => answer.body,
            status => return Err(self.refused(status).into()),
        };
        let etag = answer.headers.get(ETAG).and_then(|etag| etag.to_str().ok());
        let version = etag.filter(|etag| etag.len() <= ETAG_BYTES).map(str::to_owned);
        let serial = match &key {
            Some(key) => Some(self.serial(key, &body).await?),
            None => None,
        };
        Ok(Answer::Content(Content { body, version, serial, verified_by: key_text }))
    }

    async fn serial(&mut self, key: &Key, body: &Bytes) -> Result<u64, NoAnswer> {
        let target = signature_target(&self.source.target);
        let answer = self.get(&target, None, SIGNATURE_BYTES).await?;
        match answer.status {
            StatusCode::OK => key.verify(body, &answer.body).map_err(NoAnswer::Rejected),
            StatusCode::NOT_FOUND | StatusCode::GONE => Err(NoAnswer::Rejected(format!(
                "it is not signed: there is no {}{target}",
                self.source.endpoint
            ))),
            status => Err(self.refused(status).into()),
        }
    }

    async fn get(
        &mut self,
        target: &str,
        version: Option<&str>,
        limit: usize,
    ) -> Result<client::Answer, NoAnswer> {
        let is_reused = self.client.is_some();
        match self.get_once(target, version, limit).await {
            // The server may have closed the kept connection a moment ago.
            Err(NoAnswer::Failed(failure)) if is_reused && failure.kind == FailureKind::Unreachable => {
                self.client = None;
                self.get_once(target, version, limit).await
            }
            answer => answer,
        }
    }

    async fn get_once(
        &mut self,
        target: &str,
        version: Option<&str>,
        limit: usize,
    ) -> Result<client::Answer, NoAnswer> {
        let UrlSource { endpoint, trust, .. } = &self.source;
        let mut request = Request::builder()
            .method(Method::GET)
            .uri(target)
            .header(HOST, endpoint.authority())
            .header(USER_AGENT, concat!("icpgate/", env!("CARGO_PKG_VERSION")));
        if let Some(version) = version.and_then(|version| HeaderValue::from_str(version).ok()) {
            request = request.header(IF_NONE_MATCH, version);
        }
        let request = request.body(Payload::empty()).map_err(|error| {
            RemoteFailure::new(FailureKind::Protocol, format_args!("{endpoint}{target}: {error}"))
        })?;
        let client = match &mut self.client {
            Some(client) => client,
            None => self.client.insert(HttpClient::new(endpoint, trust.as_deref())?),
        };
        let (head, body) = client.begin(request).await?.into_parts();
        // From here on the source has answered: an answer that is cut off is a wrong one.
        match client.read(body, limit).await {
            Ok(body) => Ok(client::Answer { status: head.status, headers: head.headers, body }),
            Err(failure) => {
                Err(NoAnswer::Rejected(format!("its answer ended early or is too long: {failure}")))
            }
        }
    }

    fn refused(&self, status: StatusCode) -> RemoteFailure {
        let kind = match status {
            StatusCode::NOT_FOUND | StatusCode::GONE => FailureKind::Missing,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => FailureKind::Unauthorized,
            StatusCode::TOO_MANY_REQUESTS => FailureKind::Throttled,
            status if status.is_server_error() => FailureKind::Unavailable,
            _ => FailureKind::Protocol,
        };
        RemoteFailure::new(kind, format_args!("{}: it answered {status}", self.source.endpoint))
    }
}

/// The signature beside `target`: `.minisig` at the end of its path.
fn signature_target(target: &str) -> String {
    match target.split_once('?') {
        Some((path, query)) => format!("{path}.minisig?{query}"),
        None => format!("{target}.minisig"),
    }
}

#[cfg(test)]
mod tests {
    use super::signature_target;

    #[test]
    fn the_signature_stands_beside_the_allowlist() {
        assert_eq!(signature_target("/a/filings.yaml"), "/a/filings.yaml.minisig");
        assert_eq!(signature_target("/filings.yaml?edge=bj"), "/filings.yaml.minisig?edge=bj");
    }
}
