//! Which answers are compressed on their way to the client, in which coding, and what that changes in their heads.

use http::header::{self, HeaderMap, HeaderValue};
use http::{StatusCode, Version};

use super::encode::Encoding;
use super::fields::tokens;
use super::head::{apply_to_head, forbids_changes, vary, weak_etag};
use super::{Coding, accept};
use crate::message::fields::content_length;

/// A site's `compress`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum CompressMode {
    /// What came compressed and had to be decoded leaves compressed again. What came plain stays plain.
    #[default]
    Auto,
    /// What came plain is compressed too, where it is worth it.
    On,
    /// Nothing is compressed.
    Off,
}

/// The section `compress`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CompressSettings {
    /// The codings, the preferred one first; never empty.
    pub encodings: Vec<Encoding>,
    /// Shorter answers stay plain, in bytes. An answer of unknown length counts as long.
    pub min_bytes: u64,
    /// The media types that are compressed, in lower case.
    pub types: Vec<Box<str>>,
}

/// What is text, or as compressible as text.
const TYPES: [&str; 19] = [
    "text/html",
    "text/css",
    "text/plain",
    "text/javascript",
    "text/xml",
    "text/csv",
    "text/markdown",
    "application/javascript",
    "application/json",
    "application/ld+json",
    "application/manifest+json",
    "application/xml",
    "application/xhtml+xml",
    "application/rss+xml",
    "application/atom+xml",
    "application/wasm",
    "image/svg+xml",
    "font/ttf",
    "font/otf",
];

impl Default for CompressSettings {
    fn default() -> Self {
        Self { encodings: Encoding::ALL.to_vec(), min_bytes: 1 << 10, types: TYPES.map(Box::from).to_vec() }
    }
}

/// How the answers to one request are compressed.
#[derive(Clone, Copy, Debug)]
pub struct Compress<'c> {
    mode: CompressMode,
    settings: &'c CompressSettings,
}

/// The coding in which an answer leaves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Choice {
    /// Compression does not concern it.
    AsItCame,
    /// No coding, for this client.
    Plain,
    /// This one.
    Encoded(Encoding),
}

impl<'c> Compress<'c> {
    /// For a request in that version of HTTP. One in HTTP/1.0 gets plain answers: caches of its time know no `vary`.
    pub fn new(mode: CompressMode, settings: &'c CompressSettings, version: Version) -> Self {
        let mode = if version < Version::HTTP_11 { CompressMode::Off } else { mode };
        Self { mode, settings }
    }

    /// The coding of an answer. `was_coded` if it came in a coding that is removed here; its other fields must still
    /// be those of the origin.
    pub fn choose(
        self,
        asked: &HeaderMap,
        status: StatusCode,
        headers: &HeaderMap,
        was_coded: bool,
    ) -> Choice {
        let concerns = match self.mode {
            CompressMode::Off => false,
            CompressMode::Auto => was_coded,
            CompressMode::On => was_coded || self.is_worth_it(status, headers),
        };
        if !concerns {
            return Choice::AsItCame;
        }
        self.encoding_for(asked).map_or(Choice::Plain, Choice::Encoded)
    }

    /// Whether what is decoded can be encoded again for this client.
    pub(super) fn can_encode(self, asked: &HeaderMap) -> bool {
        self.mode != CompressMode::Off && self.encoding_for(asked).is_some()
    }

    /// The coding that this client gets where anything is encoded: what variants of an answer differ by.
    pub fn encoding_for(self, asked: &HeaderMap) -> Option<Encoding> {
        accept::best(asked, &self.settings.encodings)
    }

    /// Whether a plain answer is worth compressing, and may be changed.
    fn is_worth_it(self, status: StatusCode, headers: &HeaderMap) -> bool {
        let has_whole_body = !status.is_informational()
            && !matches!(
                status,
                StatusCode::NO_CONTENT
                    | StatusCode::RESET_CONTENT
                    | StatusCode::PARTIAL_CONTENT
                    | StatusCode::NOT_MODIFIED
            );
        let is_long = match content_length(headers) {
            Ok(Some(length)) => length > 0 && length >= self.settings.min_bytes,
            Ok(None) => true,
            Err(_) => false,
        };
        has_whole_body
            && is_long
            && self.settings.types.iter().any(|known| has_type(headers, known))
            && is_plain(headers)
            && !headers.contains_key(header::CONTENT_RANGE)
            && !forbids_changes(headers)
    }

    /// Makes the head of a 304 fit the answer that the client holds: if that has the weak form of this tag, it was
    /// changed here.
    pub fn apply_to_not_modified(self, asked: &HeaderMap, headers: &mut HeaderMap) {
        let Some(weak) = headers.get(header::ETAG).and_then(weak_etag) else { return };
        if tokens(asked, header::IF_NONE_MATCH).any(|held| held.as_bytes() == weak.as_bytes()) {
            headers.insert(header::ETAG, weak);
            if self.mode == CompressMode::On {
                vary(headers, &header::ACCEPT_ENCODING);
            }
        }
    }
}

impl Choice {
    /// The coding, if there is one.
    pub fn encoding(self) -> Option<Encoding> {
        match self {
            Self::Encoded(encoding) => Some(encoding),
            Self::AsItCame | Self::Plain => None,
        }
    }

    /// Makes a head true for the answer in this coding. The framing of the body is the caller's.
    pub fn apply_to_head(self, headers: &mut HeaderMap) {
        if let Self::Encoded(encoding) = self {
            apply_to_head(headers);
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding.name()));
        }
        if self != Self::AsItCame {
            vary(headers, &header::ACCEPT_ENCODING);
        }
    }
}

/// The coding that an answer came in although the client does not accept it, since it was asked for here; `None` if it
/// cannot be decoded, as a part of a body cannot.
pub fn unwanted_coding(asked: &HeaderMap, status: StatusCode, headers: &HeaderMap) -> Option<Coding> {
    let mut codings = tokens(headers, header::CONTENT_ENCODING);
    let coding = codings.next().and_then(Coding::named)?;
    let is_whole = status != StatusCode::PARTIAL_CONTENT && !headers.contains_key(header::CONTENT_RANGE);
    (codings.next().is_none() && is_whole && !accept::takes(asked, coding)).then_some(coding)
}

/// Whether each part of an answer is an event of its own, which must not wait for the next one.
pub fn is_event_stream(headers: &HeaderMap) -> bool {
    has_type(headers, "text/event-stream")
}

/// Whether an answer has this media type; by the last `content-type`, as browsers do.
fn has_type(headers: &HeaderMap, media_type: &str) -> bool {
    let last = headers.get_all(header::CONTENT_TYPE).iter().next_back().map(HeaderValue::as_bytes);
    let essence = last.and_then(|value| value.split(|&byte| byte == b';').next());
    essence.is_some_and(|essence| essence.trim_ascii().eq_ignore_ascii_case(media_type.as_bytes()))
}

fn is_plain(headers: &HeaderMap) -> bool {
    tokens(headers, header::CONTENT_ENCODING).all(|coding| coding.eq_ignore_ascii_case("identity"))
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    fn fields(all: &[(&'static str, &'static str)]) -> HeaderMap {
        let field = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), HeaderValue::from_static(value))
        };
        all.iter().map(field).collect()
    }

    const JSON: (&str, &str) = ("content-type", "application/json; charset=utf-8");
    const LONG: (&str, &str) = ("content-length", "1024");

    fn choose(mode: CompressMode, status: u16, answer: &[(&'static str, &'static str)]) -> Choice {
        let settings = CompressSettings::default();
        let compress = Compress::new(mode, &settings, Version::HTTP_2);
        let status = StatusCode::from_u16(status).unwrap();
        compress.choose(&fields(&[("accept-encoding", "gzip")]), status, &fields(answer), false)
    }

    #[test]
    fn on_compresses_what_is_text_and_long_and_may_be_changed() {
        let on = |status, answer: &[_]| choose(CompressMode::On, status, answer);
        let gzip = Choice::Encoded(Encoding::Gzip);
        assert_eq!(on(200, &[JSON, LONG]), gzip);
        assert_eq!(on(404, &[JSON, LONG]), gzip);
        assert_eq!(on(200, &[JSON]), gzip);
        assert_eq!(on(200, &[("content-type", "TEXT/CSS"), LONG]), gzip);
        assert_eq!(on(200, &[JSON, LONG, ("content-encoding", "identity")]), gzip);
        for (status, answer) in [
            (200, &[JSON, ("content-length", "1023")][..]),
            (200, &[JSON, ("content-length", "0")]),
            (200, &[("content-type", "image/png"), LONG]),
            (200, &[("content-type", "application/grpc"), LONG]),
            (200, &[("content-type", "application/jsonp"), LONG]),
            (200, &[LONG]),
            (200, &[JSON, LONG, ("content-encoding", "br")]),
            (200, &[JSON, LONG, ("content-range", "bytes 0-1023/4096")]),
            (200, &[JSON, LONG, ("cache-control", "public, no-transform")]),
            (204, &[JSON]),
            (205, &[JSON]),
            (206, &[JSON, LONG]),
            (304, &[JSON, LONG]),
        ] {
            assert_eq!(on(status, answer), Choice::AsItCame, "{status} {answer:?}");
        }
    }

    #[test]
    fn auto_and_off_leave_plain_what_came_plain() {
        for mode in [CompressMode::Auto, CompressMode::Off] {
            assert_eq!(choose(mode, 200, &[JSON, LONG]), Choice::AsItCame);
        }
        let settings = CompressSettings::default();
        let decoded = |mode, version, accepted| {
            let compress = Compress::new(mode, &settings, version);
            let asked = fields(&[("accept-encoding", accepted)]);
            compress.choose(&asked, StatusCode::OK, &fields(&[JSON]), true)
        };
        for mode in [CompressMode::Auto, CompressMode::On] {
            assert_eq!(decoded(mode, Version::HTTP_11, "br"), Choice::Encoded(Encoding::Brotli));
            assert_eq!(decoded(mode, Version::HTTP_11, "identity"), Choice::Plain);
            assert_eq!(decoded(mode, Version::HTTP_10, "br"), Choice::AsItCame);
        }
        assert_eq!(decoded(CompressMode::Off, Version::HTTP_2, "br"), Choice::AsItCame);
    }

    #[test]
    fn the_head_of_an_encoded_answer_describes_it() {
        let origins = fields(&[
            JSON,
            LONG,
            ("etag", "\"a\""),
            ("accept-ranges", "bytes"),
            ("digest", "x"),
            ("vary", "cookie"),
        ]);
        let mut headers = origins.clone();
        Choice::Encoded(Encoding::Zstd).apply_to_head(&mut headers);
        let expected =
            [JSON, ("etag", "W/\"a\""), ("content-encoding", "zstd"), ("vary", "cookie, accept-encoding")];
        assert_eq!(headers, fields(&expected));
        let mut headers = origins.clone();
        Choice::Plain.apply_to_head(&mut headers);
        assert_eq!(headers.remove("vary").unwrap(), "cookie, accept-encoding");
        let mut headers = origins.clone();
        Choice::AsItCame.apply_to_head(&mut headers);
        assert_eq!(headers, origins);
        for named in ["Accept-Encoding", "*", "x, ACCEPT-ENCODING"] {
            let mut headers = fields(&[("vary", named)]);
            Choice::Plain.apply_to_head(&mut headers);
            assert_eq!(headers, fields(&[("vary", named)]));
        }
    }

    #[test]
    fn a_304_has_the_tag_that_the_client_holds() {
        let settings = CompressSettings::default();
        let apply = |mode, held, tag| {
            let mut headers = fields(&[("etag", tag)]);
            let asked = fields(&[("if-none-match", held)]);
            Compress::new(mode, &settings, Version::HTTP_2).apply_to_not_modified(&asked, &mut headers);
            headers
        };
        let both = fields(&[("etag", "W/\"a\""), ("vary", "accept-encoding")]);
        assert_eq!(apply(CompressMode::On, "\"b\", W/\"a\"", "\"a\""), both);
        assert_eq!(apply(CompressMode::Off, "W/\"a\"", "\"a\""), fields(&[("etag", "W/\"a\"")]));
        assert_eq!(apply(CompressMode::On, "\"a\"", "\"a\""), fields(&[("etag", "\"a\"")]));
        assert_eq!(apply(CompressMode::On, "W/\"a\"", "W/\"a\""), fields(&[("etag", "W/\"a\"")]));
    }

    #[test]
    fn a_coding_that_the_client_does_not_accept_is_unwanted() {
        let unwanted = |accepted, status: u16, answer: &[_]| {
            let asked = fields(&[("accept-encoding", accepted)]);
            unwanted_coding(&asked, StatusCode::from_u16(status).unwrap(), &fields(answer))
        };
        let gzip = ("content-encoding", "gzip");
        assert_eq!(unwanted("identity", 200, &[gzip]), Some(Coding::Gzip));
        assert_eq!(unwanted("br", 404, &[gzip]), Some(Coding::Gzip));
        assert_eq!(unwanted("gzip", 200, &[gzip]), None);
        assert_eq!(unwanted("identity", 206, &[gzip]), None);
        assert_eq!(unwanted("identity", 200, &[("content-encoding", "gzip, br")]), None);
        assert_eq!(unwanted("identity", 200, &[("content-encoding", "compress")]), None);
        assert_eq!(unwanted("identity", 200, &[]), None);
    }
}
