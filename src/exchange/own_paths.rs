//! What every site answers itself, below `/_icpgate/`: the icon of the footer, and copied assets.
//!
//! The gate has permitted the host, and the request is recorded like any other. Nothing below goes to an origin.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, StatusCode, Version};

use super::context::RequestContext;
use super::response;
use crate::downstream::ClientFailure;
use crate::downstream::session::Downstream;
use crate::message::ResponseHead;
use crate::rewrite::{AssetMap, Compress, Found, ICON, ICON_PATH};

/// The icon changes with the program alone.
const ICON_TAG: &str = concat!("\"", env!("CARGO_PKG_VERSION"), "\"");

/// Answers a request for `path`, which is below `/_icpgate/`.
pub(super) async fn answer(
    down: &mut Downstream<'_>,
    context: &mut RequestContext<'_>,
    path: &str,
    assets: Option<&Arc<AssetMap>>,
    compress: Compress<'_>,
) -> Result<(), ClientFailure> {
    let asset = || find(assets?, &down.head.target);
    let (headers, body) = match asset() {
        Some(found) => of_asset(found, compress, &down.head.headers),
        None if path == ICON_PATH => of_icon(),
        None => return response::answer(down, context, StatusCode::NOT_FOUND).await,
    };
    if !matches!(down.head.method, Method::GET | Method::HEAD) {
        return response::answer(down, context, StatusCode::METHOD_NOT_ALLOWED).await;
    }
    let is_known = is_known(&down.head.headers, headers.get(header::ETAG));
    let status = if is_known { StatusCode::NOT_MODIFIED } else { StatusCode::OK };
    let body = if is_known { Bytes::new() } else { body };
    response::send_text(down, context, ResponseHead { status, version: Version::HTTP_11, headers }, body)
        .await
}

/// The copied asset at a target. Its path is not normalised: pages refer to an asset by one spelling.
fn find<'m>(assets: &'m AssetMap, target: &[u8]) -> Option<Found<'m>> {
    let target = std::str::from_utf8(target).ok()?;
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    assets.at(path, query)
}

fn of_asset(found: Found<'_>, compress: Compress<'_>, asked: &HeaderMap) -> (HeaderMap, Bytes) {
    let (encoding, etag, body) = found.body(compress, asked);
    let lifetime = match found.is_versioned {
        true => "public, max-age=31536000, immutable",
        // Another content may be there at any time.
        false => "public, no-cache",
    };
    let mut headers = head(found.media_type(), lifetime, etag);
    if found.is_encoded() {
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    }
    if let Some(encoding) = encoding {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding.name()));
    }
    (headers, body)
}

fn of_icon() -> (HeaderMap, Bytes) {
    let [media_type, lifetime, etag] = ["image/svg+xml", "public, max-age=86400", ICON_TAG];
    let value = HeaderValue::from_static;
    (head(value(media_type), lifetime, value(etag)), Bytes::from_static(ICON))
}

fn head(media_type: HeaderValue, lifetime: &'static str, etag: HeaderValue) -> HeaderMap {
    HeaderMap::from_iter([
        (header::CONTENT_TYPE, media_type),
        (header::CACHE_CONTROL, HeaderValue::from_static(lifetime)),
        (header::ETAG, etag),
        (HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff")),
    ])
}

/// Whether the client has what is served: `if-none-match` names its tag, which may have become weak.
fn is_known(headers: &HeaderMap, etag: Option<&HeaderValue>) -> bool {
    let sent = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    sent.flat_map(|value| value.split(',')).any(|tag| {
        let tag = tag.trim();
        tag == "*" || etag.is_some_and(|etag| tag.strip_prefix("W/").unwrap_or(tag) == etag)
    })
}
