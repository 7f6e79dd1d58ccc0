//! The host that a request names: one rule for the gate, for exchanges and for records.

use std::sync::Arc;

use crate::access::redact::redact_userinfo;
use crate::access::texts::NAME_BYTES;
use crate::gate::Refusal;
use crate::hostname::{Hostname, split_port};
use crate::message::RequestHead;

/// The host that a request is for, whatever its port: a load balancer may publish other ports than ours.
/// `usual` is the host that most requests on the connection name; naming it again allocates nothing.
pub fn requested_host(head: &RequestHead, usual: Option<&Hostname>) -> Result<Hostname, Refusal> {
    let authority =
        head.authority().filter(|authority| !authority.is_empty()).ok_or(Refusal::NoServerName)?;
    let is_usual = |host: &[u8]| usual.filter(|usual| usual.as_str().as_bytes() == host);
    if let Some(usual) = is_usual(authority) {
        return Ok(usual.clone());
    }
    let authority = std::str::from_utf8(authority).map_err(|_| Refusal::BadServerName)?;
    let (host, _) = split_port(authority)?;
    match is_usual(host.as_bytes()) {
        Some(usual) => Ok(usual.clone()),
        None => Ok(Hostname::parse(host)?),
    }
}

/// The authority as the client sent it, for records: without userinfo, and no longer than a record keeps.
pub fn host_as_sent(head: &RequestHead) -> Option<Arc<str>> {
    head.authority().map(recordable)
}

fn recordable(authority: &[u8]) -> Arc<str> {
    let authority = redact_userinfo(authority);
    Arc::from(String::from_utf8_lossy(&authority[..authority.len().min(NAME_BYTES)]))
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, Method, Version};

    use super::*;

    fn head(target: Option<&'static str>, host: Option<&str>) -> RequestHead {
        let mut headers = HeaderMap::new();
        if let Some(host) = host {
            headers.append("host", HeaderValue::from_bytes(host.as_bytes()).expect("a value"));
        }
        let authority = target.map(Into::into);
        RequestHead { method: Method::GET, target: "/".into(), authority, version: Version::HTTP_11, headers }
    }

    #[test]
    fn the_host_is_that_of_the_authority() {
        let usual = Hostname::parse("usual.example.cn").expect("a host");
        for usual in [None, Some(&usual)] {
            let of = |host| requested_host(&head(None, host), usual).map(|host| host.to_string());
            assert_eq!(of(Some("usual.example.cn")).as_deref(), Ok("usual.example.cn"));
            assert_eq!(of(Some("WWW.example.cn:8443")).as_deref(), Ok("www.example.cn"));
            assert_eq!(of(Some("192.0.2.1:80")), Err(Refusal::IpLiteral));
            assert_eq!(of(Some("[2001:db8::1]")), Err(Refusal::IpLiteral));
            assert_eq!(of(Some("a..b")), Err(Refusal::BadServerName));
            assert_eq!(of(Some("a_b.cn")), Err(Refusal::BadServerName));
            assert_eq!(of(Some("例子.cn")), Err(Refusal::BadServerName));
            assert_eq!(of(Some("")), Err(Refusal::NoServerName));
            assert_eq!(of(None), Err(Refusal::NoServerName));
            let absolute = requested_host(&head(Some("a.cn:8080"), Some("b.cn")), usual);
            assert_eq!(absolute.map(|host| host.to_string()).as_deref(), Ok("a.cn"));
        }
        let with_port = requested_host(&head(None, Some("usual.example.cn:8443")), Some(&usual));
        assert!(Arc::ptr_eq(&with_port.expect("a host").shared(), &usual.shared()), "nothing is allocated");
    }

    #[test]
    fn a_host_in_records_is_short_and_utf_8_and_has_no_userinfo() {
        assert_eq!(&*recordable(b"exa mple"), "exa mple");
        assert_eq!(&*recordable(b"caf\xe9"), "caf\u{fffd}");
        assert_eq!(recordable(&[b'x'; 9_000]).len(), NAME_BYTES);
        assert_eq!(&*recordable(b"me:secret@a.cn"), "***@a.cn");
    }
}
