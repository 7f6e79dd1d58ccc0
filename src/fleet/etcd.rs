//! An allowlist in etcd, by its JSON gateway.
//!
//! A watch says when the key has changed; what it holds is read by a range. So nothing depends on events: after a
//! lost connection, a compaction or another member, the range gives the present state.

use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use bytes::{Bytes, BytesMut};
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{Answer, Content, Held, NoAnswer};
use crate::config::filings::MAX_BYTES;
use crate::config::filings_source::EtcdSource;
use crate::config::sinks::Endpoint;
use crate::remote::failure::{FailureKind, RemoteFailure};
use crate::remote::foreign_text;
use crate::remote::http::{HttpClient, Payload};
use crate::remote::password;

/// How long a member may take to answer a range.
const ASK: Duration = Duration::from_secs(10);
/// A quiet watch is checked by a range this often: a member that is cut off sends no events.
const CHECK: Duration = Duration::from_secs(10);
/// The longest message of a watch. A longer one is news too: the watch is begun again after a range.
const MESSAGE_BYTES: usize = 4 << 20;
/// An error or a revision.
const SHORT_BYTES: usize = 64 << 10;

/// Follows one key of a cluster.
pub(super) struct EtcdClient {
    source: EtcdSource,
    /// The member in use.
    member: usize,
    client: Option<HttpClient>,
    /// The token of the login.
    token: Option<String>,
    /// The revision of the cluster at the last range.
    revision: i64,
    watch: Option<Watch>,
}

/// A watch, on a connection of its own.
struct Watch {
    client: HttpClient,
    body: Incoming,
    /// The beginning of a message.
    unread: BytesMut,
}

#[derive(Deserialize)]
struct RangeAnswer {
    header: RangeHeader,
    #[serde(default)]
    kvs: Vec<KeyValue>,
}

#[derive(Deserialize)]
struct RangeHeader {
    revision: String,
}

#[derive(Deserialize)]
struct KeyValue {
    mod_revision: String,
    #[serde(default)]
    value: String,
}

impl EtcdClient {
    pub(super) fn new(source: &EtcdSource) -> Self {
        Self { source: source.clone(), member: 0, client: None, token: None, revision: 0, watch: None }
    }

    /// Asks one member after the other for a version other than the one that is held.
    pub(super) async fn fetch(&mut self, held: &Held) -> Result<Answer, NoAnswer> {
        let mut failure = None;
        for _ in 0..self.source.endpoints.len() {
            match self.look(held).await {
                Err(NoAnswer::Failed(failed)) => {
                    self.next_member();
                    failure = Some(failed);
                }
                looked => return looked,
            }
        }
        let none = || RemoteFailure::new(FailureKind::Unreachable, "there is no endpoint");
        Err(NoAnswer::Failed(failure.unwrap_or_else(none)))
    }

    /// Waits for a change of the key, or until it is time to ask. Whatever the watch says leads to a range.
    pub(super) async fn wait(&mut self) {
        if self.watch.is_none() {
            match timeout(ASK, self.begin_watch()).await {
                Ok(Ok(watch)) => self.watch = Some(watch),
                Ok(Err(failure)) => {
                    tracing::debug!(%failure, "the allowlist's key cannot be watched; asking every second");
                    return tokio::time::sleep(Duration::from_secs(1)).await;
                }
                Err(_) => return,
            }
        }
        let Some(watch) = &mut self.watch else { return };
        match timeout(CHECK, watch.event()).await {
            Err(_) | Ok(Event::Changed) => {}
            Ok(Event::Ended) => self.watch = None,
        }
    }

    fn next_member(&mut self) {
        self.member = (self.member + 1) % self.source.endpoints.len().max(1);
        (self.client, self.watch, self.token) = (None, None, None);
    }

    async fn look(&mut self, held: &Held) -> Result<Answer, NoAnswer> {
        let known = self.range(true).await?;
        let Some(key) = known.kvs.first() else {
            return Err(NoAnswer::Rejected(format!("there is no key {}", self.source.key)));
        };
        if held.version.as_ref() == Some(&key.mod_revision) {
            return Ok(Answer::Unchanged);
        }
        let whole = self.range(false).await?;
        let Some(key) = whole.kvs.into_iter().next() else {
            return Err(NoAnswer::Rejected(format!("there is no key {}", self.source.key)));
        };
        let body = BASE64_STANDARD
            .decode(&key.value)
            .map_err(|error| self.malformed(format_args!("its value is not base64: {error}")))?;
        let (body, version) = (Bytes::from(body), Some(key.mod_revision));
        Ok(Answer::Content(Content { body, version, serial: None, verified_by: None }))
    }

    async fn range(&mut self, keys_only: bool) -> Result<RangeAnswer, RemoteFailure> {
        let ask = json!({"key": BASE64_STANDARD.encode(&self.source.key), "keys_only": keys_only});
        let whole = usize::try_from(MAX_BYTES).unwrap_or(usize::MAX) / 3 * 4 + SHORT_BYTES;
        let limit = if keys_only { SHORT_BYTES } else { whole };
        let answer = self.ask("/v3/kv/range", &ask, limit).await?;
        let answer: RangeAnswer =
            serde_json::from_slice(&answer).map_err(|error| self.malformed(format_args!("{error}")))?;
        self.revision = answer
            .header
            .revision
            .parse()
            .map_err(|_| self.malformed(format_args!("its revision is not a number")))?;
        Ok(answer)
    }

    /// Asks, after a login if there is one. A token that has expired is renewed once.
    async fn ask(&mut self, path: &str, ask: &Value, limit: usize) -> Result<Bytes, RemoteFailure> {
        let had_token = self.token.is_some();
        self.login().await?;
        match self.post(path, ask, limit).await {
            Err(failure) if had_token && failure.kind == FailureKind::Unauthorized => {
                self.token = None;
                self.login().await?;
                self.post(path, ask, limit).await
            }
            // The member may have closed the kept connection a moment ago.
            Err(failure) if failure.kind == FailureKind::Unreachable && self.client.is_some() => {
                self.client = None;
                self.post(path, ask, limit).await
            }
            answer => answer,
        }
    }

    async fn login(&mut self) -> Result<(), RemoteFailure> {
        let Some(login) = self.source.login.clone() else { return Ok(()) };
        if self.token.is_some() {
            return Ok(());
        }
        let password = password::read(&login.password_file)?;
        let ask = json!({"name": login.username, "password": password});
        let answer = self.post("/v3/auth/authenticate", &ask, SHORT_BYTES).await?;
        let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
        // The error of the parser would quote the token.
        match answer.get("token").and_then(Value::as_str) {
            Some(token) => self.token = Some(token.to_owned()),
            None => return Err(self.malformed(format_args!("it gave no token"))),
        }
        Ok(())
    }

    async fn post(&mut self, path: &str, ask: &Value, limit: usize) -> Result<Bytes, RemoteFailure> {
        let endpoint = self.endpoint()?;
        let request = self.request(&endpoint, path, ask)?;
        let client = match &mut self.client {
            Some(client) => client,
            None => self.client.insert(HttpClient::new(&endpoint, self.source.trust.as_deref())?),
        };
        let asked = async {
            let (head, body) = client.begin(request).await?.into_parts();
            Ok((head.status, client.read(body, limit).await?))
        };
        let (status, body) = match timeout(ASK, asked).await {
            Ok(asked) => asked?,
            Err(_) => {
                self.client = None;
                let message = format!("{endpoint}{path}: no answer within {} s", ASK.as_secs());
                return Err(RemoteFailure::new(FailureKind::TimedOut, message));
            }
        };
        if status == StatusCode::OK { Ok(body) } else { Err(refused(&endpoint, path, status, &body)) }
    }

    async fn begin_watch(&mut self) -> Result<Watch, RemoteFailure> {
        self.login().await?;
        let endpoint = self.endpoint()?;
        let create = json!({
            "key": BASE64_STANDARD.encode(&self.source.key),
            "start_revision": self.revision.saturating_add(1).to_string(),
        });
        let request = self.request(&endpoint, "/v3/watch", &json!({"create_request": create}))?;
        let mut client = HttpClient::new(&endpoint, self.source.trust.as_deref())?;
        let (head, body) = client.begin(request).await?.into_parts();
        if head.status != StatusCode::OK {
            let body = client.read(body, SHORT_BYTES).await?;
            return Err(refused(&endpoint, "/v3/watch", head.status, &body));
        }
        Ok(Watch { client, body, unread: BytesMut::new() })
    }

    fn endpoint(&self) -> Result<Endpoint, RemoteFailure> {
        let none = || RemoteFailure::new(FailureKind::Unreachable, "there is no endpoint");
        self.source.endpoints.get(self.member).cloned().ok_or_else(none)
    }

    fn request(
        &self,
        endpoint: &Endpoint,
        path: &str,
        ask: &Value,
    ) -> Result<Request<Payload>, RemoteFailure> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(HOST, endpoint.authority())
            .header(CONTENT_TYPE, "application/json");
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, token.as_str());
        }
        let body = Payload::bytes(ask.to_string().into());
        // The error would name the token.
        request.body(body).map_err(|_| self.malformed(format_args!("its token cannot be sent back")))
    }

    fn malformed(&self, reason: std::fmt::Arguments<'_>) -> RemoteFailure {
        let member = self.source.endpoints.get(self.member).map(ToString::to_string).unwrap_or_default();
        RemoteFailure::new(
            FailureKind::Protocol,
            format_args!("{member}: the answer is not etcd's: {reason}"),
        )
    }
}

enum Event {
    /// The key may have changed.
    Changed,
    /// The watch is over: cancelled (for a compaction, for rights), or its connection is lost.
    Ended,
}

impl Watch {
    /// The next message that is not about the watch itself.
    async fn event(&mut self) -> Event {
        loop {
            while let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line = self.unread.split_to(end + 1);
                let message: Value = serde_json::from_slice(&line).unwrap_or_default();
                match message.get("result") {
                    Some(result) if result.get("canceled").is_some_and(|is| is == true) => {
                        return Event::Ended;
                    }
                    Some(result) if result.get("events").is_some() => return Event::Changed,
                    Some(_) => {}
                    None => return Event::Ended,
                }
            }
            match self.client.next_chunk(&mut self.body).await {
                Ok(Some(chunk)) if self.unread.len() + chunk.len() <= MESSAGE_BYTES => {
                    self.unread.extend_from_slice(&chunk);
                }
                Ok(_) | Err(_) => return Event::Ended,
            }
        }
    }
}

/// What an error of the gateway means. Its texts are those of etcd's `rpctypes`.
fn refused(endpoint: &Endpoint, path: &str, status: StatusCode, body: &[u8]) -> RemoteFailure {
    let error: Value = serde_json::from_slice(body).unwrap_or_default();
    let text =
        error.get("message").or_else(|| error.get("error")).and_then(Value::as_str).unwrap_or_default();
    let is_about_login = [
        "invalid auth token",
        "authentication failed",
        "permission denied",
        "user name is empty",
        "auth revision",
    ];
    let kind = if is_about_login.iter().any(|known| text.contains(known)) {
        FailureKind::Unauthorized
    } else {
        match status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => FailureKind::Unauthorized,
            StatusCode::TOO_MANY_REQUESTS => FailureKind::Throttled,
            StatusCode::NOT_FOUND => FailureKind::Protocol,
            _ => FailureKind::Unavailable,
        }
    };
    let text = foreign_text::shown(text.as_bytes());
    RemoteFailure::new(kind, format_args!("{endpoint}{path} answered {status}: {text}"))
}
