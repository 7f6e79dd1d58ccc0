//! What the Log Service's answers mean: the error code decides, and the status only where there is no code.
//!
//! An unknown code is tried again, as Alibaba's own producers do: a record is given up by no mistake of ours. No message
//! shows a signature or a token.

use http::StatusCode;
use jiff::Timestamp;
use serde::Deserialize;

use crate::config::sinks::Endpoint;
use crate::remote::credentials::Credentials;
use crate::remote::failure::{FailureKind, RemoteFailure};
use crate::remote::foreign_text;
use crate::remote::http::Answer;

/// Names the request, in every answer of the service.
const REQUEST_ID: &str = "x-log-requestid";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ErrorBody {
    error_code: String,
    #[serde(default)]
    error_message: String,
}

/// Why the service did not do what was asked; `None` if it did.
pub(super) fn failure(
    answer: &Answer,
    endpoint: &Endpoint,
    keys: &Credentials,
    now: Timestamp,
) -> Option<RemoteFailure> {
    let request = answer.headers.get(REQUEST_ID).map(|id| foreign_text::shown(id.as_bytes()));
    let fail = |kind, what: String| {
        let request = request.as_deref().map(|id| format!(" (request {id})")).unwrap_or_default();
        let mut failure = RemoteFailure::new(kind, format_args!("{endpoint}: {what}{request}"));
        failure.retry_after = answer.retry_after(now);
        Some(failure)
    };
    if answer.status == StatusCode::OK {
        // An answer without the id comes from somebody else, such as a login page, and acknowledges nothing.
        let what = format!("the answer is not the Log Service's: it has no {REQUEST_ID}");
        return if request.is_some() { None } else { fail(FailureKind::Protocol, what) };
    }
    let Ok(ErrorBody { error_code, error_message }) = serde_json::from_slice(&answer.body) else {
        return fail(kind_of_status(answer.status), format!("it answered {}", answer.status));
    };
    let kind = kind_of_code(&error_code, &error_message, answer.status);
    let code = foreign_text::shown(error_code.as_bytes());
    // What is said about a signature may quote it.
    if matches!(kind, FailureKind::Unauthorized | FailureKind::Expired) {
        return fail(kind, format!("{code}, {}", answer.status));
    }
    let message = foreign_text::shown(error_message.as_bytes());
    let message = match &keys.security_token {
        Some(token) if !token.is_empty() => message.replace(token.as_str(), "***"),
        _ => message,
    };
    fail(kind, format!("{code}: {message}"))
}

fn kind_of_code(code: &str, message: &str, status: StatusCode) -> FailureKind {
    match code {
        "RequestTimeExpired" | "RequestTimeTooSkewed" | "InvalidRequestTime" => FailureKind::ClockSkew,
        "SecurityTokenExpired" => FailureKind::Expired,
        "Unauthorized" | "InvalidSecurityToken" | "SecurityTokenInvalid" if message.contains("expired") => {
            FailureKind::Expired
        }
        "Unauthorized"
        | "SignatureNotMatch"
        | "InvalidAccessKeyId"
        | "MissAccessKeyId"
        | "InvalidSecurityToken"
        | "SecurityTokenInvalid"
        | "ProjectForbidden" => FailureKind::Unauthorized,
        "ProjectNotExist"
        | "LogStoreNotExist"
        | "ProjectNotExists"
        | "LogstoreNotExists"
        | "LogStoreWithoutShard" => FailureKind::Missing,
        // The quotas answer 403.
        "WriteQuotaExceed"
        | "ShardWriteQuotaExceed"
        | "ProjectQuotaExceed"
        | "ExceedQuota"
        | "ReadQuotaExceed" => FailureKind::Throttled,
        "PostBodyTooLarge" => FailureKind::TooLarge,
        "PostBodyInvalid" | "InvalidLogSize" | "InvalidKey" | "InvalidLogGroup" => FailureKind::Rejected,
        "ParameterInvalid" if message.contains("size") => FailureKind::TooLarge,
        _ if status == StatusCode::TOO_MANY_REQUESTS => FailureKind::Throttled,
        _ => FailureKind::Unavailable,
    }
}

/// Of an answer without a code, which a gateway before the service gives.
fn kind_of_status(status: StatusCode) -> FailureKind {
    match status {
        StatusCode::TOO_MANY_REQUESTS => FailureKind::Throttled,
        StatusCode::PAYLOAD_TOO_LARGE => FailureKind::TooLarge,
        _ if status.is_server_error() => FailureKind::Unavailable,
        _ => FailureKind::Protocol,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::sinks::{ServerAddress, SinkHost};

    fn outcome(status: u16, request_id: bool, body: &str) -> Option<RemoteFailure> {
        let mut headers = http::HeaderMap::new();
        if request_id {
            headers.insert(REQUEST_ID, "5E0A".parse().expect("a value"));
        }
        let status = StatusCode::from_u16(status).expect("a status");
        let answer = Answer { status, headers, body: body.to_owned().into() };
        let address =
            ServerAddress { host: SinkHost::Address("10.0.0.1".parse().expect("an address")), port: 80 };
        let keys = Credentials {
            access_key_id: "AK".to_owned(),
            access_key_secret: "SECRET".to_owned(),
            security_token: Some("TOKEN".to_owned()),
        };
        failure(&answer, &Endpoint { is_tls: false, address }, &keys, Timestamp::UNIX_EPOCH)
    }

    #[track_caller]
    fn check(status: u16, code: &str, message: &str, expected: FailureKind) {
        let body = format!("{{\"errorCode\":\"{code}\",\"errorMessage\":\"{message}\"}}");
        let failure = outcome(status, true, &body).expect("a failure");
        assert_eq!(failure.kind, expected, "{code}");
        assert!(failure.message.contains(code) && failure.message.contains("5E0A"), "{failure}");
        assert!(!failure.message.contains("TOKEN"), "{failure}");
    }

    #[test]
    fn the_code_decides_and_not_the_status() {
        check(403, "WriteQuotaExceed", "too many", FailureKind::Throttled);
        check(403, "ShardWriteQuotaExceed", "", FailureKind::Throttled);
        check(403, "SignatureNotMatch", "signature c2lnbmF0dXJl not match", FailureKind::Unauthorized);
        check(401, "Unauthorized", "denied by sts or ram", FailureKind::Unauthorized);
        check(401, "Unauthorized", "The security token TOKEN has expired", FailureKind::Expired);
        check(400, "RequestTimeExpired", "", FailureKind::ClockSkew);
        check(404, "ProjectNotExist", "", FailureKind::Missing);
        check(404, "LogStoreNotExist", "logstore edge does not exist", FailureKind::Missing);
        check(400, "PostBodyTooLarge", "", FailureKind::TooLarge);
        check(400, "PostBodyInvalid", "", FailureKind::Rejected);
        check(500, "InternalServerError", "", FailureKind::Unavailable);
        check(503, "ServerBusy", "TOKEN", FailureKind::Unavailable);
        check(400, "SomethingNew", "", FailureKind::Unavailable);
        check(429, "SomethingNew", "", FailureKind::Throttled);
    }

    #[test]
    fn a_signature_is_not_shown() {
        let body =
            "{\"errorCode\":\"SignatureNotMatch\",\"errorMessage\":\"signature c2lnbmF0dXJl not match\"}";
        let failure = outcome(401, true, body).expect("a failure");
        assert!(!failure.message.contains("c2lnbmF0dXJl"), "{failure}");
    }

    #[test]
    fn only_the_service_acknowledges() {
        assert_eq!(outcome(200, true, ""), None);
        assert_eq!(outcome(200, false, "").expect("a failure").kind, FailureKind::Protocol);
        let portal = outcome(200, false, "<html>log in</html>").expect("a failure");
        assert_eq!(portal.kind, FailureKind::Protocol);
        let redirect = outcome(302, false, "").expect("a failure");
        assert_eq!(redirect.kind, FailureKind::Protocol);
        assert_eq!(outcome(502, false, "<html>").expect("a failure").kind, FailureKind::Unavailable);
        assert_eq!(outcome(429, false, "").expect("a failure").kind, FailureKind::Throttled);
    }
}
