//! What a client will do with the answer: show it as a page, show it in a frame, or use it as data.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use super::fields::{accepts, has_value, tokens, without_parameters};

const SEC_FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
const X_REQUESTED_WITH: HeaderName = HeaderName::from_static("x-requested-with");

/// What a request is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Destination {
    /// A page of its own, or a frame of a frameset, which has no body to carry a footer.
    Page,
    /// An `iframe` within a page.
    Frame,
    /// A script, an image, an `object`, or data for a script.
    Subresource,
}

impl Destination {
    /// By the fields of the request.
    ///
    /// Browsers send `sec-fetch-dest` over TLS (Fetch Metadata). `empty` is a script's request, but also a page
    /// that a service worker or a prefetch fetches; those name `text/html`, which `fetch` and
    /// `XMLHttpRequest` do only when told to. Without the field `accept` decides; `*/*` alone or none is what
    /// curl, wget and crawlers send for a page.
    pub(super) fn of(asked: &HeaderMap) -> Self {
        match asked.get(SEC_FETCH_DEST).map(HeaderValue::as_bytes) {
            Some(b"document" | b"frame") => Self::Page,
            Some(b"iframe") => Self::Frame,
            _ if has_value(asked, X_REQUESTED_WITH, b"XMLHttpRequest") => Self::Subresource,
            None if names_html(asked) || names_nothing(asked) => Self::Page,
            Some(b"empty") if names_html(asked) => Self::Page,
            _ => Self::Subresource,
        }
    }
}

fn names_html(asked: &HeaderMap) -> bool {
    ["text/html", "text/*"].into_iter().any(|range| accepts(asked, range))
}

fn names_nothing(asked: &HeaderMap) -> bool {
    tokens(asked, header::ACCEPT).all(|range| without_parameters(range) == "*/*")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As Chromium 156 sends them, curl, jQuery and Internet Explorer.
    #[test]
    fn requests_tell_what_they_are_for() {
        use Destination::{Frame, Page, Subresource};
        const HTML: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8";
        const IMAGE: &str = "image/avif,image/webp,image/*,*/*;q=0.8";
        const JQUERY: &str = "text/html, */*; q=0.01";
        for (fields, expected) in [
            (&[("sec-fetch-dest", "document"), ("accept", HTML)][..], Page),
            (&[("sec-fetch-dest", "document"), ("accept", "*/*")], Page),
            (&[("sec-fetch-dest", "frame"), ("accept", HTML)], Page),
            (&[("sec-fetch-dest", "empty"), ("sec-fetch-mode", "navigate"), ("accept", HTML)], Page),
            (&[("sec-fetch-dest", "empty"), ("sec-purpose", "prefetch"), ("accept", HTML)], Page),
            (&[("sec-fetch-dest", "iframe"), ("accept", HTML)], Frame),
            (&[("sec-fetch-dest", "script"), ("accept", "*/*")], Subresource),
            (&[("sec-fetch-dest", "script"), ("accept", HTML)], Subresource),
            (&[("sec-fetch-dest", "image"), ("accept", IMAGE)], Subresource),
            (&[("sec-fetch-dest", "object"), ("accept", HTML)], Subresource),
            (&[("sec-fetch-dest", "empty"), ("accept", "*/*")], Subresource),
            (&[("sec-fetch-dest", "empty")], Subresource),
            (
                &[("sec-fetch-dest", "empty"), ("accept", JQUERY), ("x-requested-with", "XMLHttpRequest")],
                Subresource,
            ),
            (&[], Page),
            (&[("accept", "*/*")], Page),
            (&[("accept", "*/*;q=0.8")], Page),
            (&[("accept", HTML)], Page),
            (&[("accept", HTML), ("x-requested-with", "com.tencent.mm")], Page),
            (&[("accept", "application/json, TEXT/*;q=0.1")], Page),
            (&[("accept", IMAGE)], Subresource),
            (&[("accept", "application/json, text/plain, */*")], Subresource),
            (&[("accept", JQUERY), ("x-requested-with", "XMLHttpRequest")], Subresource),
            (&[("accept", "*/*"), ("x-requested-with", "xmlhttprequest")], Subresource),
        ] {
            let headers = fields
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
            assert_eq!(Destination::of(&headers.collect()), expected, "{fields:?}");
        }
    }
}
