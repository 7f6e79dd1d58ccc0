//! What is asked of the origin, and what is done with its answer, by heads alone.
//!
//! Only an answer that is a page to be shown is counted; what is no page is nobody's failure.

use encoding_rs::Encoding;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode};

use super::{Charset, Coding, FooterPages, SkipReason};

#[cfg(test)]
mod tests;

/// How a request is put to the origin.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ask {
    /// As the client sent it.
    AsSent,
    /// With `accept-encoding: identity`, since the answer may be a page.
    Identity,
    /// So, and without `range` and `if-range`: a part of a page cannot be rewritten, and does not fit the
    /// parts of the page with its footer.
    Whole,
}

/// What is done with an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Rewrite {
    /// The head is changed by [`apply_to_head`], and the body goes through an
    /// [`Injector`](super::Injector).
    Inject(Charset),
    /// The same, and the body goes through a [`Decoder`](super::Decoder) before.
    Decode(Coding, Charset),
    /// There is no body, but the head is that of such a page: [`apply_to_head`]. Not counted.
    HeadOnly,
    /// It is a page that is chosen for the footer, and passes unchanged. Counted.
    Skipped(SkipReason),
    /// It is no such page, and passes unchanged. Not counted.
    NotApplicable,
}

/// How a request for `path` (without its query) is put to the origin of a site.
///
/// Whoever may be answered with a page is answered whole and in identity coding. A range is kept where
/// it may be a player's, seeking in a video whose path does not say so: there the client neither names
/// `text/html` nor has the path a page's form.
pub fn ask(pages: FooterPages, method: &Method, path: &str, headers: &HeaderMap) -> Ask {
    if !is_chosen(pages, path) || !may_be_html(method, path, headers) {
        Ask::AsSent
    } else if headers.contains_key(header::RANGE)
        && !(accepts(headers, "text/html") || has_form_of_page(path))
    {
        Ask::Identity
    } else {
        Ask::Whole
    }
}

/// What is done with the answer to a request for `path` (without its query) that came with the fields `asked`.
pub fn plan(
    pages: FooterPages,
    method: &Method,
    path: &str,
    asked: &HeaderMap,
    status: StatusCode,
    headers: &HeaderMap,
) -> Rewrite {
    if !is_chosen(pages, path) || !matches!(*method, Method::GET | Method::HEAD) {
        return Rewrite::NotApplicable;
    }
    // Most answers are no pages, and not looked at so closely.
    let coding = || coding(asked, headers);
    let charset = match (status, MediaType::of(headers)) {
        (StatusCode::NOT_MODIFIED, _) if coding().is_err() => return Rewrite::NotApplicable,
        // It speaks of the page that was sent before, with its weakened tag; a type is rarely given.
        (StatusCode::NOT_MODIFIED, None) if !has_form_of_asset(path) => return Rewrite::HeadOnly,
        (StatusCode::NOT_MODIFIED, Some(MediaType::Html(_))) => return Rewrite::HeadOnly,
        (StatusCode::OK | StatusCode::PARTIAL_CONTENT, Some(MediaType::Html(charset))) => charset,
        _ => return Rewrite::NotApplicable,
    };
    let coding = coding();
    let reason = if status == StatusCode::PARTIAL_CONTENT || headers.contains_key(header::CONTENT_RANGE) {
        SkipReason::Partial
    } else if let Err(reason) = coding {
        reason
    } else if tokens(headers, header::CACHE_CONTROL).any(|token| token.eq_ignore_ascii_case("no-transform")) {
        SkipReason::NoTransform
    } else if is_attachment(headers) {
        SkipReason::Attachment
    } else if matches!(charset, Charset::Declared(encoding) if !encoding.is_ascii_compatible()) {
        SkipReason::Charset
    } else if method == Method::HEAD {
        return Rewrite::HeadOnly;
    } else {
        let decoded = coding.ok().flatten().map(|coding| Rewrite::Decode(coding, charset));
        return decoded.unwrap_or(Rewrite::Inject(charset));
    };
    if method == Method::HEAD { Rewrite::NotApplicable } else { Rewrite::Skipped(reason) }
}

/// Headers that speak of the body's exact bytes, and are removed when those change.
const REMOVED_HEADERS: [HeaderName; 7] = [
    header::CONTENT_LENGTH,
    header::CONTENT_ENCODING,
    header::ACCEPT_RANGES,
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("content-digest"),
];

/// Makes a head true for a page whose bytes change: what speaks of its exact bytes goes, the entity tag
/// becomes weak. The framing of the body is the caller's.
pub fn apply_to_head(headers: &mut HeaderMap) {
    for name in REMOVED_HEADERS {
        headers.remove(name);
    }
    if let Some(weak) = headers.get(header::ETAG).and_then(weak_etag) {
        headers.insert(header::ETAG, weak);
    }
}

/// The weak form of a strong entity tag; `None` if there is nothing to weaken.
fn weak_etag(etag: &HeaderValue) -> Option<HeaderValue> {
    let strong = etag.as_bytes();
    if !strong.starts_with(b"\"") {
        return None;
    }
    HeaderValue::from_bytes(&[b"W/", strong].concat()).ok()
}

fn is_chosen(pages: FooterPages, path: &str) -> bool {
    match pages {
        FooterPages::All => true,
        FooterPages::Home => path == "/",
        FooterPages::Off => false,
    }
}

/// Whether a request may be answered with a page. Not: methods other than GET and HEAD, whose answers
/// are no pages to be kept or compared; paths that end as files of other kinds do; clients that name
/// other types; and what a browser says is for an image, a script or the like.
fn may_be_html(method: &Method, path: &str, headers: &HeaderMap) -> bool {
    let named = || ["text/html", "text/*"].into_iter().any(|range| accepts(headers, range));
    let whatever = || tokens(headers, header::ACCEPT).all(|range| without_parameters(range) == "*/*");
    matches!(*method, Method::GET | Method::HEAD)
        && !has_form_of_asset(path)
        && match headers.get("sec-fetch-dest").map(HeaderValue::as_bytes) {
            None => named() || whatever(),
            // A script's request: most are for data, which is better left compressed.
            Some(b"empty") => named(),
            Some(destination) => DOCUMENT_DESTINATIONS.contains(&destination),
        }
}

/// The content coding to be undone, if there is one.
fn coding(asked: &HeaderMap, headers: &HeaderMap) -> Result<Option<Coding>, SkipReason> {
    let mut codings =
        tokens(headers, header::CONTENT_ENCODING).filter(|coding| !coding.eq_ignore_ascii_case("identity"));
    let Some(first) = codings.next() else { return Ok(None) };
    match Coding::named(first) {
        Some(coding) if codings.next().is_none() && takes_identity(asked) => Ok(Some(coding)),
        _ => Err(SkipReason::Encoded),
    }
}

/// Whether a client takes what is in no coding (RFC 9110, 12.5.3): unless it says otherwise, it does.
fn takes_identity(asked: &HeaderMap) -> bool {
    let is_refused = |element: &str| {
        let mut parameters = element.split(';').filter_map(|parameter| parameter.split_once('='));
        parameters.any(|(name, weight)| {
            name.trim().eq_ignore_ascii_case("q") && weight.trim().parse() == Ok(0.0_f32)
        })
    };
    let named = |name: &str| {
        tokens(asked, header::ACCEPT_ENCODING)
            .find(|sent| without_parameters(sent).eq_ignore_ascii_case(name))
    };
    !named("identity").or_else(|| named("*")).is_some_and(is_refused)
}

/// The media type of an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum MediaType {
    Html(Charset),
    Other,
}

impl MediaType {
    /// By the last `content-type`, which is the one that browsers take.
    fn of(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get_all(header::CONTENT_TYPE).iter().next_back()?.as_bytes();
        let mut parts = value.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
        if !parts.next()?.eq_ignore_ascii_case(b"text/html") {
            return Some(Self::Other);
        }
        let label = parts.find_map(|parameter| {
            let (name, label) = parameter.split_at_checked(b"charset=".len())?;
            name.eq_ignore_ascii_case(b"charset=").then(|| label.trim_ascii())
        });
        let label = label.map(|label| {
            label.strip_prefix(b"\"").and_then(|label| label.strip_suffix(b"\"")).unwrap_or(label)
        });
        let declared = label.and_then(Encoding::for_label);
        Some(Self::Html(declared.map_or(Charset::Undeclared, Charset::Declared)))
    }
}

fn is_attachment(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(header::CONTENT_DISPOSITION)
        .and_then(|value| value.as_bytes().split(|&byte| byte == b';').next());
    kind.is_some_and(|kind| kind.trim_ascii().eq_ignore_ascii_case(b"attachment"))
}

/// The elements of a header that is a list. A value that is not ASCII is one odd element.
fn tokens(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let values = headers.get_all(name).into_iter();
    values
        .flat_map(|value| value.to_str().unwrap_or("?").split(','))
        .map(str::trim)
        .filter(|token| !token.is_empty())
}

fn accepts(headers: &HeaderMap, range: &str) -> bool {
    tokens(headers, header::ACCEPT).any(|sent| without_parameters(sent).eq_ignore_ascii_case(range))
}

/// An element of `accept` or the like without its parameters.
fn without_parameters(element: &str) -> &str {
    element.split(';').next().unwrap_or_default().trim()
}

/// What browsers fetch to show as a page.
const DOCUMENT_DESTINATIONS: [&[u8]; 6] =
    [b"document", b"iframe", b"frame", b"embed", b"object", b"fencedframe"];

fn extension(path: &str) -> Option<&str> {
    let (_, last) = path.rsplit_once('/')?;
    last.rsplit_once('.').map(|(_, extension)| extension)
}

fn has_form_of_page(path: &str) -> bool {
    path.ends_with('/') || extension(path).is_some_and(|e| is_one_of(e, &PAGES))
}

fn has_form_of_asset(path: &str) -> bool {
    extension(path).is_some_and(|e| is_one_of(e, &ASSETS))
}

fn is_one_of(extension: &str, known: &[&str]) -> bool {
    known.iter().any(|known| extension.eq_ignore_ascii_case(known))
}

const PAGES: [&str; 7] = ["html", "htm", "shtml", "php", "jsp", "asp", "aspx"];

/// Files that no server answers with a page but in an error. An answer that is one all the same is
/// still rewritten.
const ASSETS: [&str; 40] = [
    "js", "mjs", "css", "map", "json", "xml", "txt", "wasm", "png", "jpg", "jpeg", "gif", "webp", "avif",
    "svg", "ico", "woff", "woff2", "ttf", "otf", "mp4", "m4a", "m4s", "webm", "mov", "flv", "ts", "m3u8",
    "mp3", "ogg", "wav", "zip", "gz", "7z", "rar", "apk", "exe", "dmg", "pdf", "csv",
];
