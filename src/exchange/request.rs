//! What a client's request asks for: the host, and to be told to send its body.

use http::header;

use crate::gate::Refusal;
use crate::hostname::{Hostname, split_port};
use crate::message::RequestHead;
use crate::upstream::request::authority;

/// The host that a request is for. `usual` is the one of most requests on its connection.
pub(super) fn host(head: &RequestHead, usual: &Hostname) -> Result<Hostname, Refusal> {
    let authority = authority(head).filter(|authority| !authority.is_empty()).ok_or(Refusal::NoServerName)?;
    if authority == usual.as_str() {
        return Ok(usual.clone());
    }
    let (host, _) = split_port(authority)?;
    if host == usual.as_str() {
        return Ok(usual.clone());
    }
    Ok(Hostname::parse(host)?)
}

/// Whether the client waits to be told to send its body.
pub(super) fn expects_continue(head: &RequestHead) -> bool {
    let expect = head.headers.get(header::EXPECT);
    expect.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::{HeaderMap, HeaderValue, Method, Version};

    use super::*;

    fn head(fields: &[(&'static str, &str)]) -> RequestHead {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_str(value).expect("a value"));
        }
        RequestHead {
            method: Method::GET,
            target: "/".into(),
            authority: None,
            version: Version::HTTP_11,
            headers,
        }
    }

    #[test]
    fn the_host_is_that_of_the_authority() {
        let usual = Hostname::parse("usual.example.cn").expect("a host");
        let of = |value| host(&head(&[("host", value)]), &usual).map(|host| host.to_string());
        assert_eq!(of("usual.example.cn").as_deref(), Ok("usual.example.cn"));
        let with_port = host(&head(&[("host", "usual.example.cn:8443")]), &usual).expect("a host");
        assert!(Arc::ptr_eq(&with_port.shared(), &usual.shared()), "the usual one costs no memory");
        assert_eq!(of("WWW.example.cn:8443").as_deref(), Ok("www.example.cn"));
        assert_eq!(of("192.0.2.1"), Err(Refusal::IpLiteral));
        assert_eq!(of("a..b"), Err(Refusal::BadServerName));
        assert_eq!(host(&head(&[]), &usual).map(|host| host.to_string()), Err(Refusal::NoServerName));
    }
}
