use encoding_rs::{BIG5, Encoding, GB18030, GBK, SHIFT_JIS, UTF_8, WINDOWS_1252};
use proptest::prelude::*;

use super::*;
use crate::rewrite::{Charset, CompressSettings};

fn map() -> Arc<AssetMap> {
    let files = |names: &[&str]| {
        let file = |name: &&str| {
            AssetFile::new(AssetName::of_path(name.as_bytes()), Bytes::copy_from_slice(name.as_bytes()))
        };
        names.iter().map(file).collect()
    };
    let hosts = [
        (
            Arc::from("f.cn"),
            files(&["css%3Ffamily=A:400,700&x=1", "a.css", "a.js", "b.png", "c d.png", "s.woff2"]),
        ),
        (Arc::from("g.cn"), files(&["b.png"])),
    ];
    Arc::new(AssetMap::new(&hosts, &CompressSettings::default()))
}

/// The page in pieces of these sizes, repeated.
fn mapped_in(charset: Charset, page: &[u8], sizes: &[usize]) -> (Vec<u8>, MapResult) {
    let mapping = Mapping { kind: Mapped::Page, coding: None, charset };
    let mut mapper = AssetMapper::new(mapping, &map(), "www.example.cn");
    let (mut out, mut rest, mut sizes) = (Vec::new(), page, sizes.iter().cycle());
    while !rest.is_empty() {
        let (piece, behind) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
        out.extend(mapper.push(Bytes::copy_from_slice(piece)));
        rest = behind;
    }
    let (last, result) = mapper.finish();
    out.extend(last);
    (out, result)
}

fn mapped(page: &[u8], sizes: &[usize]) -> (Vec<u8>, MapResult) {
    mapped_in(Charset::Undeclared, page, sizes)
}

/// At every cut. `{URL}` in `expected` is the local URL of what is at that URL, `{#URL}` its digest.
#[track_caller]
fn check(page: &str, expected: &str) {
    let map = map();
    let mut parts = expected.split('{');
    let mut whole = parts.next().unwrap().to_owned();
    for part in parts {
        let Some((name, behind)) = part.split_once('}').filter(|(name, _)| name.contains("//")) else {
            whole += &format!("{{{part}");
            continue;
        };
        let (asset, url) = map.find(name.trim_start_matches('#')).expect(name);
        whole += if name.starts_with('#') { asset.integrity() } else { &url };
        whole += behind;
    }
    check_same(page, &whole);
}

#[track_caller]
fn check_same(page: &str, whole: &str) {
    let result = if page == whole { MapResult::Unchanged } else { MapResult::Mapped };
    for cut in 0..=page.len() {
        let (found, outcome) = mapped(page.as_bytes(), &[cut.max(1), page.len()]);
        assert_eq!(String::from_utf8_lossy(&found), whole, "{page} cut at {cut}");
        assert_eq!(outcome, result, "{page}");
    }
}

#[test]
fn references_of_every_kind_of_element_are_mapped() {
    check("<img src=\"https://f.cn/b.png\" alt='x'>", "<img src=\"{//f.cn/b.png}\" alt='x'>");
    check(
        "<IMG SRC=//f.cn/b.png><img src=http://g.cn/b.png />",
        "<IMG SRC={//f.cn/b.png}><img src={//g.cn/b.png} />",
    );
    check(
        "<img srcset='//f.cn/b.png, /own.png 2x,//f.cn/c%20d.png 3x' src=x>",
        "<img srcset='{//f.cn/b.png}, /own.png 2x,{//f.cn/c d.png} 3x' src=x>",
    );
    check("<video src=//f.cn/x.mp4 poster=//f.cn/b.png>", "<video src=//f.cn/x.mp4 poster={//f.cn/b.png}>");
    check(
        "<input type=image src=//f.cn/b.png><object data=//f.cn/b.png>",
        "<input type=image src={//f.cn/b.png}><object data={//f.cn/b.png}>",
    );
    check("<svg><image href='//f.cn/b.png#x'/></svg>", "<svg><image href='{//f.cn/b.png#x}'/></svg>");
    check(
        "<link rel=icon href=//f.cn/b.png><template><img src=//f.cn/b.png></template>",
        "<link rel=icon href={//f.cn/b.png}><template><img src={//f.cn/b.png}></template>",
    );
}

#[test]
fn scripts_and_style_sheets_are_checked() {
    check(
        "<script async src='//f.cn/a.js'></script>",
        "<script async integrity=\"{#//f.cn/a.js}\" src='{//f.cn/a.js}'></script>",
    );
    check(
        "<script src='//f.cn/a.js' integrity=\"sha256-x\" crossorigin></script>",
        "<script src='{//f.cn/a.js}' integrity=\"{#//f.cn/a.js}\" crossorigin></script>",
    );
    check(
        "<link href='https://f.cn/css?family=A:400,700&amp;x=1' rel=stylesheet>",
        "<link integrity=\"{#//f.cn/css?family=A:400,700&x=1}\" href='{//f.cn/css?family=A:400,700&x=1}' rel=stylesheet>",
    );
    check(
        "<link rel=preload as=font href=//f.cn/s.woff2 integrity=x crossorigin><link rel=preload as=style href=//f.cn/a.css>",
        "<link rel=preload as=font href={//f.cn/s.woff2} integrity= crossorigin><link rel=preload as=style \
         integrity=\"{#//f.cn/a.css}\" href={//f.cn/a.css}>",
    );
}

#[test]
fn styles_within_the_page_are_mapped() {
    check(
        "<p style=\"background:url('//f.cn/b.png')\">x</p>",
        "<p style=\"background:url('{//f.cn/b.png}')\">x</p>",
    );
    check("<p style='x:url(&quot;//f.cn/b.png&quot;)'>", "<p style='x:url({//f.cn/b.png})'>");
    check(
        "<style>@import \"//f.cn/a.css\";p{x:url(//f.cn/b.png)}/* url(//f.cn/b.png) */</style><p>url(//f.cn/b.png)",
        "<style>@import \"{//f.cn/a.css}\";p{x:url({//f.cn/b.png})}/* url(//f.cn/b.png) */</style><p>url(//f.cn/b.png)",
    );
    let open = "<style>p{x:url(//f.cn/b.png";
    check_same(open, open);
}

#[test]
fn character_references_and_other_spellings_are_read() {
    check("<img src='https&#58;&#x2F;&sol;f.cn/c&#32;d.png'>", "<img src='{//f.cn/c d.png}'>");
    check("<img src=' \n//F.CN/b.png\t'>", "<img src='{//f.cn/b.png}'>");
    check("<img src='\\\\f.cn\\b.png'>", "<img src='{//f.cn/b.png}'>");
}

#[test]
fn everything_else_stays() {
    for page in [
        "",
        "<",
        "<img src=//f.cn/b.png",
        "<img src='//f.cn/none.png'><img src='/b.png'><img src='b.png'><img src=//f.cn:8443/b.png>",
        "<a href='//f.cn/b.png'>x</a><link rel=canonical href=//f.cn/b.png>",
        "<!-- <img src=//f.cn/b.png> --><script>'<img src=//f.cn/b.png>'</script>",
        "<textarea><img src=//f.cn/b.png></textarea><title><img src=//f.cn/b.png></title>",
        "<img title='//f.cn/b.png' src><img src=''>",
        "<base href='//other.cn/'><img src=//f.cn/b.png><style>p{x:url(//f.cn/b.png)}</style>",
        "<p a='1' a=\"2\" =x <>\0 \u{4e2d}\u{fffd}",
    ] {
        check_same(page, page);
    }
    let own = "<base href='https://www.example.cn:8443/x/'><img src=";
    check(&format!("{own}//f.cn/b.png>"), &format!("{own}{{//f.cn/b.png}}>"));
}

#[test]
fn text_of_every_charset_stays() {
    let page = "<p style='font:微软雅黑;x:url(//f.cn/b.png)' title='表\\'>表\\ 中文</p><style>p{a:'ソ';b:url(//f.cn/b.png)}</style>\
                <img alt=ソ src=//f.cn/b.png>能";
    let local = map().local("//f.cn/b.png").unwrap();
    for encoding in [UTF_8, GBK, GB18030, BIG5, SHIFT_JIS, WINDOWS_1252] {
        let bytes = |text: &str, encoding: &'static Encoding| encoding.encode(text).0.into_owned();
        let (page, expected) =
            (bytes(page, encoding), bytes(&page.replace("//f.cn/b.png", &local), encoding));
        let charset = Charset::Declared(encoding);
        for size in 1..page.len() {
            let (found, _) = mapped_in(charset, &page, &[size]);
            let shown = String::from_utf8_lossy(&found);
            assert!(found == expected, "{} in pieces of {size}: {shown}", encoding.name());
        }
        let named = format!("<meta charset={}>", encoding.name()).into_bytes();
        let (found, _) = mapped(&[&*named, &page].concat(), &[9]);
        assert!(found == [named, expected].concat(), "{}", encoding.name());
    }
    let every_byte: Vec<u8> = (0..=255).collect();
    let page =
        [&every_byte[..], b"<img alt='", &every_byte[40..], b"' src=//f.cn/b.png>", &every_byte[..]].concat();
    let expected = [
        &every_byte[..],
        b"<img alt='",
        &every_byte[40..],
        b"' src=",
        local.as_bytes(),
        b">",
        &every_byte[..],
    ]
    .concat();
    assert_eq!(mapped(&page, &[7]).0, expected);
}

#[test]
fn a_tag_that_is_too_long_ends_the_mapping_and_no_byte_is_lost() {
    let image = "x".repeat(300 << 10);
    let before = "<img src=//f.cn/b.png><style>p{x:url(//f.cn</style>";
    let page = format!("{before}<img src='data:{image}'><img src=//f.cn/b.png>");
    let expected = page.replacen("//f.cn/b.png", &map().local("//f.cn/b.png").unwrap(), 1);
    for sizes in [&[page.len()][..], &[16 << 10], &[1000, 7]] {
        let (found, result) = mapped(page.as_bytes(), sizes);
        assert_eq!(result, MapResult::Cut);
        assert!(found == expected.as_bytes(), "in pieces of {sizes:?}");
    }
    let comment = format!("<!--{image}--><img src=//f.cn/b.png>");
    assert_eq!(mapped(comment.as_bytes(), &[1000]).1, MapResult::Mapped, "a comment is not held");
}

#[test]
fn thousands_of_open_elements_are_no_reason_to_end() {
    let page = "<ul>".to_owned() + &"<li>x".repeat(10_000) + "<img src=//f.cn/b.png>";
    assert_eq!(mapped(page.as_bytes(), &[4096]).1, MapResult::Mapped);
}

#[test]
fn what_never_ends_is_held_up_to_a_limit() {
    for begins in
        ["<img alt='", "<style>@import '//f.cn/", "<p style='x:url(//f.cn/", "</p title='", "<!doctype "]
    {
        let mapping = Mapping { kind: Mapped::Page, coding: None, charset: Charset::Undeclared };
        let mut mapper = AssetMapper::new(mapping, &map(), "www.example.cn");
        let mut held = begins.len() - mapper.push(Bytes::copy_from_slice(begins.as_bytes())).len();
        for _ in 0..1000 {
            held += 4096;
            held -= mapper.push(Bytes::from_static(&[b'x'; 4096])).len();
            assert!(held <= 261 << 10, "{begins}: {held} bytes");
        }
    }
}

/// What pages are made of, and what they break by.
const PARTS: [&str; 32] = [
    "<img src=",
    "<img srcset='",
    "<p style=\"",
    "<link rel=stylesheet href=",
    "<script src='",
    "<style>",
    "</style>",
    "</script>",
    "//f.cn/b.png",
    "//f.cn/a.css",
    "https://f.cn/a.js",
    "url(",
    "@import ",
    ")",
    "'",
    "\"",
    ">",
    "/>",
    " ",
    "=",
    "&quot;",
    "&amp;",
    "\\",
    "/*",
    "*/",
    "<!--",
    "-->",
    "<svg>",
    "<textarea>",
    "</textarea>",
    "中",
    " 2x, ",
];

proptest! {
    #[test]
    fn any_page_is_mapped_alike_however_it_is_cut(
        parts in prop::collection::vec(0..PARTS.len(), 1..40),
        sizes in prop::collection::vec(1_usize..20, 1..6),
    ) {
        let page: String = parts.into_iter().map(|part| PARTS[part]).collect();
        let (whole, result) = mapped(page.as_bytes(), &[page.len()]);
        prop_assert_eq!(mapped(page.as_bytes(), &sizes), (whole.clone(), result));
        let whole = String::from_utf8(whole).unwrap();
        prop_assert_eq!(whole != page, result == MapResult::Mapped);
        for mark in ['<', '>'] {
            prop_assert_eq!(whole.matches(mark).count(), page.matches(mark).count());
        }
    }
}
