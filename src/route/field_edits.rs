//! Edits of a message's fields: some are set, some removed. Fields that icpgate depends on cannot be edited.

use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::template::{RequestValues, Template};
use crate::message::hop_by_hop::is_hop_by_hop;

/// The edits of a route.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct FieldEdits {
    /// Set in place of every field of the same name; each name once.
    pub set: Vec<(HeaderName, Template)>,
    /// Removed.
    pub remove: Vec<HeaderName>,
}

/// The edits for one message, with every value known.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ReadyEdits {
    set: Vec<(HeaderName, HeaderValue)>,
    remove: Vec<HeaderName>,
}

impl FieldEdits {
    /// The edits for a message of this request.
    pub fn ready(&self, values: &RequestValues<'_>) -> ReadyEdits {
        let value = |template: &Template| HeaderValue::from_str(&template.expand(values));
        // Templates expand to visible ASCII and blanks, all of which a value may hold.
        let set = self.set.iter().filter_map(|(name, template)| Some((name.clone(), value(template).ok()?)));
        ReadyEdits { set: set.collect(), remove: self.remove.clone() }
    }
}

impl ReadyEdits {
    /// Edits these fields.
    pub fn apply(self, fields: &mut HeaderMap) {
        for name in &self.remove {
            fields.remove(name);
        }
        fields.reserve(self.set.len());
        for (name, value) in self.set {
            fields.insert(name, value);
        }
    }

    /// The fields that are set.
    pub fn set(&self) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
        self.set.iter().map(|(name, value)| (name, value))
    }

    /// Whether a field of this name is replaced or removed. A server that maps `_` to `-`, as CGI does, would take
    /// `x_user` for `x-user`.
    pub fn replaces(&self, name: &HeaderName) -> bool {
        let names = || self.set.iter().map(|(name, _)| name).chain(&self.remove);
        if name.as_str().contains('_') {
            let taken_for = name.as_str().replace('_', "-");
            return names().any(|edited| edited == name || *edited == *taken_for);
        }
        names().any(|edited| edited == name)
    }
}

/// The message whose fields are edited.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Heading {
    /// The request, to a server.
    Upstream,
    /// The answer, to a client.
    Downstream,
}

/// Why a route cannot edit a field; `None` if it can.
pub fn why_fixed(name: &HeaderName, heading: Heading) -> Option<&'static str> {
    match (name.as_str(), heading) {
        _ if is_hop_by_hop(name) => Some("it concerns one connection alone, and icpgate writes it"),
        ("content-length", _) => Some("it frames the body"),
        ("content-encoding" | "content-range", _) => Some("it says how the body is encoded"),
        ("x-request-id", _) => Some("it ties requests to records"),
        (name, _) if name.starts_with("sec-websocket-") => Some("it belongs to the WebSocket handshake"),
        ("host", Heading::Upstream) => Some("`host` of the origin says what is sent"),
        ("x-forwarded-for" | "x-forwarded-proto" | "x-forwarded-host", Heading::Upstream) => {
            Some("icpgate says there who the client is")
        }
        ("cdn-loop", Heading::Upstream) => Some("it stops loops between proxies"),
        ("expect", Heading::Upstream) => Some("icpgate answers it"),
        ("accept-encoding", Heading::Upstream) => Some("icpgate negotiates encodings with origins"),
        ("content-type", Heading::Downstream) => {
            Some("footer and compression depend on it; let the origin set it")
        }
        ("vary", Heading::Downstream) => Some("it says what answers depend on; let the origin set it"),
        ("age" | "cache-status", Heading::Downstream) => Some("it belongs to the cache"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http::header;

    use super::*;

    fn name(name: &'static str) -> HeaderName {
        HeaderName::from_static(name)
    }

    fn edits(set: &[(&'static str, &str)], remove: &[&'static str]) -> ReadyEdits {
        let template = |text: &str| Template::parse(text).expect("a template");
        let edits = FieldEdits {
            set: set.iter().map(|(one, text)| (name(one), template(text))).collect(),
            remove: remove.iter().map(|one| name(one)).collect(),
        };
        edits.ready(&RequestValues {
            client_ip: [192, 0, 2, 1].into(),
            host: "www.example.cn",
            target: b"/a?b",
            request_id: "r",
            scheme: "https",
        })
    }

    #[test]
    fn what_is_set_replaces_every_field_of_its_name() {
        let mut fields = HeaderMap::new();
        for (one, value) in [("x-user", "a"), ("x-user", "b"), ("server", "x"), ("etag", "e")] {
            fields.append(name(one), HeaderValue::from_static(value));
        }
        edits(&[("x-user", "{client_ip}"), ("x-new", "{path}")], &["server", "absent"]).apply(&mut fields);
        let mut all: Vec<_> = fields.iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        all.sort_unstable();
        assert_eq!(all, [("etag", &b"e"[..]), ("x-new", b"/a"), ("x-user", b"192.0.2.1")]);
    }

    #[test]
    fn a_name_that_servers_take_for_an_edited_one_is_replaced_too() {
        let edits = edits(&[("x-real-ip", "{client_ip}")], &["x-debug"]);
        for replaced in ["x-real-ip", "x_real_ip", "x-real_ip", "x-debug", "x_debug"] {
            assert!(edits.replaces(&name(replaced)), "{replaced}");
        }
        assert!(!edits.replaces(&name("x-real")) && !edits.replaces(&header::ACCEPT));
    }

    #[test]
    fn fields_that_icpgate_depends_on_are_fixed() {
        for heading in [Heading::Upstream, Heading::Downstream] {
            for fixed in
                ["content-length", "transfer-encoding", "connection", "x-request-id", "upgrade", "te"]
            {
                assert!(why_fixed(&name(fixed), heading).is_some(), "{fixed}");
            }
            for free in ["x-real-ip", "authorization", "cookie", "cache-control", "strict-transport-security"]
            {
                assert_eq!(why_fixed(&name(free), heading), None, "{free}");
            }
        }
        assert!(why_fixed(&header::HOST, Heading::Upstream).is_some());
        assert!(why_fixed(&header::CONTENT_TYPE, Heading::Downstream).is_some());
        assert_eq!(why_fixed(&header::SERVER, Heading::Downstream), None);
    }
}
