//! The head of a request in HTTP/1.x, read whole and strictly.
//!
//! Whatever says in two ways where the request ends, or whom it is for, is refused: an origin must
//! never see a request that hides in another.

use std::mem::MaybeUninit;

use bytes::Bytes;
use http::header::{self, HeaderMap};
use http::{Method, Version};

use super::fields::{self, content_length, has_token};
use super::{BadMessage, Framing, Persistence, REQUEST_FIELDS, RequestHead};

/// Stands for a byte of a target that is not ASCII, while the head is parsed.
const MASK: u8 = b'x';

/// A request's head, and what it says of its body and of the connection.
#[derive(Clone, Debug)]
pub struct Request {
    /// The head.
    pub head: RequestHead,
    /// How its body ends.
    pub framing: Framing,
    /// What the client wants of the connection.
    pub persistence: Persistence,
}

/// Why bytes are no request.
#[derive(Clone, Debug)]
pub struct NoRequest {
    /// Why.
    pub reason: BadMessage,
    /// What they say nevertheless, where that has the form of a head.
    pub head: Option<Box<RequestHead>>,
}

impl From<BadMessage> for NoRequest {
    fn from(reason: BadMessage) -> Self {
        Self { reason, head: None }
    }
}

/// Reads a head that is whole in `bytes`, its empty line included.
pub fn parse(bytes: &Bytes) -> Result<Request, NoRequest> {
    match masked_target(bytes) {
        None => parse_as(bytes, bytes),
        Some(masked) => parse_as(&Bytes::from(masked), bytes),
    }
}

/// The head with a letter for each byte of the target that is not ASCII; `None` where the target is UTF-8. The parser
/// takes UTF-8 alone, and old pages send GBK.
pub fn masked_target(bytes: &[u8]) -> Option<Vec<u8>> {
    let begin = bytes.iter().position(|byte| !b"\r\n".contains(byte))?;
    let end = begin + memchr::memchr(b'\n', &bytes[begin..])?;
    if bytes[begin..end].is_ascii() || std::str::from_utf8(&bytes[begin..end]).is_ok() {
        return None;
    }
    let mut masked = bytes.to_vec();
    let target = masked[begin..end].iter_mut().skip_while(|byte| **byte != b' ').skip(1);
    target.take_while(|byte| **byte != b' ').filter(|byte| !byte.is_ascii()).for_each(|byte| *byte = MASK);
    Some(masked)
}

/// Reads a head from `bytes`, which differ from what was `sent` in the target alone.
fn parse_as(bytes: &Bytes, sent: &Bytes) -> Result<Request, NoRequest> {
    let mut room = [const { MaybeUninit::uninit() }; REQUEST_FIELDS];
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(bytes, &mut room) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Err(BadMessage::Syntax.into()),
        Err(httparse::Error::TooManyHeaders) => return Err(BadMessage::TooManyFields.into()),
        Err(_) => return Err(BadMessage::Syntax.into()),
    }
    let (Some(method), Some(target), Some(version)) = (parsed.method, parsed.path, parsed.version) else {
        return Err(BadMessage::Syntax.into());
    };
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| BadMessage::Syntax)?;
    let version = if version == 1 { Version::HTTP_11 } else { Version::HTTP_10 };
    let headers = fields::collect(parsed.headers, bytes)?;
    let (authority, target, form) = match split_target(&method, target) {
        Ok((authority, target)) => (authority, target, Ok(())),
        Err(bad) => (None, Target::Sent(target), Err(bad)),
    };
    let as_sent = |part: &str| {
        let begin = part.as_ptr() as usize - bytes.as_ptr() as usize;
        sent.slice(begin..begin + part.len())
    };
    let authority = authority.map(as_sent);
    let target = match target {
        Target::Sent(target) => as_sent(target),
        Target::Query(query) => Bytes::from([&b"/"[..], &as_sent(query)].concat()),
        Target::Root => Bytes::from_static(b"/"),
    };
    let head = RequestHead { method, target, authority, version, headers };
    let framing = form
        .and_then(|()| agree_on_host(&head.headers, head.authority.as_ref()))
        .and_then(|()| framing(&head.headers, version));
    match framing {
        Ok(framing) => {
            let persistence = fields::persistence(&head.headers, version);
            Ok(Request { head, framing, persistence })
        }
        Err(reason) => Err(NoRequest { reason, head: Some(Box::new(head)) }),
    }
}

/// A path with its query, as far as it stands in the head.
#[derive(Debug, Eq, PartialEq)]
enum Target<'t> {
    Sent(&'t str),
    /// A query without a path, which is `/` then.
    Query(&'t str),
    Root,
}

/// Authority and path of a target (RFC 9112, 3.2). `CONNECT` has an authority and no path: nothing here
/// makes a tunnel, and whoever answers says so.
fn split_target<'t>(method: &Method, target: &'t str) -> Result<(Option<&'t str>, Target<'t>), BadMessage> {
    // A fragment is never sent (RFC 9110, 7.1).
    if target.contains('#') {
        return Err(BadMessage::Target);
    }
    if target.starts_with('/') {
        return Ok((None, Target::Sent(target)));
    }
    if target == "*" && *method == Method::OPTIONS {
        return Ok((None, Target::Sent(target)));
    }
    if *method == Method::CONNECT {
        return Ok((Some(target), Target::Root));
    }
    let (scheme, rest) = target.split_once("://").ok_or(BadMessage::Target)?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(BadMessage::Target);
    }
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    // What stands before an `@` would be read as the host by some.
    if authority.is_empty() || authority.contains('@') {
        return Err(BadMessage::Target);
    }
    let target = match path.as_bytes().first() {
        Some(b'/') => Target::Sent(path),
        Some(_) => Target::Query(path),
        None => Target::Root,
    };
    Ok((Some(authority), target))
}

/// A request is for one host, however often it says so.
fn agree_on_host(headers: &HeaderMap, authority: Option<&Bytes>) -> Result<(), BadMessage> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (host, second) = (hosts.next(), hosts.next());
    let differs =
        |authority: &Bytes| host.is_some_and(|host| !host.as_bytes().eq_ignore_ascii_case(authority));
    if second.is_some() || authority.is_some_and(differs) {
        return Err(BadMessage::Host);
    }
    Ok(())
}

/// How the body ends. A length beside a coding, a coding that is not chunked alone or that HTTP/1.0 does
/// not know, and a body under an upgrade are read in differing ways by others (RFC 9112, 6.1 and 6.3).
fn framing(headers: &HeaderMap, version: Version) -> Result<Framing, BadMessage> {
    let length = content_length(headers)?;
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let framing = match (codings.next(), length) {
        (None, None) => Framing::None,
        (None, Some(0)) => Framing::None,
        (None, Some(length)) => Framing::Length(length),
        (Some(coding), None)
            if coding.as_bytes().eq_ignore_ascii_case(b"chunked")
                && codings.next().is_none()
                && version == Version::HTTP_11 =>
        {
            Framing::Chunked
        }
        (Some(_), _) => return Err(BadMessage::Coding),
    };
    if framing != Framing::None
        && headers.contains_key(header::UPGRADE)
        && has_token(headers, &header::CONNECTION, "upgrade")
    {
        return Err(BadMessage::Coding);
    }
    Ok(framing)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a head that names the host `a.cn`, unless it names one itself.
    fn of(text: &str) -> Result<Request, BadMessage> {
        let with_host = text.replacen(" HTTP/1.1\r\n", " HTTP/1.1\r\nHost: a.cn\r\n", 1);
        let text = if text.contains("Host:") { text } else { &with_host };
        parse(&Bytes::copy_from_slice(text.as_bytes())).map_err(|no_request| no_request.reason)
    }

    #[test]
    fn targets_are_split_into_authority_and_path() {
        for (sent, authority, target) in [
            ("/a?b", None, "/a?b"),
            ("//a.cn/x", None, "//a.cn/x"),
            ("http://a.cn", Some("a.cn"), "/"),
            ("HTTP://a.cn:80/x?y", Some("a.cn:80"), "/x?y"),
            ("https://a.cn?y", Some("a.cn"), "/?y"),
        ] {
            let host = authority.unwrap_or("a.cn");
            let head = of(&format!("GET {sent} HTTP/1.1\r\nHost: {host}\r\n\r\n")).expect(sent).head;
            assert_eq!(head.authority.as_deref(), authority.map(str::as_bytes), "{sent}");
            assert_eq!(head.target, target, "{sent}");
        }
        for bad in ["a.cn:443", "foo", "?q", "*", "ftp://a.cn/", "http://", "http://b.cn@a.cn/", "/a#b", "#"]
        {
            assert_eq!(
                of(&format!("GET {bad} HTTP/1.1\r\n\r\n")).map(|_| ()),
                Err(BadMessage::Target),
                "{bad}"
            );
        }
        assert_eq!(of("OPTIONS * HTTP/1.1\r\n\r\n").expect("a head").head.target, "*");
    }

    #[test]
    fn targets_of_any_charset_pass_as_they_were_sent() {
        let gbk = b"\xd6\xd0\xb9\xfa";
        let targets: [(&[u8], &[u8]); 4] =
            [(b"/", b""), (b"/\"<>`?q=", b""), (b"http://a.cn/", b""), (b"http://a.cn?q=", b"/?q=")];
        for (begin, expected) in targets {
            let head = [b"GET ", begin, gbk, b" HTTP/1.1\r\nHost: a.cn\r\nX: \xd6\r\n\r\n"].concat();
            let head = parse(&Bytes::from(head)).expect("a request").head;
            let path = begin.strip_prefix(b"http://a.cn").unwrap_or(begin);
            let expected = if expected.is_empty() { path } else { expected };
            assert_eq!(head.target, [expected, gbk].concat());
            assert_eq!(head.headers["x"].as_bytes(), b"\xd6");
        }
        let bad = [b"GET http://", &gbk[..], b"/ HTTP/1.1\r\nHost: xxxx\r\n\r\n"].concat();
        assert!(parse(&Bytes::from(bad)).is_err());
    }

    #[test]
    fn a_body_ends_in_one_way() {
        let framing =
            |fields: &str| of(&format!("POST / HTTP/1.1\r\n{fields}\r\n")).map(|request| request.framing);
        assert_eq!(framing(""), Ok(Framing::None));
        assert_eq!(framing("Content-Length: 0\r\n"), Ok(Framing::None));
        assert_eq!(framing("Content-Length: 5\r\n"), Ok(Framing::Length(5)));
        assert_eq!(framing("Transfer-Encoding: Chunked\r\n"), Ok(Framing::Chunked));
        for bad in [
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: identity\r\n",
            "Transfer-Encoding:\r\n",
            "Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n",
        ] {
            assert_eq!(framing(bad), Err(BadMessage::Coding), "{bad:?}");
        }
        let old = of("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n");
        assert_eq!(old.map(|_| ()), Err(BadMessage::Coding));
    }

    #[test]
    fn a_request_is_for_one_host() {
        for (bad, reason) in [
            ("GET / HTTP/1.1\r\nHost: a.cn\r\nHost: a.cn\r\n\r\n", BadMessage::Host),
            ("GET http://a.cn/ HTTP/1.1\r\nHost: b.cn\r\n\r\n", BadMessage::Host),
        ] {
            assert_eq!(of(bad).map(|_| ()), Err(reason), "{bad:?}");
        }
        assert!(of("GET http://A.cn/ HTTP/1.1\r\nHost: a.cn\r\n\r\n").is_ok());
    }

    #[test]
    fn connections_are_kept_as_the_version_has_it() {
        let persistence = |text: &str| of(text).expect("a head").persistence;
        assert_eq!(persistence("GET / HTTP/1.1\r\n\r\n"), Persistence::Kept);
        assert_eq!(persistence("GET / HTTP/1.1\r\nConnection: x, Close\r\n\r\n"), Persistence::Closed);
        assert_eq!(persistence("GET / HTTP/1.0\r\n\r\n"), Persistence::Closed);
        assert_eq!(persistence("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"), Persistence::Kept);
    }

    #[test]
    fn what_is_no_head_is_refused() {
        let long = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(REQUEST_FIELDS + 1));
        assert_eq!(of(&long).map(|_| ()), Err(BadMessage::TooManyFields));
        for bad in [
            "GET /\r\n\r\n",
            "GET / HTTP/1.2\r\n\r\n",
            "PRI * HTTP/2.0\r\n\r\n",
            "GET / HTTP/1.1 \r\n\r\n",
            "GET / HTTP/1.1\r\nX : a\r\n\r\n",
            "GET / HTTP/1.1\r\nX: a\r\n b\r\n\r\n",
            "GET / HTTP/1.1\r\nX: a\rb\r\n\r\n",
            "GET / HTTP/1.1\r\nX: a\0\r\n\r\n",
            "GET / HTTP/1.1\r\n: a\r\n\r\n",
            "GET / HTTP/1.1\r\nX\r\n\r\n",
            "\r\n\r\n",
        ] {
            assert_eq!(of(bad).map(|_| ()), Err(BadMessage::Syntax), "{bad:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = parse(&Bytes::from(bytes));
        }
    }
}
