//! The path sent upstream in place of the client's, and the way back for paths in answers.
//!
//! A path never leaves the prefix that it is put under: one that climbs out of it by dot segments is sent in the
//! one spelling instead.

use std::fmt::Write as _;

use super::normal::{climbs, decoded_throughout, normal};

/// A prefix is removed from a path, then another one is put before it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct PathRewrite {
    /// In the one spelling, without a slash at the end; empty for none.
    strip: String,
    /// The same.
    prepend: String,
}

impl PathRewrite {
    /// Removes `strip`, then puts `prepend` before the rest. A slash at their end means nothing.
    pub fn new(strip: &str, prepend: &str) -> Self {
        let prefix = |text: &str| normal(text).trim_end_matches('/').to_owned();
        Self { strip: prefix(strip), prepend: prepend.trim_end_matches('/').to_owned() }
    }

    /// The target for a server. A target that is no path stays as it is.
    pub fn target(&self, sent: &[u8]) -> Vec<u8> {
        if !sent.starts_with(b"/") {
            return sent.to_vec();
        }
        let (path, query) = sent.split_at(memchr::memchr(b'?', sent).unwrap_or(sent.len()));
        let mut target = self.prepend.clone().into_bytes();
        match after_prefix(path, self.strip.as_bytes()).filter(|rest| !climbs(rest)) {
            // Two slashes at the beginning would look like a host.
            Some(rest) if self.prepend.is_empty() && rest.starts_with(b"//") => {
                let slashes = rest.iter().take_while(|byte| **byte == b'/').count();
                target.extend_from_slice(&rest[slashes - 1..]);
            }
            Some(rest) => target.extend_from_slice(rest),
            None => {
                let path = String::from_utf8_lossy(path);
                let path = decoded_throughout(&path);
                let rest = after_prefix(path.as_bytes(), self.strip.as_bytes());
                target.extend_from_slice(encode(rest.unwrap_or(path.as_bytes())).as_bytes());
            }
        }
        if target.is_empty() {
            target.push(b'/');
        }
        target.extend_from_slice(query);
        target
    }

    /// The path for clients of a path that a server names; `None` if no client's path leads there.
    fn path_back(&self, path: &str) -> Option<String> {
        let rest = after_prefix(path.as_bytes(), self.prepend.as_bytes())?;
        let rest = path.get(path.len() - rest.len()..)?;
        let path = format!("{}{rest}", self.strip);
        Some(if path.is_empty() { "/".to_owned() } else { path })
    }

    /// A `location` with the path for clients, if it names a path of `host`; `None` if it stays as it is.
    pub fn location_back(&self, location: &str, host: &str) -> Option<String> {
        let begin = match location.find("//") {
            Some(0) => 2,
            Some(at) if is_http(&location[..at]) => at + 2,
            _ => 0,
        };
        let (before, rest) = location.split_at(begin);
        let (authority, rest) = if begin == 0 {
            ("", rest)
        } else {
            let (authority, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
            let name = authority.split(':').next().unwrap_or_default();
            if !name.eq_ignore_ascii_case(host) {
                return None;
            }
            (authority, rest)
        };
        let (path, rest) = rest.split_at(rest.find(['?', '#']).unwrap_or(rest.len()));
        let path = match path {
            "" if begin > 0 => "/",
            path => path,
        };
        Some(format!("{before}{authority}{}{rest}", self.path_back(path)?))
    }

    /// A `set-cookie` with its `Path` for clients; `None` if it stays as it is.
    pub fn cookie_back(&self, cookie: &str) -> Option<String> {
        let mut is_changed = false;
        let mut parts = cookie.split(';');
        let mut changed = parts.next()?.to_owned();
        for part in parts {
            changed.push(';');
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let back = name.trim().eq_ignore_ascii_case("path").then(|| self.cookie_path_back(value.trim()));
            match back.flatten() {
                Some(path) => {
                    is_changed = true;
                    // Writing to a `String` cannot fail.
                    let _ = write!(changed, "{name}={path}");
                }
                None => changed.push_str(part),
            }
        }
        is_changed.then_some(changed)
    }

    /// A cookie for a whole prefix also goes to the prefix itself, which a slash at the end would exclude
    /// (RFC 6265, 5.1.4).
    fn cookie_path_back(&self, path: &str) -> Option<String> {
        let path = self.path_back(path)?;
        match path.strip_suffix('/') {
            Some(prefix) if prefix == self.strip && !prefix.is_empty() => Some(prefix.to_owned()),
            _ => Some(path),
        }
    }
}

/// What follows a prefix that ends with a segment.
fn after_prefix<'p>(path: &'p [u8], prefix: &[u8]) -> Option<&'p [u8]> {
    let rest = path.strip_prefix(prefix)?;
    let is_path = path.starts_with(b"/");
    (is_path && (rest.is_empty() || rest.starts_with(b"/"))).then_some(rest)
}

fn is_http(scheme: &str) -> bool {
    scheme.eq_ignore_ascii_case("http:") || scheme.eq_ignore_ascii_case("https:")
}

/// A decoded path as it is sent (RFC 3986, 3.3).
fn encode(path: &[u8]) -> String {
    let mut encoded = String::with_capacity(path.len());
    for byte in path {
        match byte.is_ascii_alphanumeric() || b"/-._~!$&'()*+,;=:@".contains(byte) {
            true => encoded.push(char::from(*byte)),
            // Writing to a `String` cannot fail.
            false => _ = write!(encoded, "%{byte:02X}"),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(strip: &str, prepend: &str, sent: &str, expected: &str) {
        let target = PathRewrite::new(strip, prepend).target(sent.as_bytes());
        assert_eq!(String::from_utf8_lossy(&target), expected, "{strip} {prepend} {sent}");
    }

    #[test]
    fn a_prefix_is_replaced_on_segment_bounds() {
        for (sent, expected) in [
            ("/api/x", "/v2/x"),
            ("/api", "/v2"),
            ("/api/", "/v2/"),
            ("/api?q=/api", "/v2?q=/api"),
            ("/api/a%2Fb/例?x", "/v2/a%2Fb/例?x"),
            ("/apis", "/v2/apis"),
            ("*", "*"),
        ] {
            check("/api", "/v2", sent, expected);
            check("/api/", "/v2/", sent, expected);
        }
        for (sent, expected) in
            [("/api", "/"), ("/api?q", "/?q"), ("/api/", "/"), ("/api/x", "/x"), ("/api//host/x", "/host/x")]
        {
            check("/api", "", sent, expected);
            check("/api", "/", sent, expected);
        }
        check("", "/v2", "/x", "/v2/x");
        check("", "/v2", "/", "/v2/");
    }

    #[test]
    fn no_spelling_leaves_the_prefix() {
        for (sent, expected) in [
            ("/%61pi/x", "/v2/x"),
            ("//api//x?q", "/v2/x?q"),
            ("/y/../api/x", "/v2/x"),
            ("/api/../api/x", "/v2/x"),
            ("/api/%2e%2e/api/x", "/v2/x"),
            ("/api/x/../../api/a%20b%3Fc%0D%0A", "/v2/a%20b%3Fc%0D%0A"),
            ("/api/x/../y", "/v2/x/../y"),
            ("/api%2Fx", "/v2/x"),
        ] {
            check("/api", "/v2", sent, expected);
        }
        check("", "/v2", "/../x", "/v2/x");
    }

    #[test]
    fn paths_in_answers_lead_back() {
        let location = |strip, prepend, location| {
            PathRewrite::new(strip, prepend).location_back(location, "www.example.cn")
        };
        for (from, expected) in [
            ("/v2/x?q#f", Some("/api/x?q#f")),
            ("/v2", Some("/api")),
            ("/v2?q", Some("/api?q")),
            ("http://www.example.cn/v2/x", Some("http://www.example.cn/api/x")),
            ("HTTPS://WWW.example.cn:8443/v2/x", Some("HTTPS://WWW.example.cn:8443/api/x")),
            ("//www.example.cn/v2/x", Some("//www.example.cn/api/x")),
            ("/v2?to=//www.example.cn/v2", Some("/api?to=//www.example.cn/v2")),
            ("https://other.example.cn/v2/x", None),
            ("https://www.example.cn.evil.cn/v2/x", None),
            ("ftp://www.example.cn/v2/x", None),
            ("/v20", None),
            ("/login", None),
            ("x", None),
            ("?q", None),
            ("", None),
        ] {
            assert_eq!(location("/api", "/v2", from).as_deref(), expected, "{from}");
        }
        assert_eq!(location("/api", "", "/x").as_deref(), Some("/api/x"));
        assert_eq!(location("/api", "", "/").as_deref(), Some("/api/"));
        assert_eq!(
            location("/api", "", "http://www.example.cn?q").as_deref(),
            Some("http://www.example.cn/api/?q")
        );
        assert_eq!(location("", "/v2", "/v2").as_deref(), Some("/"));
    }

    #[test]
    fn cookies_lead_back() {
        let cookie = |prepend, cookie| PathRewrite::new("/api", prepend).cookie_back(cookie);
        for (prepend, from, expected) in [
            ("/v2", "a=b; Path=/v2/x; HttpOnly", Some("a=b; Path=/api/x; HttpOnly")),
            ("/v2", "a=b;path=/v2", Some("a=b;path=/api")),
            ("/v2", "a=b; Path=/v2/", Some("a=b; Path=/api")),
            ("/v2", "a=b; Path=/", None),
            ("/v2", "path=/v2", None),
            ("/v2", "a=b; Path", None),
            ("", "a=b; Path=/", Some("a=b; Path=/api")),
            ("", "a=b; Path=/x; Secure", Some("a=b; Path=/api/x; Secure")),
            ("", "a=b", None),
        ] {
            assert_eq!(cookie(prepend, from).as_deref(), expected, "{prepend} {from}");
        }
    }

    proptest! {
        /// Whatever spelling leads below `/api`: what is sent upstream is below `/v2`.
        #[test]
        fn every_path_stays_below(segments in prop::collection::vec(
            prop::sample::select(vec!["api", "%61pi", "..", "%2e%2E", ".", "", "x", "a%2Fb", "%2F..", "..%2f", "%0a", "%"]), 0..8)
        ) {
            let sent = format!("/{}", segments.join("/"));
            let is_below = |path: &str, prefix: &str| {
                normal(path).strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            let target = PathRewrite::new("/api", "/v2").target(sent.as_bytes());
            let target = String::from_utf8(target).expect("UTF-8");
            prop_assert!(is_below(&target, "/v2"), "{sent} {target}");
        }
    }
}
