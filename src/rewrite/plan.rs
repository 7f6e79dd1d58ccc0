//! What the origin is asked for, and what is done with its answer, judged by heads alone.
//!
//! Only pages have a result that is counted; other answers have none.

use encoding_rs::Encoding;
use http::header::{self, HeaderMap};
use http::{Method, StatusCode};

use super::accept::takes_identity;
use super::destination::Destination;
use super::fields::tokens;
use super::head::forbids_changes;
use super::{Charset, Coding, Compress, FooterPages, SkipReason};

#[cfg(test)]
mod tests;

/// How a request goes to the origin.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ask {
    /// As the client sent it.
    AsSent,
    /// With an `accept-encoding` of this edge, since the answer may be a page.
    Identity,
    /// The same without `range` and `if-range`, after an answer that was [`Rewrite::Partial`] or [`Rewrite::OutOfRange`].
    Whole,
}

/// What is done with an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Rewrite {
    /// [`apply_to_head`](super::apply_to_head) changes the head, and the body goes through an [`Injector`](super::Injector).
    Inject(Charset),
    /// The same, with a [`Decoder`](super::Decoder) before the injector.
    Decode(Coding, Charset),
    /// The head of such a page without its body: [`apply_to_head`](super::apply_to_head). Not counted.
    HeadOnly,
    /// It passes unchanged, for this reason. Counted.
    Skipped(SkipReason),
    /// A part of a page that would get the footer. It cannot be rewritten, and its offsets are not those of the page
    /// with its footer. Ask for the [`Ask::Whole`] page; otherwise it passes unchanged, as [`SkipReason::Partial`].
    Partial,
    /// 416 for what may be a page: the range may lie within the page with its footer. Ask for the [`Ask::Whole`] answer:
    /// if it is a page, that is the answer, else the 416. Not counted.
    OutOfRange,
    /// It is not a page that was chosen for the footer, and passes unchanged. Not counted.
    NotApplicable,
}

impl Rewrite {
    /// Whether the answer describes a page with a footer: with its body, or its head alone.
    pub fn is_of_page(self) -> bool {
        matches!(self, Self::Inject(_) | Self::Decode(..) | Self::HeadOnly)
    }
}

/// How a request for `path` (without its query) first goes to the origin.
///
/// A request that may be answered with a page asks for it in a coding of this edge. A range is kept: only the answer tells whether
/// it is a part of a page, or of a file.
pub fn ask(pages: FooterPages, method: &Method, path: &str, headers: &HeaderMap) -> Ask {
    if is_chosen(pages, path) && may_be_html(method, path, headers) { Ask::Identity } else { Ask::AsSent }
}

/// What is done with the answer to a request for `path` (without its query) with the fields `asked`.
pub fn plan(
    pages: FooterPages,
    method: &Method,
    path: &str,
    asked: &HeaderMap,
    status: StatusCode,
    headers: &HeaderMap,
    compress: Compress<'_>,
) -> Rewrite {
    if !is_chosen(pages, path) || !matches!(*method, Method::GET | Method::HEAD) {
        return Rewrite::NotApplicable;
    }
    let coding = || coding(asked, headers, compress);
    let is_for_page = || Destination::of(asked) == Destination::Page;
    let charset = match (status, MediaType::of(headers)) {
        (StatusCode::NOT_MODIFIED, _) if coding().is_err() => return Rewrite::NotApplicable,
        (StatusCode::NOT_MODIFIED, _) if !is_for_page() => return Rewrite::NotApplicable,
        // A 304 is about the page sent before, with its weak tag. It rarely has a type.
        (StatusCode::NOT_MODIFIED, None) if !has_form_of_asset(path) => return Rewrite::HeadOnly,
        (StatusCode::NOT_MODIFIED, Some(MediaType::Html(_))) => return Rewrite::HeadOnly,
        (StatusCode::RANGE_NOT_SATISFIABLE, _) if may_be_html(method, path, asked) => {
            return Rewrite::OutOfRange;
        }
        (StatusCode::OK | StatusCode::PARTIAL_CONTENT, Some(MediaType::Html(charset))) => charset,
        _ => return Rewrite::NotApplicable,
    };
    let coding = coding();
    let reason = if Destination::of(asked) == Destination::Subresource {
        SkipReason::Subresource
    } else if Destination::of(asked) == Destination::Frame {
        SkipReason::Frame
    } else if let Err(reason) = coding {
        reason
    } else if forbids_changes(headers) {
        SkipReason::NoTransform
    } else if is_attachment(headers) {
        SkipReason::Attachment
    } else if matches!(charset, Charset::Declared(encoding) if !encoding.is_ascii_compatible()) {
        SkipReason::Charset
    } else if status == StatusCode::PARTIAL_CONTENT || headers.contains_key(header::CONTENT_RANGE) {
        return Rewrite::Partial;
    } else if method == Method::HEAD {
        return Rewrite::HeadOnly;
    } else {
        let decoded = coding.ok().flatten().map(|coding| Rewrite::Decode(coding, charset));
        return decoded.unwrap_or(Rewrite::Inject(charset));
    };
    if method == Method::HEAD { Rewrite::NotApplicable } else { Rewrite::Skipped(reason) }
}

/// What an answer's head says of its charset.
pub fn declared_charset(headers: &HeaderMap) -> Charset {
    match MediaType::of(headers) {
        Some(MediaType::Html(charset)) => charset,
        _ => Charset::Undeclared,
    }
}

/// Whether the page at `path` (without its query) is to get the footer.
fn is_chosen(pages: FooterPages, path: &str) -> bool {
    match pages {
        FooterPages::All => true,
        FooterPages::Home => path == "/",
        FooterPages::Off => false,
    }
}

/// Whether a request may be answered with a page that gets the footer.
pub(super) fn may_be_html(method: &Method, path: &str, headers: &HeaderMap) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
        && !has_form_of_asset(path)
        && Destination::of(headers) == Destination::Page
}

/// The content coding to decode, if any.
pub(super) fn coding(
    asked: &HeaderMap,
    headers: &HeaderMap,
    compress: Compress<'_>,
) -> Result<Option<Coding>, SkipReason> {
    let mut codings =
        tokens(headers, header::CONTENT_ENCODING).filter(|coding| !coding.eq_ignore_ascii_case("identity"));
    let Some(first) = codings.next() else { return Ok(None) };
    match Coding::named(first) {
        Some(coding) if codings.next().is_none() && (takes_identity(asked) || compress.can_encode(asked)) => {
            Ok(Some(coding))
        }
        _ => Err(SkipReason::Encoded),
    }
}

/// The media type of an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum MediaType {
    Html(Charset),
    Css(Charset),
    Other,
}

impl MediaType {
    /// By the last `content-type`, as browsers do.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get_all(header::CONTENT_TYPE).iter().next_back()?.as_bytes();
        let mut parts = value.split(|&byte| byte == b';').map(<[u8]>::trim_ascii);
        let essence = parts.next()?;
        let kind = match () {
            () if essence.eq_ignore_ascii_case(b"text/html") => Self::Html,
            () if essence.eq_ignore_ascii_case(b"text/css") => Self::Css,
            () => return Some(Self::Other),
        };
        let label = parts.find_map(|parameter| {
            let (name, label) = parameter.split_at_checked(b"charset=".len())?;
            name.eq_ignore_ascii_case(b"charset=").then(|| label.trim_ascii())
        });
        let label = label.map(|label| {
            label.strip_prefix(b"\"").and_then(|label| label.strip_suffix(b"\"")).unwrap_or(label)
        });
        let declared = label.and_then(Encoding::for_label);
        Some(kind(declared.map_or(Charset::Undeclared, Charset::Declared)))
    }
}

pub(super) fn is_attachment(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(header::CONTENT_DISPOSITION)
        .and_then(|value| value.as_bytes().split(|&byte| byte == b';').next());
    kind.is_some_and(|kind| kind.trim_ascii().eq_ignore_ascii_case(b"attachment"))
}

fn extension(path: &str) -> Option<&str> {
    let (_, last) = path.rsplit_once('/')?;
    last.rsplit_once('.').map(|(_, extension)| extension)
}

fn has_form_of_asset(path: &str) -> bool {
    extension(path).is_some_and(|extension| ASSETS.iter().any(|known| extension.eq_ignore_ascii_case(known)))
}

/// Extensions that servers answer with a page only in an error. Such a page is rewritten all the same.
const ASSETS: [&str; 40] = [
    "js", "mjs", "css", "map", "json", "xml", "txt", "wasm", "png", "jpg", "jpeg", "gif", "webp", "avif",
    "svg", "ico", "woff", "woff2", "ttf", "otf", "mp4", "m4a", "m4s", "webm", "mov", "flv", "ts", "m3u8",
    "mp3", "ogg", "wav", "zip", "gz", "7z", "rar", "apk", "exe", "dmg", "pdf", "csv",
];
