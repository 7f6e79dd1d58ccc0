//! Chromium loads what is mapped from the site itself.

use super::{site, write};
use crate::support::{HOST, chromium};

use crate::support::origin::{Origin, Request, answer};

/// A font whose only letter, A, is three times as wide as it is high.
const FONT: &[u8] = include_bytes!("wide.ttf");

const PAGE: &str = "<!doctype html><html><head>
    <link rel=stylesheet href=\"https://fonts.example.net/css?family=Wide&amp;x=1\" crossorigin>
    <script src=\"https://fonts.example.net/a.js\" integrity=\"sha384-of-another-file\"></script></head>
    <body><p><span id=text style=\"font: 20px Wide\">A</span></p><script>
    document.fonts.load('20px Wide').then(() => {
        const loaded = performance.getEntriesByType('resource').map(entry => new URL(entry.name));
        const foreign = loaded.filter(url => url.host !== location.host).length;
        const fonts = loaded.filter(url => url.pathname === '/_icpgate/assets/files.example.net/s/wide.ttf').length;
        const width = document.getElementById('text').getBoundingClientRect().width;
        document.documentElement.dataset.seen = [window.ran, width, fonts, foreign].join('|');
    });
    </script></body></html>";

#[tokio::test]
async fn chromium_shows_text_in_a_mapped_font_and_runs_a_mapped_script() {
    let origin = Origin::start(|request: &Request| match request.target() {
        "/" => answer("200 OK", &["content-type: text/html; charset=utf-8"], PAGE),
        _ => answer("404 Not Found", &[], ""),
    })
    .await;
    let folder = site(&origin, "assets: {map: {fonts.example.net: fonts, files.example.net: files}}").write();
    let style = "@font-face{font-family:Wide;src:url(https://files.example.net/s/wide.ttf)}";
    write(
        &folder.path(""),
        &[
            ("fonts/css%3Ffamily=Wide&x=1", style),
            ("fonts/a.js", "window.ran = 'ran'"),
            ("files/s/x.css", ""),
        ],
    );
    fs_err::write(folder.path("files/s/wide.ttf"), FONT).expect("written");
    let edge = folder.start().await;
    let document = chromium::document(&edge, HOST, "/").await;
    assert!(document.contains("data-seen=\"ran|60|1|0\""), "{document}");
}
