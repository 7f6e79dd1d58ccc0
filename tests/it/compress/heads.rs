//! Heads without a body match those of the answers that they stand for.

use http::Method;

use super::{BROWSER, both, compressed, edge, page};
use crate::support::coding::encode;
use crate::support::origin::{answer, head};

#[tokio::test]
async fn head_has_the_fields_of_get() {
    for mode in ["auto", "on", "off"] {
        let (_origin, edge) = edge(mode, |request| {
            let mut script = match request.target() {
                "/" => compressed(&page()),
                "/plain" => answer("200 OK", &["content-type: text/html", "etag: \"a\""], page()),
                "/short" => answer("200 OK", &["content-type: text/css", "etag: \"a\""], "a{}"),
                "/coded" => answer(
                    "200 OK",
                    &["content-type: text/css", "content-encoding: gzip"],
                    encode("gzip", page().as_bytes()),
                ),
                _ => answer("200 OK", &["content-type: text/css", "etag: \"a\""], page()),
            };
            if request.method() == "HEAD" {
                script.truncate(1);
            }
            script
        })
        .await;
        for path in ["/", "/plain", "/short", "/coded", "/a.css"] {
            for accepted in [BROWSER, "gzip", "identity"] {
                let fields = [("accept-encoding", accepted)];
                let got = both(&edge, Method::GET, path, &fields).await;
                let headed = both(&edge, Method::HEAD, path, &fields).await;
                for (get, head) in got.into_iter().zip(headed) {
                    let told = |answer: &crate::support::client::Answer| {
                        ["content-encoding", "vary", "etag", "content-length", "repr-digest"]
                            .map(|name| answer.field(name).map(str::to_owned))
                    };
                    assert_eq!(told(&get), told(&head), "{mode} {path} {accepted}");
                    assert!(head.body.is_empty());
                }
            }
        }
    }
}

#[tokio::test]
async fn a_304_has_the_tag_that_the_client_holds() {
    let (origin, edge) = edge("on", |request| {
        if request.head.get("if-none-match").is_some() {
            return vec![head("304 Not Modified", &["etag: \"a\""])];
        }
        answer("200 OK", &["content-type: text/css", "etag: \"a\""], page())
    })
    .await;
    for (accepted, held) in [("gzip", "W/\"a\""), ("identity", "\"a\"")] {
        let fields = [("accept-encoding", accepted)];
        for answer in both(&edge, Method::GET, "/a.css", &fields).await {
            assert_eq!(answer.field("etag"), Some(held), "{accepted}");
        }
        let fields = [("accept-encoding", accepted), ("if-none-match", held)];
        for answer in both(&edge, Method::GET, "/a.css", &fields).await {
            assert_eq!((answer.status, answer.field("etag")), (304, Some(held)), "{accepted}");
            assert_eq!(answer.field("content-encoding"), None, "{accepted}");
            let varies = answer.field("vary") == Some("accept-encoding");
            assert_eq!(varies, accepted == "gzip", "{accepted}");
        }
    }
    // What may not be a page is asked for as the client asks.
    assert!(
        origin.seen().iter().all(|request| request.head.get("accept-encoding") != Some("br, zstd, gzip"))
    );
}
