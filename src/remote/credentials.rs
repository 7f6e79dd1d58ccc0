//! Whose signature a cloud service gets: keys from the environment, a file or the instance's metadata service.
//!
//! Keys that expire are renewed before they do; those in use go on until the new ones are there. No `Debug` and no
//! error shows a secret.

use std::fmt;

use http::{Method, Request, StatusCode};
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::failure::{FailureKind, RemoteFailure};
use super::http::{Answer, HttpClient, Payload};
use crate::clock::Clock;
use crate::config::credentials::StaticKeys;
use crate::config::sinks::{CredentialsFrom, Endpoint};

/// How often a file is read again, so that rotated keys are found.
const FILE_AGE: SignedDuration = SignedDuration::from_secs(60);
/// How long a session token of the hardened metadata mode is asked for, in seconds.
const TOKEN_SECONDS: &str = "300";
/// How soon a renewal that failed is tried again while the keys in use still count.
const RENEWAL_PAUSE: SignedDuration = SignedDuration::from_secs(30);

/// Keys to sign with.
#[derive(Clone, Eq, PartialEq)]
pub struct Credentials {
    /// Names the key.
    pub access_key_id: String,
    /// The key.
    pub access_key_secret: String,
    /// Of a temporary key.
    pub security_token: Option<String>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
}

impl From<StaticKeys> for Credentials {
    fn from(keys: StaticKeys) -> Self {
        let StaticKeys { access_key_id, access_key_secret, security_token } = keys;
        Self { access_key_id, access_key_secret, security_token }
    }
}

/// Names of environment variables: the id, the secret, the token.
#[derive(Clone, Copy, Debug)]
pub struct Variables([&'static str; 3]);

impl Variables {
    /// Of S3.
    pub const AWS: Self = Self(["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"]);
    /// Of OSS, SLS and Alidns.
    pub const ALIBABA_CLOUD: Self = Self([
        "ALIBABA_CLOUD_ACCESS_KEY_ID",
        "ALIBABA_CLOUD_ACCESS_KEY_SECRET",
        "ALIBABA_CLOUD_SECURITY_TOKEN",
    ]);
    /// Of DNSPod. Tencent's SDK reads no token from the environment; the name follows the other two.
    pub const TENCENT_CLOUD: Self =
        Self(["TENCENTCLOUD_SECRET_ID", "TENCENTCLOUD_SECRET_KEY", "TENCENTCLOUD_TOKEN"]);
    /// Of Huawei Cloud's DNS.
    pub const HUAWEI_CLOUD: Self =
        Self(["HUAWEICLOUD_SDK_AK", "HUAWEICLOUD_SDK_SK", "HUAWEICLOUD_SDK_SECURITY_TOKEN"]);
}

/// Gives the keys of the moment.
#[derive(Debug)]
pub struct CredentialSource {
    from: CredentialsFrom,
    variables: Variables,
    clock: Clock,
    held: Option<Held>,
}

/// Keys in use.
struct Held {
    keys: Credentials,
    /// When they are asked for again.
    renew_at: Timestamp,
    /// When they count no more.
    expire_at: Option<Timestamp>,
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("renew_at", &self.renew_at).finish_non_exhaustive()
    }
}

impl CredentialSource {
    /// Takes keys as `from` says; from the environment under the names in `variables`.
    pub fn new(from: &CredentialsFrom, variables: Variables, clock: Clock) -> Self {
        Self { from: from.clone(), variables, clock, held: None }
    }

    /// The keys to sign with now.
    pub async fn current(&mut self) -> Result<Credentials, RemoteFailure> {
        let now = self.clock.now();
        if let Some(held) = self.held.as_ref().filter(|held| now < held.renew_at) {
            return Ok(held.keys.clone());
        }
        match (self.renew(now).await, &mut self.held) {
            (Ok(renewed), held) => Ok(held.insert(renewed).keys.clone()),
            (Err(failure), Some(held)) if held.expire_at.is_none_or(|expiry| now < expiry) => {
                tracing::warn!(%failure, "credentials cannot be renewed yet; those in use go on");
                held.renew_at = now + RENEWAL_PAUSE;
                Ok(held.keys.clone())
            }
            (Err(failure), _) => Err(failure),
        }
    }

    /// `text` of a service, without the token that it may quote.
    pub(crate) fn without_token(&self, text: &str) -> String {
        let token = self.held.as_ref().and_then(|held| held.keys.security_token.as_deref());
        token
            .filter(|token| !token.is_empty())
            .map_or_else(|| text.to_owned(), |token| text.replace(token, "***"))
    }

    /// Forgets keys that the service has refused, so that the next request is signed with fresh ones.
    pub fn refused(&mut self) {
        self.held = None;
    }

    async fn renew(&self, now: Timestamp) -> Result<Held, RemoteFailure> {
        match &self.from {
            CredentialsFrom::Environment => {
                let keys = self.environment_keys()?;
                // A process's environment does not change.
                Ok(Held { keys, renew_at: Timestamp::MAX, expire_at: None })
            }
            CredentialsFrom::File(path) => {
                let keys = crate::config::credentials::read(path)
                    .map_err(|reason| RemoteFailure::new(FailureKind::Unauthorized, reason))?;
                Ok(Held { keys: keys.into(), renew_at: now + FILE_AGE, expire_at: None })
            }
            CredentialsFrom::EcsRole { role, metadata } => of_instance(metadata, role.as_deref(), now).await,
        }
    }

    fn environment_keys(&self) -> Result<Credentials, RemoteFailure> {
        let [id, secret, token] = self.variables.0;
        let read = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let required = |name: &str| {
            read(name).ok_or_else(|| {
                let message = format!("credentials: the environment has no {name}");
                RemoteFailure::new(FailureKind::Unauthorized, message)
            })
        };
        Ok(Credentials {
            access_key_id: required(id)?,
            access_key_secret: required(secret)?,
            security_token: read(token),
        })
    }
}

/// What the metadata service says of a role.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RoleAnswer {
    code: String,
    access_key_id: String,
    access_key_secret: String,
    security_token: String,
    expiration: String,
}

const ROLES: &str = "/latest/meta-data/ram/security-credentials/";

/// Asks the metadata service of an Alibaba Cloud instance, in the hardened mode first and without a token where the
/// service knows none.
async fn of_instance(metadata: &Endpoint, role: Option<&str>, now: Timestamp) -> Result<Held, RemoteFailure> {
    let mut client = HttpClient::new(metadata, None)?;
    let ask = request(metadata, Method::PUT, "/latest/api/token")
        .header("x-aliyun-ecs-metadata-token-ttl-seconds", TOKEN_SECONDS);
    let answer = client.send(built(ask)?).await?;
    let token = (answer.status == StatusCode::OK).then_some(answer.body);
    let mut get = async |path: &str| {
        let mut ask = request(metadata, Method::GET, path);
        if let Some(token) = &token {
            ask = ask.header("x-aliyun-ecs-metadata-token", token.as_ref());
        }
        let Answer { status, body, .. } = client.send(built(ask)?).await?;
        match status {
            StatusCode::OK => Ok(body),
            StatusCode::NOT_FOUND => Err(refused(format_args!("{metadata} knows no such role"))),
            status => Err(refused(format_args!("{metadata} answered {status} to {path}"))),
        }
    };
    let role = match role {
        Some(role) => role.to_owned(),
        None => String::from_utf8_lossy(&get(ROLES).await?).trim().to_owned(),
    };
    let body = get(&format!("{ROLES}{role}")).await?;
    // The error of the parser would quote the keys.
    let answer: RoleAnswer = serde_json::from_slice(&body)
        .map_err(|_| refused(format_args!("{metadata} gave no credentials for the role {role}")))?;
    if answer.code != "Success" {
        return Err(refused(format_args!("{metadata}: {} for the role {role}", answer.code)));
    }
    let expiration: Timestamp = answer
        .expiration
        .parse()
        .map_err(|_| refused(format_args!("{metadata} says no time at which the credentials expire")))?;
    let left = expiration.duration_since(now);
    if !left.is_positive() {
        return Err(RemoteFailure::new(
            FailureKind::Expired,
            format_args!("{metadata}: the credentials of the role {role} expired at {expiration}"),
        ));
    }
    Ok(Held {
        keys: Credentials {
            access_key_id: answer.access_key_id,
            access_key_secret: answer.access_key_secret,
            security_token: Some(answer.security_token),
        },
        renew_at: now + left * 4 / 5,
        expire_at: Some(expiration),
    })
}

fn request(metadata: &Endpoint, method: Method, path: &str) -> http::request::Builder {
    Request::builder().method(method).uri(path).header(http::header::HOST, metadata.authority())
}

fn built(request: http::request::Builder) -> Result<Request<Payload>, RemoteFailure> {
    request.body(Payload::empty()).map_err(|_| refused("the metadata service's answer cannot be sent back"))
}

fn refused(message: impl fmt::Display) -> RemoteFailure {
    RemoteFailure::new(FailureKind::Unauthorized, format_args!("credentials: {message}"))
}
