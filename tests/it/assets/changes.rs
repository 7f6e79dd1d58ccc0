//! Copies change while pages that name them are held by browsers and by the cache.

use super::{FILES, STYLE, folder, local_urls, page, served, site, write};

use crate::support::client::Target;
use crate::support::edge::Edge;
use crate::support::origin::{Origin, Request, answer, head};
use crate::support::{HOST, PATIENCE, eventually};

/// The page refers to another URL of the script than `old`.
async fn script_becomes_another(edge: &Edge, old: &str) -> String {
    let changed = async || {
        let url = local_urls(&page(edge, &[]).await.text())[1].clone();
        (url != old).then_some(url)
    };
    eventually("another URL", PATIENCE, changed).await
}

#[tokio::test]
async fn a_changed_file_has_another_url_and_a_page_that_names_the_old_one_is_fetched_again() {
    let origin = Origin::start(|request: &Request| match request.head.get("if-none-match") {
        Some(tag) if tag.contains("\"p\"") => vec![head("304 Not Modified", &["etag: \"p\""])],
        _ => served(request),
    })
    .await;
    let edge = folder(&origin, "compress: off").start().await;
    let first = page(&edge, &[]).await;
    let tag = first.field("etag").expect("a tag").to_owned();
    assert!(tag.starts_with("W/\"p/"), "{tag}");
    let unchanged = page(&edge, &[("if-none-match", &tag)]).await;
    assert_eq!((unchanged.status, unchanged.field("etag")), (304, Some(&*tag)));
    assert_eq!(origin.seen().last().expect("a request").head.get("if-none-match"), Some("W/\"p\""));

    let old = local_urls(&first.text())[1].clone();
    write(&edge.path(""), &[("cdn/a.js", "document.title = 'changed';")]);
    let new = script_becomes_another(&edge, &old).await;
    let mut client = Target::https(&edge).http2(HOST).await;
    assert_eq!(client.get(HOST, &new).await.text(), "document.title = 'changed';");
    assert_eq!(
        client.get(HOST, &old).await.field("cache-control"),
        Some("public, no-cache"),
        "another content"
    );
    let again =
        page(&edge, &[("if-none-match", &tag), ("if-modified-since", "Tue, 03 Mar 2026 00:00:00 GMT")]).await;
    assert_eq!((again.status, local_urls(&again.text())[1].clone()), (200, new));

    write(&edge.path(""), &[("cdn/none.png", "now it is there")]);
    let added = async || {
        let text = page(&edge, &[]).await.text();
        (!text.contains("https://cdn.example.net/none.png")).then_some(())
    };
    eventually("a new file to be mapped", PATIENCE, added).await;
}

#[tokio::test]
async fn a_page_without_a_tag_is_not_asked_for_by_its_date() {
    let origin = Origin::start(|request: &Request| match request.head.get("if-modified-since") {
        Some(_) => vec![head("304 Not Modified", &[])],
        None => answer("200 OK", &["content-type: text/html"], STYLE),
    })
    .await;
    let edge = folder(&origin, "compress: off").start().await;
    let date = ("if-modified-since", "Tue, 03 Mar 2026 00:00:00 GMT");
    assert_eq!(page(&edge, &[date]).await.status, 200);
    let mut client = Target::https(&edge).http2(HOST).await;
    let image = client.request(http::Method::GET, HOST, "/a.png", &[date]).await.expect("an answer");
    assert_eq!(image.status, 304, "an image is not mapped");
}

#[tokio::test]
async fn the_cache_never_answers_with_a_page_that_names_other_files() {
    let fresh = |request: &Request| {
        let fields = ["content-type: text/html", "cache-control: max-age=3600", "etag: \"p\""];
        match request.target() {
            "/" => answer("200 OK", &fields, super::PAGE),
            _ => served(request),
        }
    };
    let origin = Origin::start(fresh).await;
    let assets = "assets: {map: {fonts.googleapis.com: fonts, cdn.example.net: cdn}}, cache: on";
    let folder = site(&origin, assets).more("cache: {memory: 16MiB}\n").write();
    write(&folder.path(""), &FILES);
    let edge = folder.start().await;
    let first = page(&edge, &[]).await;
    let hit = page(&edge, &[]).await;
    assert_eq!((hit.field("cache-status"), hit.text()), (Some("icpgate; hit"), first.text()));
    assert_eq!(hit.field("etag"), first.field("etag"));
    let tag = first.field("etag").expect("a tag");
    assert_eq!(page(&edge, &[("if-none-match", tag)]).await.status, 304);
    let old = local_urls(&first.text())[1].clone();
    write(&edge.path(""), &[("cdn/a.js", "document.title = 'changed';")]);
    let new = script_becomes_another(&edge, &old).await;
    let hit = page(&edge, &[]).await;
    assert_eq!((hit.field("cache-status"), local_urls(&hit.text())[1].clone()), (Some("icpgate; hit"), new));
}

#[tokio::test]
async fn a_folder_that_is_gone_changes_nothing_until_it_is_back() {
    let origin = Origin::start(served).await;
    let edge = folder(&origin, "compress: off").start().await;
    let before = page(&edge, &[]).await.text();
    fs_err::rename(edge.path("cdn"), edge.path("elsewhere")).expect("renamed");
    edge.metric_becomes("icpgate_reloads_total{result=\"rejected\"}", 1.0).await;
    assert_eq!(page(&edge, &[]).await.text(), before);
    let script = local_urls(&before)[1].clone();
    write(&edge.path("elsewhere"), &[("a.js", "document.title = 'back';")]);
    fs_err::rename(edge.path("elsewhere"), edge.path("cdn")).expect("renamed");
    script_becomes_another(&edge, &script).await;
}
