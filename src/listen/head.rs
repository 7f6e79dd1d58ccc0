//! A request head in clear text, read whole before anything is answered.
//!
//! Reading is incremental and parsing happens once, at the end of the head, so that a head of single
//! bytes costs what a whole one does.

use http::{Method, Version};

use crate::gate::Refusal;
use crate::hostname::{Hostname, split_port};

/// The most header fields that a head may have.
const FIELDS: usize = 128;

/// What the gate and a probe need of a request head.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Head {
    /// The host that it is for, or why it is for none that could be served.
    pub host: Result<Hostname, Refusal>,
    /// The host as it was written.
    pub shown: Option<String>,
    /// The method.
    pub method: Method,
    /// The path and the query, as sent; `/` for `*` and for an absolute form without a path.
    pub target: String,
    /// HTTP/1.0 or HTTP/1.1.
    pub version: Version,
    /// The `user-agent` header.
    pub user_agent: Option<String>,
}

impl Head {
    /// The target without its query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

/// Parses a whole head; [`Refusal::BadHead`] for what is none.
pub fn parse(bytes: &[u8]) -> Result<Head, Refusal> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) | Err(_) => return Err(Refusal::BadHead),
    }
    let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
        return Err(Refusal::BadHead);
    };
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| Refusal::BadHead)?;
    let mut named = fields_named(request.headers, "host");
    let (header, second) = (named.next(), named.next());
    if second.is_some() {
        return Err(Refusal::BadHead);
    }
    let (authority, target) = match absolute(target) {
        Some((authority, target)) => (Some(authority.as_bytes()), target),
        None => (header, if target.starts_with('/') { target } else { "/" }),
    };
    let text = |name| {
        fields_named(request.headers, name).next().map(|value| String::from_utf8_lossy(value).into_owned())
    };
    Ok(Head {
        host: authority.ok_or(Refusal::NoServerName).and_then(host),
        shown: authority.map(|authority| String::from_utf8_lossy(authority).into_owned()),
        method,
        target: target.to_owned(),
        version: if version == 0 { Version::HTTP_10 } else { Version::HTTP_11 },
        user_agent: text("user-agent"),
    })
}

/// The host of an authority, whatever its port: clients come through ports that this edge does not
/// know of.
fn host(authority: &[u8]) -> Result<Hostname, Refusal> {
    let text = std::str::from_utf8(authority).map_err(|_| Refusal::BadServerName)?;
    if text.is_empty() {
        return Err(Refusal::NoServerName);
    }
    let (host, _) = split_port(text)?;
    Ok(Hostname::parse(host)?)
}

/// The authority and the rest of a target in absolute form (RFC 9112, 3.2.2).
fn absolute(target: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = target.split_once("://")?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    Some((authority, if path.starts_with('/') { path } else { "/" }))
}

fn fields_named<'h>(fields: &'h [httparse::Header<'_>], name: &'h str) -> impl Iterator<Item = &'h [u8]> {
    fields.iter().filter(move |field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(head: &str, host: Result<&str, Refusal>, target: &str) {
        let parsed = parse(head.as_bytes()).expect("a head");
        assert_eq!(parsed.host.as_ref().map(Hostname::as_str), host.as_ref().copied());
        assert_eq!(parsed.target, target);
    }

    #[test]
    fn the_host_and_the_target_are_found() {
        check("GET /a?b=c HTTP/1.1\r\nHost: WWW.example.cn:80\r\n\r\n", Ok("www.example.cn"), "/a?b=c");
        check("GET http://a.cn/x?y HTTP/1.1\r\nHost: b.cn\r\n\r\n", Ok("a.cn"), "/x?y");
        check("OPTIONS * HTTP/1.1\r\nHost: b.cn\r\n\r\n", Ok("b.cn"), "/");
        check("GET / HTTP/1.0\r\n\r\n", Err(Refusal::NoServerName), "/");
        check("GET / HTTP/1.1\r\nHost:\r\n\r\n", Err(Refusal::NoServerName), "/");
        check("GET / HTTP/1.1\r\nHost: 192.0.2.1:80\r\n\r\n", Err(Refusal::IpLiteral), "/");
        check("GET / HTTP/1.1\r\nHost: [2001:db8::1]\r\n\r\n", Err(Refusal::IpLiteral), "/");
        check("GET / HTTP/1.1\r\nHost: a_b.cn\r\n\r\n", Err(Refusal::BadServerName), "/");
    }

    #[test]
    fn what_is_no_head_is_refused() {
        let long = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(FIELDS + 1));
        let two = "GET / HTTP/1.1\r\nHost: a.cn\r\nHost: a.cn\r\n\r\n";
        for bad in [two, &long, "PRI * HTTP/2.0\r\n\r\n", "\x16\x03\x01\n\n", "GET /\r\n\r\n", "\r\n\r\n"] {
            assert_eq!(parse(bad.as_bytes()), Err(Refusal::BadHead), "{bad:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }
    }
}
