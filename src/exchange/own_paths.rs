//! What every site answers itself, below `/_icpgate/`: the icon of the footer.
//!
//! The gate has permitted the host, and the request is recorded like any other. Nothing below goes to an origin.

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, StatusCode, Version};

use super::context::RequestContext;
use super::response;
use crate::downstream::ClientFailure;
use crate::downstream::session::Downstream;
use crate::message::ResponseHead;
use crate::rewrite::{ICON, ICON_PATH};

/// The icon changes with the program alone.
const ICON_TAG: &str = concat!("\"", env!("CARGO_PKG_VERSION"), "\"");

/// Answers a request for a path below `/_icpgate/`.
pub(super) async fn answer(
    down: &mut Downstream<'_>,
    context: &mut RequestContext<'_>,
    path: &str,
) -> Result<(), ClientFailure> {
    if path != ICON_PATH {
        return response::answer(down, context, StatusCode::NOT_FOUND).await;
    }
    if !matches!(down.head.method, Method::GET | Method::HEAD) {
        return response::answer(down, context, StatusCode::METHOD_NOT_ALLOWED).await;
    }
    let is_known = is_known(&down.head.headers);
    let status = if is_known { StatusCode::NOT_MODIFIED } else { StatusCode::OK };
    let headers = HeaderMap::from_iter([
        (header::CONTENT_TYPE, HeaderValue::from_static("image/svg+xml")),
        (header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=86400")),
        (header::ETAG, HeaderValue::from_static(ICON_TAG)),
        (HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff")),
    ]);
    let body = if is_known { Bytes::new() } else { Bytes::from_static(ICON) };
    response::send_text(down, context, ResponseHead { status, version: Version::HTTP_11, headers }, body)
        .await
}

/// Whether the client has the icon: `if-none-match` names its tag, which may have become weak.
fn is_known(headers: &HeaderMap) -> bool {
    let sent = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    sent.flat_map(|value| value.split(',')).any(|tag| {
        let tag = tag.trim();
        tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == ICON_TAG
    })
}
