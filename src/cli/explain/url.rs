//! A URL to explain, taken apart.

use crate::config::{Listener, Protocol};

/// An absolute URL of http or https.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Url<'u> {
    pub(super) is_tls: bool,
    pub(super) host: &'u str,
    /// As written; `None` for the scheme's own.
    pub(super) port: Option<u16>,
    /// Path and query as a client sends them; an empty path is `/`.
    target: &'u str,
}

impl<'u> Url<'u> {
    /// Parses a URL; `None` for a text without a scheme, which is a host. The error says what is wrong.
    pub(super) fn parse(text: &'u str) -> Option<anyhow::Result<Self>> {
        let (scheme, rest) = text.split_once("://")?;
        Some(Self::after_scheme(scheme, rest))
    }

    fn after_scheme(scheme: &str, rest: &'u str) -> anyhow::Result<Self> {
        let is_tls = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => anyhow::bail!("{scheme}:// is not served; write https:// or http://"),
        };
        // Clients keep the fragment to themselves.
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        anyhow::ensure!(!authority.contains('@'), "{authority}: leave out the user and the password");
        let is_sendable = target.bytes().all(|byte| byte.is_ascii_graphic());
        anyhow::ensure!(is_sendable, "{target}: write it as clients send it: blanks and non-ASCII as %E6");
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => {
                let number = port.parse().map_err(|_| anyhow::anyhow!("{port:?} is no port"))?;
                (host, Some(number))
            }
            _ => (authority, None),
        };
        Ok(Self { is_tls, host, port, target })
    }

    pub(super) fn target(&self) -> String {
        if self.target.starts_with('/') { self.target.to_owned() } else { format!("/{}", self.target) }
    }

    /// Whether a request for the URL can come in on `listener`. A load balancer may translate the scheme's own port, but
    /// a port that is written out is the listener's.
    pub(super) fn may_reach(&self, listener: &Listener) -> bool {
        let has_port = |port| listener.addresses.iter().any(|address| address.port() == port);
        matches!(listener.protocol, Protocol::Https { .. }) == self.is_tls && self.port.is_none_or(has_port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_as_clients_do() {
        let parsed = |text| {
            Url::parse(text).expect("a scheme").map(|url| (url.is_tls, url.host, url.port, url.target()))
        };
        let expected = |tls, host, port, target: &str| (tls, host, port, target.to_owned());
        assert_eq!(
            parsed("https://www.example.cn").expect("a URL"),
            expected(true, "www.example.cn", None, "/")
        );
        let odd = parsed("HTTP://例子.cn:8080?a=b#top").expect("a URL");
        assert_eq!(odd, expected(false, "例子.cn", Some(8080), "/?a=b"));
        assert_eq!(
            parsed("https://[2001:db8::1]/x").expect("a URL"),
            expected(true, "[2001:db8::1]", None, "/x")
        );
        assert_eq!(Url::parse("www.example.cn:443").map(drop), None);
        for (text, said) in [
            ("ftp://www.example.cn/", "ftp://"),
            ("https://a@www.example.cn/", "password"),
            ("https://www.example.cn:x/", "no port"),
            ("https://www.example.cn/例", "as clients send it"),
        ] {
            let error = parsed(text).expect_err(text).to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
