//! Pages as sites have them, in several charsets and codings: the footer does not depend on how they are cut, and Chromium
//! shows it where it belongs, in a page that is otherwise the same.

mod shapes;

use std::sync::Arc;

use bytes::Bytes;
use encoding_rs::{BIG5, Encoding, GB18030, GBK, UTF_8};
use icpgate::gate::FilingNumber;
use icpgate::rewrite::{
    AssetFile, AssetMap, AssetMapper, AssetName, Charset, Coding, CompressSettings, Conversion, Decoder,
    Encoder, Footer, FooterResult, Injector, Mapped, Mapping,
};
use serde_json::Value;

use crate::support::coding::{decode, encode};
use crate::support::edge::Edge;
use crate::support::origin::{Origin, Request, Script, answer};
use crate::support::{HOST, chromium};
use shapes::{SHAPES, Seen, Shape};

/// How a page is written and sent.
#[derive(Clone, Copy, Debug)]
struct Form {
    encoding: &'static Encoding,
    /// Whether `content-type` names the charset, and not the page alone.
    is_declared: bool,
    has_mark: bool,
    coding: Option<(Coding, &'static str)>,
}

const fn form(
    encoding: &'static Encoding,
    is_declared: bool,
    coding: Option<(Coding, &'static str)>,
) -> Form {
    Form { encoding, is_declared, has_mark: false, coding }
}

const FORMS: [Form; 8] = [
    form(UTF_8, true, None),
    form(GBK, true, Some((Coding::Gzip, "gzip"))),
    form(UTF_8, false, Some((Coding::Brotli, "br"))),
    form(GB18030, true, Some((Coding::Zstd, "zstd"))),
    form(BIG5, true, Some((Coding::Deflate, "deflate"))),
    form(GBK, false, None),
    Form { encoding: UTF_8, is_declared: true, has_mark: true, coding: Some((Coding::Gzip, "gzip")) },
    form(UTF_8, true, Some((Coding::Deflate, "raw"))),
];

/// A page of the corpus.
#[derive(Clone, Debug)]
struct Page {
    name: String,
    form: Form,
    seen: Seen,
    /// The page in its charset, up to where the footer goes, and from there on.
    before: Vec<u8>,
    after: Vec<u8>,
    has_place: bool,
}

impl Page {
    fn new(shape: &Shape, form: Form, filler: &str) -> Self {
        let html = shape.html.replace("{charset}", form.encoding.name()).replace('~', filler);
        let (before, after) = html.split_once('^').map_or((&*html, ""), |(before, after)| (before, after));
        let bytes = |text: &str| form.encoding.encode(text).0.into_owned();
        let mark: &[u8] = if form.has_mark { b"\xef\xbb\xbf" } else { b"" };
        let coding = form.coding.map_or("plain", |(_, name)| name);
        Self {
            name: format!("{}.{}.{coding}", shape.name, form.encoding.name()),
            form,
            seen: shape.seen,
            before: [mark, &bytes(before)].concat(),
            after: bytes(after),
            has_place: shape.html.contains('^'),
        }
    }

    fn plain(&self) -> Vec<u8> {
        [&*self.before, &*self.after].concat()
    }

    fn coded(&self) -> Vec<u8> {
        self.form.coding.map_or_else(|| self.plain(), |(_, name)| encode(name, &self.plain()))
    }

    fn charset(&self) -> Charset {
        if self.form.is_declared { Charset::Declared(self.form.encoding) } else { Charset::Undeclared }
    }

    /// What the origin answers.
    fn script(&self, more: &[&str]) -> Script {
        let media_type = match self.form.is_declared {
            true => format!("content-type: text/html; charset={}", self.form.encoding.name()),
            false => "content-type: text/html".to_owned(),
        };
        let coding = self.form.coding.map(|(_, name)| name.replace("raw", "deflate"));
        let coding = coding.map(|coding| format!("content-encoding: {coding}"));
        let fields = [&[&*media_type][..], coding.as_deref().as_slice(), more].concat();
        answer("200 OK", &fields, self.coded())
    }
}

/// Twice 40 pages: every shape in two forms, every form with many shapes.
fn corpus(filler: &str) -> Vec<Page> {
    let both = |(place, shape)| {
        [place, place + place / FORMS.len() + 3]
            .map(|form| Page::new(shape, FORMS[form % FORMS.len()], filler))
    };
    SHAPES.iter().enumerate().flat_map(both).collect()
}

/// Some 20 KiB of what pages are full of.
fn filler() -> String {
    let part = "<div class=\"item\" title='</body>'><!-- </body> --><p>中文内容，第一段。</p><script>if (a < b) x('</body>');</script>\
                <a href=\"/a?b=1&amp;c=2\">更多</a><img alt=\"图>片\" src=\"data:,\"></div>\n";
    part.repeat(20 * 1024 / part.len())
}

/// What leaves of a body that comes in these pieces.
fn converted<'p>(
    page: &Page,
    encoder: Option<Encoder>,
    map: Option<&Arc<AssetMap>>,
    pieces: impl IntoIterator<Item = &'p [u8]>,
) -> (Vec<u8>, FooterResult) {
    let number = FilingNumber::parse("京ICP备2024012345号-1", 2026).unwrap();
    let injector = Injector::new(Footer::new(&number, None), page.charset());
    let decoder = page.form.coding.map(|(coding, _)| Decoder::new(coding));
    // None of the pages refers to a copied file: on a site with some they are the same.
    let mapping = Mapping { kind: Mapped::Page, coding: None, charset: page.charset() };
    let mapper = map.map(|map| AssetMapper::new(mapping, map, HOST));
    let mut conversion = Conversion::new(decoder, Some(injector), encoder).mapping(mapper);
    let mut out = Vec::new();
    let mut put = |part: Bytes| out.extend_from_slice(&part);
    for piece in pieces {
        conversion.feed(Bytes::copy_from_slice(piece));
        while !conversion.is_hungry() {
            conversion.step(&mut put).unwrap();
        }
    }
    let result = conversion.finish(&mut put).unwrap();
    (out, result.expect("a result"))
}

/// Rewritten whole; fails if anything but the footer was added, or at another place.
fn whole(page: &Page) -> (Vec<u8>, FooterResult) {
    let coded = page.coded();
    let (out, result) = converted(page, None, None, [&*coded]);
    let footer = out.strip_prefix(&*page.before).and_then(|rest| rest.strip_suffix(&*page.after));
    let footer = footer.unwrap_or_else(|| panic!("{}: {result:?}: the page is not what it was", page.name));
    assert_eq!(!footer.is_empty(), page.has_place, "{}: {result:?}", page.name);
    (out, result)
}

#[test]
fn every_cut_of_a_page_gives_the_page_as_rewritten_whole() {
    for page in corpus("<p>文</p>") {
        let (expected, coded) = (whole(&page), page.coded());
        for place in 0..=coded.len() {
            let (first, second) = coded.split_at(place);
            assert!(
                converted(&page, None, None, [first, second]) == expected,
                "{} cut at {place}",
                page.name
            );
        }
    }
}

#[test]
fn random_cuts_of_a_large_page_give_the_page_as_rewritten_whole() {
    let mut random = fastrand::Rng::with_seed(22);
    let file = AssetFile::new(AssetName::of_path(b"a.css"), Bytes::from_static(b"p{}"));
    let hosts = [("cdn.example.net".into(), [file].into())];
    let map = Arc::new(AssetMap::new(&hosts, &CompressSettings::default()));
    for page in corpus(&filler()) {
        let (expected, coded) = (whole(&page), page.coded());
        for _ in 0..10 {
            let mut cuts: Vec<usize> = (0..20).map(|_| random.usize(..=coded.len())).collect();
            cuts.sort_unstable();
            let starts = [0].into_iter().chain(cuts.iter().copied());
            let ends = cuts.iter().copied().chain([coded.len()]);
            let pieces = starts.zip(ends).map(|(start, end)| &coded[start..end]);
            assert!(converted(&page, None, None, pieces) == expected, "{} cut at {cuts:?}", page.name);
        }
        let encoder = Encoder::new(icpgate::rewrite::Encoding::Gzip).unwrap();
        let (encoded, _) = converted(&page, Some(encoder), None, coded.chunks(1000));
        assert!(decode("gzip", &encoded) == expected.0, "{} encoded", page.name);
        assert!(
            converted(&page, None, Some(&map), coded.chunks(777)) == expected,
            "{} with a map",
            page.name
        );
    }
}

/// Looks at every page beside the page that its origin sent: what is there of the footer, and whether the rest differs.
const LOOK: &str = "<script>
addEventListener('load', () => {
    const pages = [...document.querySelectorAll('frame')].map(frame => frame.contentDocument);
    const text = page => page.documentElement.outerHTML + [...page.childNodes].map(node => node.nodeType).join();
    const seen = {};
    for (let place = 0; place < pages.length; place += 2) {
        // One at a time has all of the window.
        document.querySelector('frameset').rows = pages.map((_, other) => other === place ? '*' : '0').join();
        const [served, original] = [pages[place], pages[place + 1]];
        const name = served.location.pathname.slice(1), view = served.defaultView;
        const link = served.querySelector('a[target=_blank][href=\"https://beian.miit.gov.cn/\"]');
        const found = {link: link && link.innerText};
        if (link) {
            const footer = link.closest('div[align]'), at = footer.getBoundingClientRect();
            const others = [...served.body.querySelectorAll('*')]
                .filter(it => !footer.contains(it) && !it.contains(footer));
            const below = others.filter(it => it.getBoundingClientRect().height && it.getBoundingClientRect().bottom > at.bottom + 1);
            link.scrollIntoView();
            const now = link.getBoundingClientRect();
            const top = served.elementFromPoint((now.left + now.right) / 2, (now.top + now.bottom) / 2);
            found.visible = view.getComputedStyle(link).visibility === 'visible' && link.contains(top);
            found.last = below.length === 0;
            footer.remove();
        }
        found.same = text(served) === text(original);
        seen[name] = found;
    }
    document.documentElement.dataset.seen = JSON.stringify(seen);
});
</script>";

#[tokio::test]
async fn chromium_shows_the_footer_at_the_bottom_of_pages_that_are_otherwise_the_same() {
    let pages = corpus("<p>文</p>");
    let frame = |page: &Page| format!("<frame src='/{0}'><frame src='/{0}?original'>", page.name);
    let rows = vec!["*"; 2 * pages.len()].join(",");
    let frames: String = pages.iter().map(frame).collect();
    let driver = format!(
        "<!doctype html><html><head>{LOOK}</head><frameset border=0 rows='{rows}'>{frames}</frameset></html>"
    );
    let served = pages.clone();
    let origin = Origin::start(move |request: &Request| {
        let (name, query) = request.target()[1..].split_once('?').unwrap_or((&request.target()[1..], ""));
        match served.iter().find(|page| page.name == name) {
            // What must not be changed has no footer.
            Some(page) if query == "original" => page.script(&["cache-control: no-transform"]),
            Some(page) => page.script(&[]),
            None if name == "driver" => answer("200 OK", &["content-type: text/html"], driver.clone()),
            None => answer("404 Not Found", &[], ""),
        }
    })
    .await;
    let edge = Edge::in_front_of(&origin).await;
    let document = chromium::document(&edge, HOST, "/driver").await;
    let seen = document.split("data-seen=\"").nth(1).and_then(|rest| rest.split('"').next());
    let seen = seen.unwrap_or_else(|| panic!("{document}")).replace("&quot;", "\"");
    let seen: Value = serde_json::from_str(&seen).expect("JSON");
    for page in &pages {
        let found = &seen[&page.name];
        assert_eq!(found["same"], true, "{}: {found}", page.name);
        if page.seen == Seen::Nowhere {
            assert_ne!(found["visible"], true, "{}: {found}", page.name);
            continue;
        }
        assert_eq!(found["link"], "京ICP备2024012345号-1", "{}: {found}", page.name);
        assert_eq!(found["visible"], true, "{}: {found}", page.name);
        assert_eq!(found["last"], page.seen == Seen::Last, "{}: {found}", page.name);
    }
}
