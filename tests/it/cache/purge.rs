//! `POST /purge` of the admin address.

use super::{fresh, get, in_front_of, status};
use crate::support::HOST;
use crate::support::client::{Http1, Target};
use crate::support::edge::{Edge, icpgate};
use crate::support::origin::{Origin, Request};

/// The status of a purge.
pub(super) async fn purge(edge: &Edge, method: &str, query: &str, fields: &str) -> u16 {
    let target = Target { address: edge.admin(), roots: None };
    let mut client: Http1 = target.http1("admin").await;
    client
        .send(format!(
            "{method} /purge{query} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n{fields}\r\n"
        ))
        .await;
    client.answer(method).await.status
}

#[tokio::test]
async fn a_url_or_a_site_is_dropped() {
    let origin = Origin::start(|request: &Request| fresh(request.target())).await;
    let edge = in_front_of(&origin).await;
    let fill = async || {
        for path in ["/a?x=1", "/b"] {
            get(&edge, path).await;
            assert_eq!(status(&get(&edge, path).await), "icpgate; hit");
        }
    };
    let miss = "icpgate; fwd=uri-miss; stored";
    fill().await;
    for url in [
        format!("?url=https://{HOST}/a?x=1"),
        format!("?url=https%3A%2F%2F{HOST}%2Fa%3Fx%3D1"),
        "?url=http://WWW.example.CN:8443/a?x=1#here".to_owned(),
    ] {
        assert_eq!(purge(&edge, "POST", &url, "").await, 204, "{url}");
        assert_eq!(status(&get(&edge, "/a?x=1").await), miss, "{url}");
        assert_eq!(status(&get(&edge, "/b").await), "icpgate; hit", "{url}");
    }
    assert_eq!(purge(&edge, "POST", "?site=shop", "").await, 204);
    assert_eq!((status(&get(&edge, "/b").await), status(&get(&edge, "/a?x=1").await)), (miss, miss));
    fill().await;
    for (method, query, fields, expected) in [
        ("POST", "?site=other", "", 404),
        ("POST", "?url=https://www.other.cn/a", "", 404),
        ("POST", "", "", 400),
        ("POST", "?url=%zz", "", 400),
        ("POST", "?site=shop", "Origin: https://evil.example\r\n", 403),
        ("GET", "?site=shop", "", 405),
    ] {
        assert_eq!(purge(&edge, method, query, fields).await, expected, "{method} {query} {fields}");
    }
    assert_eq!(status(&get(&edge, "/b").await), "icpgate; hit");
}

#[tokio::test]
async fn the_command_drops_a_url() {
    let origin = Origin::start(|request: &Request| fresh(request.target())).await;
    let edge = in_front_of(&origin).await;
    get(&edge, "/a?x=1&y=2").await;
    let config = edge.config_path();
    let purge = async |url: String| {
        let run = icpgate(["purge".as_ref(), "--config".as_ref(), config.as_os_str(), url.as_ref()]).await;
        run.code
    };
    assert_eq!(status(&get(&edge, "/a?x=1&y=2").await), "icpgate; hit");
    assert_eq!(purge(format!("https://{HOST}/a?x=1&y=2")).await, 0);
    assert_eq!(status(&get(&edge, "/a?x=1&y=2").await), "icpgate; fwd=uri-miss; stored");
    assert_eq!(purge("https://www.other.cn/".to_owned()).await, 1);
    assert_eq!(purge("no URL".to_owned()).await, 2);
}
