//! `redirect` and `respond` of a route, and redirects that lead back to themselves.

use bytes::Bytes;
use http::StatusCode;

use super::context::Context;
use super::edits::template;
use super::values::or;
use crate::config::findings::quote;
use crate::config::reader::Value;
use crate::config::{Protocol, schema};
use crate::gate::ListenerId;
use crate::hostname::{HostPattern, Hostname};
use crate::route::{
    Action, FixedAnswer, Matcher, PathMatch, Piece, Placeholder, Redirect, Route, Template, normal,
};

/// The body of a fixed answer, in bytes: a text for people, not a file.
const MAX_BODY: usize = 64 * 1024;

/// `{to, status}`.
pub(super) fn redirect(value: &Value<'_>) -> Option<Redirect> {
    const EXAMPLE: &str = "\"https://www.example.cn{path}{query}\"";
    let fields = value.fields(schema::REDIRECT)?;
    let to = fields.required("to").and_then(|to| {
        let template = template(to, "a URL", EXAMPLE)?;
        if Target::of(&template).is_none() || to.plain_text().is_some_and(|text| text.contains(' ')) {
            let shown = to.plain_text().map(quote).unwrap_or_default();
            to.fatal(
                format_args!("{shown} is neither an absolute URL nor a path"),
                format!("begin with http://, https://, {{scheme}}:// or /: such as {EXAMPLE}"),
            );
        }
        Some(template)
    });
    let status = or(fields.get("status"), StatusCode::PERMANENT_REDIRECT, |value| {
        let status = value.count(100, 599)?;
        let known = [301, 302, 303, 307, 308].contains(&status);
        if !known {
            value.fatal(format_args!("{status} is no redirect"), "301, 302, 303, 307 or 308".to_owned());
        }
        StatusCode::from_u16(status.try_into().ok()?).ok()
    });
    Some(Redirect { to: to?, status: status? })
}

/// `{status, body}`.
pub(super) fn respond(value: &Value<'_>) -> Option<FixedAnswer> {
    let fields = value.fields(schema::RESPOND)?;
    let status = or(fields.get("status"), StatusCode::OK, |value| {
        StatusCode::from_u16(value.count(200, 599)?.try_into().ok()?).ok()
    });
    let body = or(fields.get("body"), Bytes::new(), |value| {
        // An empty text is no body, and says so.
        let text = if value.plain_text() == Some("") { "" } else { value.text()? };
        if text.len() > MAX_BODY {
            value.fatal(format_args!("it has {} bytes, more than {MAX_BODY}", text.len()), None);
        }
        Some(Bytes::copy_from_slice(text.as_bytes()))
    });
    if let Some(status @ (StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED)) =
        status
        && body.as_ref().is_some_and(|body| !body.is_empty())
    {
        fields.useless("body", &format!("an answer with {} has none", status.as_u16()));
    }
    Some(FixedAnswer { status: status?, body: body? })
}

/// What a site is reached by, as far as it is known.
#[derive(Clone, Copy)]
pub(super) struct SiteShape<'s> {
    pub(super) hosts: Option<&'s [HostPattern]>,
    pub(super) listeners: Option<&'s [ListenerId]>,
}

/// Reports redirects whose target is answered by the same route again.
pub(super) fn refuse_loops(
    items: &[Value<'_>],
    routes: &[Route],
    site: SiteShape<'_>,
    context: &Context<'_>,
) {
    for (index, (item, route)) in items.iter().zip(routes).enumerate() {
        let Action::Redirect(redirect) = &route.action else { continue };
        let Some(target) = Target::of(&redirect.to) else { continue };
        let path = target.path(&route.matcher);
        let before = routes.iter().take(index);
        if target.is_on(site, context)
            && route.matcher.path.matches(&normal(&path))
            && !before.clone().any(|earlier| earlier.matcher.path.matches(&normal(&path)))
        {
            item.fatal(
                "the redirect leads to itself: the same route answers its target",
                "put the host that it leads to on a site of its own, or match other paths".to_owned(),
            );
        }
    }
}

/// Where a redirect leads, as far as its template shows.
struct Target<'t> {
    scheme: TargetScheme,
    host: TargetHost<'t>,
    /// The path: text, and whether the request's own path follows it.
    text: &'t str,
    repeats_path: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum TargetScheme {
    /// That of the request.
    Same,
    Https,
    Http,
}

enum TargetHost<'t> {
    /// That of the request.
    Same,
    Named(&'t str),
    /// Made of several parts, or with a port.
    Other,
}

impl<'t> Target<'t> {
    /// `None` for a template that yields neither an absolute URL nor a path.
    fn of(template: &'t Template) -> Option<Self> {
        let (first, rest) = template.pieces().split_first()?;
        let text = |piece: Option<&'t Piece>| match piece {
            Some(Piece::Text(text)) => text.as_str(),
            _ => "",
        };
        let (scheme, after, rest) = match first {
            Piece::Placeholder(Placeholder::Path) => return Some(Self::on_same_host("", true)),
            Piece::Text(path) if path.starts_with('/') => {
                return (!path.starts_with("//")).then(|| Self::on_same_host(path, begins_with_path(rest)));
            }
            Piece::Placeholder(Placeholder::Scheme) => {
                (TargetScheme::Same, text(rest.first()).strip_prefix("://")?, rest.get(1..)?)
            }
            Piece::Text(url) => match url.strip_prefix("https://") {
                Some(after) => (TargetScheme::Https, after, rest),
                None => (TargetScheme::Http, url.strip_prefix("http://")?, rest),
            },
            Piece::Placeholder(_) => return None,
        };
        let (host, text, rest) = match (after, rest.first()) {
            ("", Some(Piece::Placeholder(Placeholder::Host))) => {
                let after = text(rest.get(1));
                let taken = if after.is_empty() { 1 } else { 2 };
                let host = if after.is_empty() || after.starts_with('/') {
                    TargetHost::Same
                } else {
                    TargetHost::Other
                };
                (host, after, rest.get(taken..)?)
            }
            ("", _) => return None,
            (after, _) => {
                let (name, path) = after.split_at(after.find(['/', '?', '#']).unwrap_or(after.len()));
                let is_whole = !path.is_empty() || rest.is_empty() || begins_with_path(rest);
                (if is_whole { TargetHost::Named(name) } else { TargetHost::Other }, path, rest)
            }
        };
        Some(Self { scheme, host, text, repeats_path: begins_with_path(rest) })
    }

    fn on_same_host(text: &'t str, repeats_path: bool) -> Self {
        Self { scheme: TargetScheme::Same, host: TargetHost::Same, text, repeats_path }
    }

    /// Whether the target is on the site, by its host and by the scheme of a listener.
    fn is_on(&self, site: SiteShape<'_>, context: &Context<'_>) -> bool {
        let is_on_host = match self.host {
            TargetHost::Same => true,
            TargetHost::Named(name) => Hostname::parse(name).is_ok_and(|name| {
                site.hosts.is_some_and(|hosts| hosts.iter().any(|host| host.matches(&name)))
            }),
            TargetHost::Other => false,
        };
        let speaks = |wanted: TargetScheme| {
            let listeners = site.listeners.unwrap_or_default().iter();
            let mut known = listeners.filter_map(|id| context.listeners.get(id.0)?.as_ref());
            known.any(|listener| {
                matches!(listener.protocol, Protocol::Https { .. }) == (wanted == TargetScheme::Https)
            })
        };
        is_on_host && (self.scheme == TargetScheme::Same || speaks(self.scheme))
    }

    /// The target's path for a request that the route is for.
    fn path(&self, matcher: &Matcher) -> String {
        // A segment that no route names.
        const ANY: &str = "/icpgate-any-path";
        let sent = match &matcher.path {
            PathMatch::Any => ANY.to_owned(),
            PathMatch::Prefix(prefix) => format!("{prefix}{ANY}"),
            PathMatch::Exact(path) => path.clone(),
        };
        let text = self.text.split(['?', '#']).next().unwrap_or_default();
        let repeated = if self.repeats_path && text.len() == self.text.len() { sent.as_str() } else { "" };
        match format!("{text}{repeated}") {
            path if path.is_empty() => "/".to_owned(),
            path => path,
        }
    }
}

fn begins_with_path(pieces: &[Piece]) -> bool {
    matches!(pieces.first(), Some(Piece::Placeholder(Placeholder::Path)))
}
