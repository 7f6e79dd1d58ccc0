//! An origin across the border is asked for compressed pages, whatever the client accepts.

use super::{BROWSER, LINK, accepting, compressed, page, site};
use crate::support::coding::{decode, encode};
use crate::support::edge::Edge;
use crate::support::origin::{Origin, answer};

async fn offshore(mode: &str) -> (Origin, Edge) {
    let origin = Origin::start(|request| match request.target() {
        "/" => compressed(&page()),
        "/list" => answer(
            "200 OK",
            &[
                "content-type: application/json",
                "content-encoding: gzip",
                "etag: \"a\"",
                "vary: accept-encoding",
            ],
            encode("gzip", b"[1, 2, 3]"),
        ),
        "/plain" => answer("200 OK", &["content-type: application/json", "etag: \"a\""], "[]"),
        _ => answer("200 OK", &["content-type: text/css", "content-encoding: gzip"], encode("gzip", b"a{}")),
    })
    .await;
    let origins = "  - {name: main, region: offshore, scheme: http, servers: [\"$ORIGIN\"]}\n";
    let builder = Edge::builder().origin(origin.address).origins(origins).sites(&site(mode));
    let edge = builder.start().await;
    (origin, edge)
}

fn asked(origin: &Origin) -> Option<String> {
    origin.seen().last().expect("a request").head.get("accept-encoding").map(str::to_owned)
}

#[tokio::test]
async fn a_page_crosses_the_border_compressed() {
    for (mode, coding) in [("auto", Some("br")), ("off", None)] {
        let (origin, edge) = offshore(mode).await;
        for answer in accepting(&edge, "/", BROWSER).await {
            assert_eq!(answer.field("content-encoding"), coding, "{mode}");
            let body = coding.map_or(answer.body.clone(), |coding| decode(coding, &answer.body));
            assert!(String::from_utf8(body).expect("UTF-8").contains(LINK), "{mode}");
        }
        assert_eq!(asked(&origin).as_deref(), Some("br, zstd, gzip"));
        for answer in accepting(&edge, "/", "gzip, deflate").await {
            assert_eq!(answer.field("content-encoding").is_some(), mode == "auto");
        }
        assert_eq!(asked(&origin).as_deref(), Some("gzip"));
        for answer in accepting(&edge, "/", "identity").await {
            assert_eq!(answer.field("content-encoding"), None, "{mode}");
            assert!(answer.text().contains(LINK), "{mode}");
        }
        assert_eq!(asked(&origin).as_deref(), Some("br, zstd, gzip"));
    }
}

#[tokio::test]
async fn what_turns_out_to_be_no_page_is_decoded_only_for_a_client_that_needs_it() {
    let (origin, edge) = offshore("auto").await;
    for answer in accepting(&edge, "/list", "gzip").await {
        assert_eq!((answer.field("content-encoding"), answer.field("etag")), (Some("gzip"), Some("\"a\"")));
        assert_eq!(decode("gzip", &answer.body), b"[1, 2, 3]");
    }
    for answer in accepting(&edge, "/list", "identity").await {
        assert_eq!((answer.field("content-encoding"), answer.field("etag")), (None, Some("W/\"a\"")));
        assert_eq!((answer.text().as_str(), answer.field("vary")), ("[1, 2, 3]", Some("accept-encoding")));
    }
    for answer in accepting(&edge, "/plain", "identity").await {
        assert_eq!((answer.text().as_str(), answer.field("etag")), ("[]", Some("\"a\"")));
    }
    // It cannot be a page, so the client's own field goes out, and what it gets is the origin's affair.
    for answer in accepting(&edge, "/a.css", "identity").await {
        assert_eq!(answer.field("content-encoding"), Some("gzip"));
    }
    assert_eq!(asked(&origin).as_deref(), Some("identity"));
}
