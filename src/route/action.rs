//! What a route does with its requests.

use bytes::Bytes;
use http::StatusCode;

use super::field_edits::FieldEdits;
use super::path_rewrite::PathRewrite;
use super::template::{RequestValues, Template};
use crate::origin::{OriginId, Region};

/// What is done with a request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Action {
    /// It is sent to an origin.
    Forward(Forward),
    /// The client is sent to another URL.
    Redirect(Redirect),
    /// It is answered here.
    Respond(FixedAnswer),
}

/// Where requests are sent, and how they are changed on the way.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Forward {
    /// In the order of preference; never empty.
    pub origins: Vec<OriginId>,
    /// Where requests may go.
    pub residency: Residency,
    /// How the path changes.
    pub path: Option<PathRewrite>,
    /// Edits of the request's fields.
    pub request_fields: Option<FieldEdits>,
    /// Whether its answers are cached.
    pub cache: CacheUse,
    /// A digest of everything above but `cache`, with the names of the origins: routes that would get other answers for one
    /// URL have other digests. The same over restarts.
    pub digest: u64,
}

/// Whether the answers of a route are cached.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum CacheUse {
    /// The site has no cache.
    #[default]
    Absent,
    /// The site has one, the route does not use it.
    Bypassed,
    /// Its answers are cached.
    Used,
}

/// A redirect.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Redirect {
    /// An absolute URL or a path: the `location`.
    pub to: Template,
    /// 301, 302, 303, 307 or 308.
    pub status: StatusCode,
}

impl Redirect {
    /// The `location`. A path never begins with two slashes, which would name another host.
    pub fn location(&self, values: &RequestValues<'_>) -> String {
        let location = self.to.expand(values);
        match location.strip_prefix('/') {
            Some(rest) => format!("/{}", rest.trim_start_matches(['/', '\\'])),
            None => location,
        }
    }
}

/// An answer without an origin.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FixedAnswer {
    /// 200 to 599.
    pub status: StatusCode,
    /// Plain text in UTF-8; empty for a status that has no body.
    pub body: Bytes,
}

/// Where the requests of a route may go, whatever is up or down.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Residency {
    /// To both sides of the border.
    #[default]
    Any,
    /// To this side alone.
    Within(Region),
}

impl Residency {
    /// Whether a server of `region` may be asked.
    pub fn allows(self, region: Region) -> bool {
        match self {
            Self::Any => true,
            Self::Within(only) => only == region,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_to_no_other_host() {
        let location = |to: &str, target: &str| {
            let to = Template::parse(to).expect("a template");
            Redirect { to, status: StatusCode::FOUND }.location(&RequestValues {
                client_ip: [192, 0, 2, 1].into(),
                host: "www.example.cn",
                target: target.as_bytes(),
                request_id: "r",
                scheme: "https",
            })
        };
        for to in ["{path}{query}", "/{path}{query}"] {
            for target in ["//evil.cn/x?y", "/\\evil.cn/x?y", "///evil.cn/x?y", "/evil.cn/x?y"] {
                assert_eq!(location(to, target), "/evil.cn/x?y", "{to} {target}");
            }
        }
        assert_eq!(location("https://{host}{path}", "//evil.cn"), "https://www.example.cn//evil.cn");
    }
}
