use http::{HeaderValue, Version};

use super::*;
use crate::rewrite::{CompressMode, CompressSettings, apply_to_head, vary_by_destination};

fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, HeaderValue::from_static(value));
    }
    headers
}

#[test]
fn what_may_be_a_page_is_asked_for_plain_and_with_its_range() {
    #[track_caller]
    fn check(path: &str, fields: &[(&'static str, &'static str)], expected: Ask) {
        assert_eq!(
            ask(FooterPages::All, &Method::GET, path, &headers(fields)),
            expected,
            "{path} {fields:?}"
        );
    }
    check("/", &[], Ask::Identity);
    check("/news", &[("accept", "text/html,application/xhtml+xml;q=0.9")], Ask::Identity);
    check("/news", &[("accept", "*/*;q=0.8")], Ask::Identity);
    check("/news", &[("accept", "text/html, */*"), ("sec-fetch-dest", "empty")], Ask::Identity);
    check("/news", &[("accept", "text/html"), ("sec-fetch-dest", "iframe")], Ask::AsSent);
    check("/news", &[("accept", "application/json, TEXT/*;q=0.1")], Ask::Identity);
    check("/v1.2/list", &[], Ask::Identity);

    check("/app.js", &[("accept", "*/*")], Ask::AsSent);
    check("/A.PNG", &[], Ask::AsSent);
    check("/news", &[("accept", "application/json")], Ask::AsSent);
    check("/news", &[("accept", "application/json, text/plain, */*")], Ask::AsSent);
    check("/news", &[("accept", "*/*"), ("sec-fetch-dest", "script")], Ask::AsSent);
    check("/news", &[("accept", "*/*"), ("sec-fetch-dest", "empty")], Ask::AsSent);

    check("/a.html", &[("range", "bytes=0-9"), ("accept", "*/*")], Ask::Identity);
    check("/stream", &[("range", "bytes=0-9"), ("accept", "text/html")], Ask::Identity);
    check("/film.mp4", &[("range", "bytes=0-9")], Ask::AsSent);
}

#[test]
fn other_methods_and_pages_are_asked_for_as_sent() {
    let none = HeaderMap::new();
    assert_eq!(ask(FooterPages::All, &Method::HEAD, "/", &none), Ask::Identity);
    assert_eq!(ask(FooterPages::All, &Method::POST, "/", &none), Ask::AsSent);
    assert_eq!(ask(FooterPages::Home, &Method::GET, "/", &none), Ask::Identity);
    assert_eq!(ask(FooterPages::Home, &Method::GET, "/news", &none), Ask::AsSent);
    assert_eq!(ask(FooterPages::Off, &Method::GET, "/", &none), Ask::AsSent);
}

/// Where nothing is compressed.
fn plan(
    pages: FooterPages,
    method: &Method,
    path: &str,
    asked: &HeaderMap,
    status: StatusCode,
    headers: &HeaderMap,
) -> Rewrite {
    let settings = CompressSettings::default();
    let compress = Compress::new(CompressMode::Off, &settings, Version::HTTP_11);
    super::plan(pages, method, path, asked, status, headers, compress)
}

fn planned(status: u16, fields: &[(&'static str, &'static str)]) -> Rewrite {
    let status = StatusCode::from_u16(status).unwrap();
    plan(FooterPages::All, &Method::GET, "/news", &HeaderMap::new(), status, &headers(fields))
}

#[test]
fn a_page_gets_the_footer_in_the_charset_of_its_head() {
    #[track_caller]
    fn check(content_type: &'static str, expected: Rewrite) {
        assert_eq!(planned(200, &[("content-type", content_type)]), expected, "{content_type}");
    }
    let declared = |encoding| Rewrite::Inject(Charset::Declared(encoding));
    check("text/html", Rewrite::Inject(Charset::Undeclared));
    check("Text/HTML ; Charset=\"UTF-8\"", declared(encoding_rs::UTF_8));
    check("text/html; x=y;charset=gb2312", declared(encoding_rs::GBK));
    check("text/html; charset=nonsense", Rewrite::Inject(Charset::Undeclared));
    check("text/html; charset=", Rewrite::Inject(Charset::Undeclared));
    check("text/html; charset=utf-16", Rewrite::Skipped(SkipReason::Charset));
    check("text/html; charset=iso-2022-jp", Rewrite::Skipped(SkipReason::Charset));
    check("text/plain", Rewrite::NotApplicable);
    check("text/htmlx", Rewrite::NotApplicable);
    check("application/xhtml+xml", Rewrite::NotApplicable);
    assert_eq!(planned(200, &[]), Rewrite::NotApplicable);
}

#[test]
fn a_page_that_cannot_be_changed_is_skipped_with_its_reason() {
    #[track_caller]
    fn check(name: &'static str, value: &'static str, expected: Rewrite) {
        let fields = [("content-type", "text/html"), (name, value)];
        assert_eq!(planned(200, &fields), expected, "{name}: {value}");
        let asked = HeaderMap::new();
        let head = plan(FooterPages::All, &Method::HEAD, "/", &asked, StatusCode::OK, &headers(&fields));
        let uncounted = match expected {
            Rewrite::Inject(_) | Rewrite::Decode(..) => Rewrite::HeadOnly,
            Rewrite::Partial => Rewrite::Partial,
            _ => Rewrite::NotApplicable,
        };
        assert_eq!(head, uncounted, "HEAD, {name}: {value}");
    }
    let inject = Rewrite::Inject(Charset::Undeclared);
    for (coding, decoded) in [
        ("gzip", Coding::Gzip),
        ("X-Gzip", Coding::Gzip),
        ("deflate", Coding::Deflate),
        ("identity, br", Coding::Brotli),
        ("zstd,", Coding::Zstd),
    ] {
        check("content-encoding", coding, Rewrite::Decode(decoded, Charset::Undeclared));
    }
    for coding in ["gzip, br", "gzip, gzip", "compress", "br;q=1", "dcb"] {
        check("content-encoding", coding, Rewrite::Skipped(SkipReason::Encoded));
    }
    check("content-encoding", "Identity", inject);
    check("content-range", "bytes 0-9/20", Rewrite::Partial);
    check("cache-control", "public, No-Transform", Rewrite::Skipped(SkipReason::NoTransform));
    check("cache-control", "no-cache", inject);
    check("content-disposition", "Attachment; filename=a.html", Rewrite::Skipped(SkipReason::Attachment));
    check("content-disposition", "inline", inject);
}

#[test]
fn the_whole_is_asked_for_only_where_it_would_get_the_footer() {
    let html = ("content-type", "text/html");
    assert_eq!(planned(206, &[html]), Rewrite::Partial);
    assert_eq!(planned(206, &[html, ("content-encoding", "gzip")]), Rewrite::Partial);
    for (field, reason) in [
        (("content-disposition", "attachment"), SkipReason::Attachment),
        (("cache-control", "no-transform"), SkipReason::NoTransform),
        (("content-encoding", "gzip, br"), SkipReason::Encoded),
    ] {
        assert_eq!(planned(206, &[html, field]), Rewrite::Skipped(reason), "{field:?}");
    }
    for other in ["application/octet-stream", "multipart/byteranges; boundary=b"] {
        assert_eq!(planned(206, &[("content-type", other)]), Rewrite::NotApplicable, "{other}");
    }
    assert_eq!(planned(416, &[html]), Rewrite::OutOfRange);
    assert_eq!(planned(416, &[]), Rewrite::OutOfRange);
    let file = |asked: &[_], path| {
        let status = StatusCode::RANGE_NOT_SATISFIABLE;
        plan(FooterPages::All, &Method::GET, path, &headers(asked), status, &headers(&[html]))
    };
    assert_eq!(file(&[], "/film.mp4"), Rewrite::NotApplicable);
    assert_eq!(file(&[("sec-fetch-dest", "video")], "/film"), Rewrite::NotApplicable);
}

#[test]
fn what_is_not_asked_for_as_a_page_is_skipped() {
    #[track_caller]
    fn check(destination: &'static str, expected: Rewrite, unmodified: Rewrite) {
        let asked = headers(&[("sec-fetch-dest", destination), ("accept", "text/html")]);
        let page = headers(&[("content-type", "text/html"), ("content-encoding", "gzip")]);
        let plan = |status| plan(FooterPages::All, &Method::GET, "/", &asked, status, &page);
        assert_eq!(
            (plan(StatusCode::OK), plan(StatusCode::NOT_MODIFIED)),
            (expected, unmodified),
            "{destination}"
        );
    }
    let decode = Rewrite::Decode(Coding::Gzip, Charset::Undeclared);
    check("document", decode, Rewrite::HeadOnly);
    check("iframe", Rewrite::Skipped(SkipReason::Frame), Rewrite::NotApplicable);
    check("script", Rewrite::Skipped(SkipReason::Subresource), Rewrite::NotApplicable);
}

#[test]
fn a_cache_is_told_what_an_answer_depends_on_once() {
    for (sent, expected) in [
        (&["accept-encoding"][..], "accept-encoding, sec-fetch-dest"),
        (&["accept", "cookie,user-agent"], "accept, cookie, user-agent, sec-fetch-dest"),
        (&["*"], "*"),
        (&["accept, Sec-Fetch-Dest"], "accept, Sec-Fetch-Dest"),
    ] {
        let mut head = HeaderMap::new();
        for value in sent {
            head.append(header::VARY, HeaderValue::from_static(value));
        }
        vary_by_destination(&mut head);
        assert_eq!(head.get_all(header::VARY).iter().collect::<Vec<_>>(), [expected]);
    }
}

#[test]
fn what_is_no_page_is_not_applicable() {
    let html = [("content-type", "text/html")];
    for status in [201, 204, 301, 403, 404, 500] {
        assert_eq!(planned(status, &html), Rewrite::NotApplicable, "{status}");
    }
    let plan =
        |pages, method, path| plan(pages, &method, path, &HeaderMap::new(), StatusCode::OK, &headers(&html));
    assert_eq!(plan(FooterPages::All, Method::POST, "/"), Rewrite::NotApplicable);
    assert_eq!(plan(FooterPages::Off, Method::GET, "/"), Rewrite::NotApplicable);
    assert_eq!(plan(FooterPages::Home, Method::GET, "/news"), Rewrite::NotApplicable);
    assert_eq!(plan(FooterPages::Home, Method::GET, "/"), Rewrite::Inject(Charset::Undeclared));
}

#[test]
fn an_unmodified_page_has_the_tag_that_it_was_sent_with() {
    assert_eq!(planned(304, &[("etag", "\"a\"")]), Rewrite::HeadOnly);
    assert_eq!(planned(304, &[("content-type", "text/html")]), Rewrite::HeadOnly);
    assert_eq!(planned(304, &[("content-type", "image/png")]), Rewrite::NotApplicable);
    assert_eq!(planned(304, &[("content-encoding", "gzip")]), Rewrite::HeadOnly);
    assert_eq!(planned(304, &[("content-encoding", "gzip, br")]), Rewrite::NotApplicable);
    let none = HeaderMap::new();
    let image = plan(FooterPages::All, &Method::GET, "/a.png", &none, StatusCode::NOT_MODIFIED, &none);
    assert_eq!(image, Rewrite::NotApplicable);
}

#[test]
fn a_page_stays_encoded_for_a_client_that_takes_it_in_no_other_way() {
    #[track_caller]
    fn check(accepted: &'static str, is_decoded: bool) {
        let asked = headers(&[("accept-encoding", accepted)]);
        let html = ("content-type", "text/html");
        let page = headers(&[html, ("content-encoding", "gzip")]);
        let plan = |method, status, headers| plan(FooterPages::All, &method, "/", &asked, status, headers);
        let (on_get, on_head) = if is_decoded {
            (Rewrite::Decode(Coding::Gzip, Charset::Undeclared), Rewrite::HeadOnly)
        } else {
            (Rewrite::Skipped(SkipReason::Encoded), Rewrite::NotApplicable)
        };
        assert_eq!(plan(Method::GET, StatusCode::OK, &page), on_get, "{accepted}");
        assert_eq!(plan(Method::HEAD, StatusCode::OK, &page), on_head, "HEAD, {accepted}");
        assert_eq!(plan(Method::GET, StatusCode::NOT_MODIFIED, &page), on_head, "304, {accepted}");
        let plain = plan(Method::GET, StatusCode::OK, &headers(&[html]));
        assert_eq!(plain, Rewrite::Inject(Charset::Undeclared), "{accepted}");
    }
    for accepted in
        ["", "gzip", "gzip, br;q=0.5", "*", "identity", "identity;q=0.001", "gzip;q=0", "*;q=0, identity"]
    {
        check(accepted, true);
    }
    for accepted in ["*;q=0, identity;q=0.1", "identity;x=0", "identity; q=x", "identity;q=0.5, *;q=0"] {
        check(accepted, true);
    }
    for accepted in ["gzip, identity;q=0", "gzip, *;q=0", "Identity ; Q=0.000", "identity;q=0, *"] {
        check(accepted, false);
    }
}

#[test]
fn the_head_of_a_changed_page_promises_nothing_of_its_bytes() {
    let mut head = headers(&[
        ("content-length", "10"),
        ("accept-ranges", "bytes"),
        ("content-md5", "x"),
        ("digest", "x"),
        ("repr-digest", "x"),
        ("content-digest", "x"),
        ("content-encoding", "gzip"),
        ("etag", "\"a\""),
        ("last-modified", "Tue, 03 Mar 2026 00:00:00 GMT"),
    ]);
    apply_to_head(&mut head);
    let left = headers(&[("etag", "W/\"a\""), ("last-modified", "Tue, 03 Mar 2026 00:00:00 GMT")]);
    assert_eq!(head, left);
    apply_to_head(&mut head);
    assert_eq!(head, left);
}

#[test]
fn a_page_that_can_be_encoded_again_need_not_be_accepted_uncompressed() {
    let page = headers(&[("content-type", "text/html"), ("content-encoding", "gzip")]);
    let settings = CompressSettings::default();
    for (mode, accepted, expected) in [
        (CompressMode::Auto, "br, *;q=0", Rewrite::Decode(Coding::Gzip, Charset::Undeclared)),
        (CompressMode::Auto, "deflate, *;q=0", Rewrite::Skipped(SkipReason::Encoded)),
        (CompressMode::Off, "br, *;q=0", Rewrite::Skipped(SkipReason::Encoded)),
    ] {
        let asked = headers(&[("accept-encoding", accepted)]);
        let compress = Compress::new(mode, &settings, Version::HTTP_2);
        let plan = super::plan(FooterPages::All, &Method::GET, "/", &asked, StatusCode::OK, &page, compress);
        assert_eq!(plan, expected, "{mode:?} {accepted}");
    }
}
