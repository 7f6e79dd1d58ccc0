//! Text with placeholders for values of a request.
//!
//! Parsed once, with the configuration. What a client chose comes out as visible ASCII, so that no value can end
//! a field or begin another one.

use std::fmt::{self, Write as _};
use std::net::IpAddr;

/// Text and placeholders, in order.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Template(Vec<Piece>);

/// A part of a template.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Piece {
    /// Fixed text.
    Text(String),
    /// A value of the request.
    Placeholder(Placeholder),
}

/// A value of the request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Placeholder {
    /// The client's address, as records show it.
    ClientIp,
    /// The host without a port.
    Host,
    /// The path as it was sent.
    Path,
    /// The query with its `?`, or nothing.
    Query,
    /// The request id.
    RequestId,
    /// `http` or `https`.
    Scheme,
}

impl Placeholder {
    /// Each with its name.
    pub const ALL: [(&str, Self); 6] = [
        ("client_ip", Self::ClientIp),
        ("host", Self::Host),
        ("path", Self::Path),
        ("query", Self::Query),
        ("request_id", Self::RequestId),
        ("scheme", Self::Scheme),
    ];
}

/// The values of one request.
#[derive(Clone, Copy, Debug)]
pub struct RequestValues<'r> {
    /// The client's address, as records show it.
    pub client_ip: IpAddr,
    /// The host without a port.
    pub host: &'r str,
    /// Path and query, as they were sent.
    pub target: &'r [u8],
    /// The request id.
    pub request_id: &'r str,
    /// `http` or `https`.
    pub scheme: &'static str,
}

impl RequestValues<'_> {
    fn path_and_query(&self) -> (&[u8], &[u8]) {
        // `OPTIONS *` has no path.
        let target = if self.target.starts_with(b"/") { self.target } else { b"/" };
        target.split_at(memchr::memchr(b'?', target).unwrap_or(target.len()))
    }
}

/// Why a text is no template.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidTemplate {
    /// A name in braces that is not known.
    #[error("unknown placeholder {{{0}}}")]
    Unknown(String),
    /// A brace without its counterpart.
    #[error("a single {0:?}: write it twice for the character itself")]
    Brace(char),
    /// A byte that no field value may hold here.
    #[error("it holds a character other than visible ASCII and blanks")]
    Character,
}

impl Template {
    /// Parses text with placeholders in braces; `{{` and `}}` stand for the braces themselves.
    pub fn parse(text: &str) -> Result<Self, InvalidTemplate> {
        if text.bytes().any(|byte| byte != b' ' && !byte.is_ascii_graphic()) {
            return Err(InvalidTemplate::Character);
        }
        let mut pieces = Vec::new();
        let mut fixed = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, brace) = rest.split_at(at);
            fixed.push_str(before);
            rest = if brace.starts_with("{{") || brace.starts_with("}}") {
                fixed.push_str(&brace[..1]);
                &brace[2..]
            } else if let Some(inner) = brace.strip_prefix('{') {
                let (name, after) = inner.split_once('}').ok_or(InvalidTemplate::Brace('{'))?;
                let known = Placeholder::ALL.iter().find(|(known, _)| *known == name);
                let (_, placeholder) = known.ok_or_else(|| InvalidTemplate::Unknown(name.to_owned()))?;
                if !fixed.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut fixed)));
                }
                pieces.push(Piece::Placeholder(*placeholder));
                after
            } else {
                return Err(InvalidTemplate::Brace('}'));
            };
        }
        fixed.push_str(rest);
        if !fixed.is_empty() {
            pieces.push(Piece::Text(fixed));
        }
        Ok(Self(pieces))
    }

    /// The parts, in order.
    pub fn pieces(&self) -> &[Piece] {
        &self.0
    }

    /// The text for one request, of visible ASCII and the template's own blanks.
    pub fn expand(&self, values: &RequestValues<'_>) -> String {
        let mut text = String::new();
        let (path, query) = values.path_and_query();
        for piece in &self.0 {
            match piece {
                Piece::Text(fixed) => text.push_str(fixed),
                Piece::Placeholder(Placeholder::ClientIp) => {
                    push(&mut text, format_args!("{}", values.client_ip.to_canonical()));
                }
                Piece::Placeholder(Placeholder::Host) => escape(values.host.as_bytes(), &mut text),
                Piece::Placeholder(Placeholder::Path) => escape(path, &mut text),
                Piece::Placeholder(Placeholder::Query) => escape(query, &mut text),
                Piece::Placeholder(Placeholder::RequestId) => escape(values.request_id.as_bytes(), &mut text),
                Piece::Placeholder(Placeholder::Scheme) => text.push_str(values.scheme),
            }
        }
        text
    }
}

/// Percent-encodes every byte that is not visible ASCII.
fn escape(value: &[u8], text: &mut String) {
    for byte in value {
        match byte.is_ascii_graphic() {
            true => text.push(char::from(*byte)),
            false => push(text, format_args!("%{byte:02X}")),
        }
    }
}

fn push(text: &mut String, formatted: fmt::Arguments<'_>) {
    // A `String` takes everything that is written to it.
    let _ = text.write_fmt(formatted);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(target: &[u8]) -> RequestValues<'_> {
        RequestValues {
            client_ip: "::ffff:192.0.2.7".parse().expect("an address"),
            host: "www.example.cn",
            target,
            request_id: "r-1",
            scheme: "https",
        }
    }

    #[test]
    fn placeholders_stand_for_values_of_the_request() {
        for (template, target, expected) in [
            ("https://{host}{path}{query}", "/a/b?c=d", "https://www.example.cn/a/b?c=d"),
            ("{path}", "/a?", "/a"),
            ("{query}", "/a?", "?"),
            ("{query}", "/a", ""),
            ("{path}", "*", "/"),
            ("{client_ip} {scheme} {request_id}", "/", "192.0.2.7 https r-1"),
            ("{{path}} {{{path}}}", "/x", "{path} {/x}"),
            ("plain", "/", "plain"),
            ("", "/", ""),
        ] {
            let template = Template::parse(template).expect("a template");
            assert_eq!(template.expand(&values(target.as_bytes())), expected);
        }
    }

    #[test]
    fn no_value_ends_a_field() {
        let template = Template::parse("{path}{query}").expect("a template");
        for byte in 0..=u8::MAX {
            let target = [b"/a", &[byte][..], b"b?c", &[byte], b"d"].concat();
            let text = template.expand(&values(&target));
            assert!(text.bytes().all(|byte| byte.is_ascii_graphic()), "{byte}: {text}");
        }
        assert_eq!(template.expand(&values(b"/a\r\nset-cookie: x")), "/a%0D%0Aset-cookie:%20x");
    }

    #[test]
    fn other_texts_are_refused() {
        let unknown = |name: &str| Err(InvalidTemplate::Unknown(name.to_owned()));
        assert_eq!(Template::parse("{uri}"), unknown("uri"));
        assert_eq!(Template::parse("{Host}"), unknown("Host"));
        assert_eq!(Template::parse("{}"), unknown(""));
        assert_eq!(Template::parse("{host"), Err(InvalidTemplate::Brace('{')));
        assert_eq!(Template::parse("host}"), Err(InvalidTemplate::Brace('}')));
        for text in ["a\nb", "a\rb", "a\0b", "a\tb", "例"] {
            assert_eq!(Template::parse(text), Err(InvalidTemplate::Character), "{text:?}");
        }
    }
}
