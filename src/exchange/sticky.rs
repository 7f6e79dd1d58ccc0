//! The value of a request that chooses its server, where an origin's `balance` asks for one.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv6Addr};

use http::{HeaderMap, header};

use crate::origin::{Balance, HashKey};

/// Where such values come from.
#[derive(Clone, Copy)]
pub(super) struct StickySource<'r> {
    pub(super) headers: &'r HeaderMap,
    /// The client's address, as records show it.
    pub(super) client: IpAddr,
}

impl<'r> StickySource<'r> {
    /// The value; `None` for a request without it, and for an origin that needs none.
    pub(super) fn key(&self, balance: &Balance) -> Option<Cow<'r, [u8]>> {
        let value = match balance {
            Balance::LeastLoaded => return None,
            Balance::Hash(HashKey::Client) => network(self.client).to_string().into_bytes().into(),
            Balance::Hash(HashKey::Cookie(name)) => Cow::Borrowed(cookie(self.headers, name.as_bytes())?),
            Balance::Hash(HashKey::Header(name)) => Cow::Borrowed(self.headers.get(name)?.as_bytes()),
        };
        (!value.is_empty()).then_some(value)
    }
}

/// An IPv6 client has a /64, in which its address changes.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(address) => IpAddr::V4(address),
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
    }
}

/// The value of a cookie.
fn cookie<'h>(headers: &'h HeaderMap, name: &[u8]) -> Option<&'h [u8]> {
    let pairs =
        headers.get_all(header::COOKIE).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
    pairs.map(<[u8]>::trim_ascii).find_map(|pair| pair.strip_prefix(name)?.strip_prefix(b"="))
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn the_value_is_that_of_the_client_the_cookie_or_the_field() {
        let mut headers = HeaderMap::new();
        for (name, value) in
            [("cookie", "a=1; sid=x=y"), ("cookie", "last=; b=2"), ("x-user", "u"), ("x-empty", "")]
        {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let key = |client: &str, key: HashKey| {
            let source = StickySource { headers: &headers, client: client.parse().expect("an address") };
            source.key(&Balance::Hash(key)).map(|key| String::from_utf8_lossy(&key).into_owned())
        };
        let of = |one| key("192.0.2.1", one);
        assert_eq!(of(HashKey::Client).as_deref(), Some("192.0.2.1"));
        assert_eq!(key("::ffff:192.0.2.1", HashKey::Client).as_deref(), Some("192.0.2.1"));
        assert_eq!(key("2001:db8:1:2:3:4:5:6", HashKey::Client).as_deref(), Some("2001:db8:1:2::"));
        for (name, expected) in
            [("sid", Some("x=y")), ("b", Some("2")), ("last", None), ("id", None), ("SID", None)]
        {
            assert_eq!(of(HashKey::Cookie(name.to_owned())).as_deref(), expected, "{name}");
        }
        for (name, expected) in [("x-user", Some("u")), ("x-empty", None), ("x-other", None)] {
            assert_eq!(of(HashKey::Header(HeaderName::from_static(name))).as_deref(), expected, "{name}");
        }
    }
}
