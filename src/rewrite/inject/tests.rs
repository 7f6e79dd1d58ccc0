use encoding_rs::{BIG5, Encoding, GBK, ISO_2022_JP, UTF_8, UTF_16LE};
use proptest::prelude::*;

use super::reading::TAIL;
use super::*;
use crate::gate::FilingNumber;
use crate::rewrite::SkipReason;
use crate::rewrite::charset::Known;
use crate::rewrite::existing_number::AFTER;

const OWN: &str = "京ICP备2024012345号-1";
const LINK: &str = "<a href=\"https://beian.miit.gov.cn/\">备案</a>";

fn footer() -> Footer {
    Footer::new(&FilingNumber::parse(OWN, 2026).unwrap(), None)
}

/// The footer in a page of this charset.
fn written(charset: Charset) -> Bytes {
    footer().bytes(match charset {
        Charset::Declared(encoding) => Known::Declared(encoding),
        Charset::Undeclared => Known::Undeclared,
    })
}

/// What comes out of a page that comes in these chunks.
fn inject<'c>(chunks: impl IntoIterator<Item = &'c [u8]>, charset: Charset) -> (Vec<u8>, FooterResult) {
    let mut injector = Injector::new(footer(), charset);
    let mut out = Vec::new();
    let mut pass = |part: Bytes| out.extend_from_slice(&part);
    for chunk in chunks {
        injector.push(Bytes::copy_from_slice(chunk), &mut pass);
    }
    let result = injector.finish(&mut pass);
    (out, result)
}

/// Every way to cut the page in two, and byte by byte, must give what the whole gives.
#[track_caller]
fn check_bytes(page: &[u8], charset: Charset, expected: &[u8], result: FooterResult) {
    let expected = (String::from_utf8_lossy(expected).into_owned(), result);
    let shown = |(out, result): (Vec<u8>, FooterResult)| (String::from_utf8_lossy(&out).into_owned(), result);
    assert_eq!(shown(inject([page], charset)), expected);
    assert_eq!(shown(inject(page.chunks(1), charset)), expected, "byte by byte");
    for place in 0..page.len() {
        let (first, second) = page.split_at(place);
        assert_eq!(shown(inject([first, second], charset)), expected, "cut at {place}");
    }
}

/// `^` marks where the footer goes.
#[track_caller]
fn check_in(charset: Charset, marked: &str, result: FooterResult) {
    check_encoded(
        charset,
        if let Charset::Declared(encoding) = charset { encoding } else { UTF_8 },
        marked,
        result,
    );
}

/// A page in `encoding`, whatever its head says.
#[track_caller]
fn check_encoded(charset: Charset, encoding: &'static Encoding, marked: &str, result: FooterResult) {
    let (before, after) = marked.split_once('^').map_or((marked, None), |(a, b)| (a, Some(b)));
    let (before, after) = (encoding.encode(before).0, after.map(|after| encoding.encode(after).0));
    let expected = match &after {
        Some(after) => [&*before, &written(charset), after].concat(),
        None => before.to_vec(),
    };
    check_bytes(&[&*before, &after.unwrap_or_default()].concat(), charset, &expected, result);
}

#[track_caller]
fn check(marked: &str, result: FooterResult) {
    check_in(Charset::Declared(UTF_8), marked, result);
}

#[track_caller]
fn injected(marked: &str) {
    assert!(marked.contains('^'), "{marked}");
    check(marked, FooterResult::Injected);
}

#[track_caller]
fn skipped(page: &str, reason: SkipReason) {
    check(page, FooterResult::Skipped(reason));
}

#[test]
fn the_footer_goes_before_the_end_tag_of_the_body() {
    injected("<!doctype html><html><body><p>text</p>^</body></html>");
    injected("<BODY><P>text^</BODY></HTML>\n");
    injected("<body>text^</body >");
    injected("<body>text^</body\n\tclass=x>");
    injected("<body>text^</body/>");
    injected("<body>text^</body>more</body></html>");
    injected("<p>text^</body>");
    injected("<body>a < b <b <</b>^</body>");
    injected("<body><bodyx></bodyx></bod></ body>^</body>");
    injected("<body><svg><title>^</body>");
    injected("<body><svg><style/><p>x^</body>");
    injected("\u{feff}<!doctype html><body>^</body>");
    injected("<body>\0\r\n\u{1f600}^</body>");
}

#[test]
fn what_only_looks_like_the_end_tag_is_none() {
    injected("<body><script>'</body>'</script>^</body>");
    injected("<body><script><!-- <script> </script> </body> --></script>^</body>");
    injected("<body><script><!-- <script> </body> </script> </body> --></script>^</body>");
    injected("<body><script><!-- <script> </body> --> </body> </script>^</body>");
    injected("<body><style></body></style>^</body>");
    injected("<body><!-- </body> -->^</body>");
    injected("<body><!-->^</body>");
    injected("<body><a title=\"</body>\" href='</body>'>x</a>^</body>");
    injected("<body><textarea></body></textarea>^</body>");
    injected("<head><title></body></title></head>^</body>");
    injected("<body><noscript></body></noscript>^</body>");
    injected("<body><iframe></body></iframe>^</body>");
    injected("<body><xmp></body></xmp>^</body>");
    injected("<body><template><p></body></template>^</body>");
    injected("<body><template><template></template></body></template>^</body>");
    injected("<body><svg><![CDATA[</body>]]></svg>^</body>");
    injected("<body><?php </body ?> x^</body>");
}

#[test]
fn a_document_without_the_end_tag_gets_it_at_its_end() {
    injected("<!doctype html><p>text^");
    injected("<!DOCTYPE HTML PUBLIC \"x\">^");
    injected("<!doctypehtml>^");
    injected("<html><p>text</html>^");
    injected("<head><title>x</title></head><p>text\n^");
    injected("<body><p>text^");
}

#[test]
fn what_is_no_document_gets_none() {
    skipped("", SkipReason::Fragment);
    skipped("<p>text</p>", SkipReason::Fragment);
    skipped("<header></header><bodyguard>", SkipReason::Fragment);
    skipped("<!-- <html><body> --><p>", SkipReason::Fragment);
    skipped("<script>'<html>'</script>", SkipReason::Fragment);
    skipped("<html><frameset><frame></frameset></html>", SkipReason::Frameset);
    skipped("<html><frameset><noframes><body>x</body></noframes></frameset>", SkipReason::Frameset);
    injected("<html><body><frameset></frameset>^</body>");
}

#[test]
fn data_that_is_labelled_html_passes_unchanged() {
    for data in [
        "{\"a\": \"<body></body>\"}",
        "callback({\"a\": \"<html><body></body></html>\"})",
        "<?xml version=\"1.0\"?><rss><description><![CDATA[<html><body>x</body></html>]]></description></rss>",
        "<rss><![CDATA[<html><body>x</body></html>]]></rss>",
        "\u{feff}document.write('<!doctype html><body></body>')",
        "{\"number\": \"京ICP备2024012345号-1 <body></body>\"}",
    ] {
        skipped(data, SkipReason::Data);
    }
}

#[test]
fn a_page_that_ends_too_early_gets_none() {
    skipped("<html><body><p", SkipReason::Unfinished);
    skipped("<html><body></bod", SkipReason::Unfinished);
    skipped("<html><body></body", SkipReason::Unfinished);
    skipped("<html><body>x <", SkipReason::Unfinished);
    skipped("<html><body>x </", SkipReason::Unfinished);
    skipped("<html><body>x <!", SkipReason::Unfinished);
    skipped("<html><body><!-- </body>", SkipReason::Unfinished);
    skipped("<html><body><script>if (a", SkipReason::Unfinished);
    skipped("<html><body><template><p>", SkipReason::Unfinished);
    skipped("<html><body><plaintext></body>", SkipReason::Unfinished);
}

#[test]
fn a_page_that_shows_the_number_is_left_as_it_is() {
    for shown in [
        "京ICP备2024012345号-1",
        "<a href=\"https://beian.miit.gov.cn/\">京ICP备2024012345号-1</a>",
        "© 2026 京 ICP 备 2024012345 号 - 1 All rights reserved",
        "&#20140;ICP&#x5907;2024012345&#21495;-1",
        "京ＩＣＰ备２０２４０１２３４５号－１",
        "京icp備2024012345號—1",
        "沪ICP备2024099999号-1 | 京ICP备2024012345号-1",
        "京<!-- </body> -->ICP备<b>2024012345</b>号-1",
    ] {
        check(&format!("<html><body><p>{LINK}{shown}</p></body></html>"), FooterResult::Present);
        check(&format!("<html><body>{shown}</body></html>\n{LINK}"), FooterResult::Present);
        check(&format!("<html><body></body></html>\n{shown} {LINK}"), FooterResult::Present);
        check(&format!("<!doctype html>{LINK}{shown}"), FooterResult::Present);
    }
}

#[test]
fn a_page_that_shows_the_number_without_a_link_to_the_ministry_is_told() {
    for unlinked in [
        OWN.to_owned(),
        format!("<a href=\"/about\">{OWN}</a>"),
        format!("<a href=\"http://www.miitbeian.gov.cn/\">{OWN}</a>"),
        format!("<a href=\"https://www.beian.miit.gov.cn/\">{OWN}</a>"),
        format!("<a href=\"http://www.miibeian.gov.cn/\">{OWN}</a>"),
        format!("<a title=\"{}\">{OWN}</a>", "https://beian.miit.gov.cn/"),
        format!("<abbr href=\"https://beian.miit.gov.cn/\">{OWN}</abbr>"),
        format!("https://beian.miit.gov.cn/ {OWN}"),
        format!("<!-- {LINK} -->{OWN}"),
        format!("<script>'{LINK}'</script>{OWN}"),
        format!("<noscript>{LINK}</noscript>{OWN}"),
        format!("<template>{LINK}</template>{OWN}"),
        format!("<textarea>{LINK}</textarea>{OWN}"),
    ] {
        check(&format!("<html><body><p>{unlinked}</p></body></html>"), FooterResult::WrongLink);
    }
    let far = format!("<body>{LINK}{}{OWN}</body>", "x".repeat(3 * TAIL));
    assert_eq!(inject(far.as_bytes().chunks(1000), Charset::Undeclared).1, FooterResult::Present);
    let behind = format!("<body>{OWN}</body>{}{LINK}", "x".repeat(2 * TAIL));
    assert_eq!(inject(behind.as_bytes().chunks(1000), Charset::Undeclared).1, FooterResult::WrongLink);
}

#[test]
fn what_no_visitor_sees_is_not_shown() {
    for hidden in [
        "<!-- 京ICP备2024012345号-1 -->",
        "<script>'京ICP备2024012345号-1'</script>",
        "<style>/* 京ICP备2024012345号-1 */</style>",
        "<template>京ICP备2024012345号-1</template>",
        "<noscript>京ICP备2024012345号-1</noscript>",
        "<a title=\"京ICP备2024012345号-1\">x</a>",
        "<textarea>京ICP备2024012345号-1</textarea>",
        "<script>'京ICP备2024012345号-1'</script>ICP",
        "<!-- 沪ICP备2024099999号-1 -->",
    ] {
        injected(&format!("<html><head><title>x</title></head><body>{hidden}^</body></html>"));
    }
    injected("<head><title>京ICP备2024012345号-1</title></head><body>^</body>");
    injected("<head><meta content='京ICP备2024012345号-1'></head><body>^</body>");
}

#[test]
fn the_number_of_another_filing_is_told() {
    check("<body>沪ICP备2024099999号-1^</body>", FooterResult::WrongNumber);
    check("<body>京ICP备2024012345号-2^</body>", FooterResult::WrongNumber);
    for licence in [
        "浙B2-20080101-4",
        "浙Ｂ２－２００８０１０１－４",
        "合字A1.B1.B2-20190051-3",
        "浙ICP证B2-20080101-4号",
    ] {
        check(&format!("<body>{licence}^</body>"), FooterResult::WrongNumber);
    }
    check("<body>^</body>沪ICP备2024099999号-1", FooterResult::WrongNumber);
    // The subject's own number and a licence are nobody else's.
    injected("<body>京ICP备2024012345号 京ICP证030173号^</body>");
}

#[test]
fn a_number_far_behind_the_body_is_not_waited_for() {
    let far = "x".repeat(TAIL + AFTER);
    let page = format!("<body></body>{far}{OWN}");
    let mut injector = Injector::new(footer(), Charset::Declared(UTF_8));
    let (mut out, mut pushed) = (Vec::new(), 0);
    for chunk in page.as_bytes().chunks(100) {
        injector.push(Bytes::copy_from_slice(chunk), &mut |part| out.extend_from_slice(&part));
        pushed += chunk.len();
        assert!(pushed <= out.len() + TAIL + AFTER + chunk.len());
    }
    let result = injector.finish(&mut |part| out.extend_from_slice(&part));
    assert_eq!(result, FooterResult::Injected);
    assert!(inject([page.as_bytes()], Charset::Declared(UTF_8)) == (out, FooterResult::Injected));
}

#[test]
fn a_page_in_another_charset_is_read_and_written_in_it() {
    for encoding in [UTF_8, GBK, BIG5] {
        let charset = Charset::Declared(encoding);
        check_in(charset, "<body><p>網站中文^</body>", FooterResult::Injected);
        check_in(charset, "<body>中文京ICP備2024012345號-1</body>", FooterResult::WrongLink);
        check_in(charset, "<body>中文蘇ICP備2024012345號-1^</body>", FooterResult::Injected);
    }
    check_in(Charset::Declared(GBK), "<body>沪ICP备2024099999号-1^</body>", FooterResult::WrongNumber);
}

#[test]
fn a_page_may_name_its_charset_itself_wherever_it_does() {
    let style = format!("<style>{}</style>", "a{b:c}".repeat(200));
    for late in ["", &style, "<!-- <meta charset=big5> -->", "<meta name=a content='charset=utf-8'>"] {
        let page =
            |body| format!("<html><head>{late}<meta charset=gbk></head><body>中文{body}</body></html>");
        check_encoded(Charset::Undeclared, GBK, &page("^"), FooterResult::Injected);
        check_encoded(Charset::Undeclared, GBK, &page(OWN), FooterResult::WrongLink);
        check_encoded(Charset::Undeclared, GBK, &page("沪ICP备2024099999号-1^"), FooterResult::WrongNumber);
        let big5 = page("京ICP備2024012345號-1").replace("=gbk", "=big5").replace("中文", "網");
        check_encoded(Charset::Undeclared, BIG5, &big5, FooterResult::WrongLink);
        let utf8 = page("^").replace("=gbk", "=utf-8");
        let (before, after) = utf8.split_once('^').unwrap();
        let expected = [before, &String::from_utf8_lossy(&written(Charset::Declared(UTF_8))), after].concat();
        let page = [before, after].concat();
        check_bytes(page.as_bytes(), Charset::Undeclared, expected.as_bytes(), FooterResult::Injected);
    }
    // The first that is known counts, and none behind the body.
    let first = "<html><meta charset=x><meta charset=gbk><meta charset=utf-8><body>中文^</body>";
    check_encoded(Charset::Undeclared, GBK, first, FooterResult::Injected);
    check_encoded(
        Charset::Undeclared,
        UTF_8,
        "<body>中文^</body><meta charset=utf-8>",
        FooterResult::Injected,
    );
    let japanese = b"<html><meta charset=iso-2022-jp><body></body>";
    check_bytes(japanese, Charset::Undeclared, japanese, FooterResult::Skipped(SkipReason::Charset));
    assert!(!ISO_2022_JP.is_ascii_compatible());
}

#[test]
fn a_page_that_declares_nothing_is_read_as_utf_8_and_as_gbk() {
    for encoding in [UTF_8, GBK] {
        let check = |marked: &str, result| check_encoded(Charset::Undeclared, encoding, marked, result);
        check("<html><body>中文^</body></html>", FooterResult::Injected);
        check("<html><body>中文京ICP备2024012345号-1</body></html>", FooterResult::WrongLink);
        check(&format!("<html><body>{LINK}京ICP备2024012345号-1</body></html>"), FooterResult::Present);
        check("<html><body>中文沪ICP备2024099999号-1^</body></html>", FooterResult::WrongNumber);
    }
}

#[test]
fn charsets_that_the_footer_cannot_be_written_in_are_skipped() {
    let skipped = FooterResult::Skipped(SkipReason::Charset);
    let utf16: Vec<u8> = "\u{feff}<html><body></body>".encode_utf16().flat_map(u16::to_le_bytes).collect();
    check_bytes(&utf16, Charset::Declared(UTF_8), &utf16, skipped);
    check_bytes(&utf16, Charset::Declared(UTF_16LE), &utf16, skipped);
}

#[test]
fn a_huge_tag_and_a_huge_comment_pass() {
    let huge = "x".repeat(1 << 20);
    for page in [
        format!("<html><body><!-- {huge} </body> -->^</body></html>"),
        format!("<html><body><img src=\"data:{huge}</body>\">^</body></html>"),
        format!("<html><body><script>{huge}'</body>'</script>^</body></html>"),
    ] {
        let (before, after) = page.split_once('^').unwrap();
        let expected = [before.as_bytes(), &written(Charset::Undeclared), after.as_bytes()].concat();
        let page = [before, after].concat();
        for size in [7, 1000, 16 << 10, page.len()] {
            let (out, result) = inject(page.as_bytes().chunks(size), Charset::Undeclared);
            assert!(out == expected && result == FooterResult::Injected, "{size}");
        }
    }
}

#[test]
fn a_page_that_goes_too_deep_passes_unchanged() {
    let deep = "<svg><desc>".repeat(4096);
    let page = format!("<html><body>{deep}</body></html>");
    for size in [1000, page.len()] {
        let (out, result) = inject(page.as_bytes().chunks(size), Charset::Undeclared);
        assert!(out == page.as_bytes() && result == FooterResult::Failed);
    }
    let shown = format!("<html><body>{LINK}{OWN}{deep}</body></html>");
    assert_eq!(inject([shown.as_bytes()], Charset::Undeclared).1, FooterResult::Present);
    let before = format!("<html><body></body>{deep}");
    assert_eq!(inject([before.as_bytes()], Charset::Undeclared).1, FooterResult::Injected);
}

#[test]
fn a_tag_may_be_of_any_length() {
    let long = "x".repeat(2 << 20);
    for page in [
        format!("<html><body><{long}>^</body>"),
        format!(
            "<body><math><annotation-xml {long}='</body>' encoding='text/html'><style></body></style>^</body>"
        ),
    ] {
        let (before, after) = page.split_once('^').unwrap();
        let expected = [before.as_bytes(), &written(Charset::Undeclared), after.as_bytes()].concat();
        let (out, result) = inject([before, after].concat().as_bytes().chunks(4096), Charset::Undeclared);
        assert!(out == expected && result == FooterResult::Injected);
    }
}

#[test]
fn the_body_of_a_page_is_not_copied() {
    let page = Bytes::from(format!("<body>{}</body>{}", "x".repeat(5000), "y".repeat(2000)));
    let mut injector = Injector::new(footer(), Charset::Declared(UTF_8));
    let mut parts = Vec::new();
    injector.push(page.clone(), &mut |part| parts.push(part));
    injector.finish(&mut |part| parts.push(part));
    let own = |part: &Bytes| page.as_ptr_range().contains(&part.as_ptr());
    assert_eq!(parts.iter().map(own).collect::<Vec<_>>(), [true, false, true]);
    assert_eq!(parts[1], written(Charset::Declared(UTF_8)));
}

#[test]
fn what_is_kept_of_a_page_is_bounded() {
    let text = Bytes::from("<p>沪ICP备2024099999号-1 text ".repeat(100));
    let mut injector = Injector::new(footer(), Charset::Undeclared);
    for chunk in std::iter::repeat_n(text, 1000) {
        injector.push(chunk, &mut |_| {});
        let State::Reading(reading) = &injector.state else { panic!("settled") };
        assert!(reading.kept() < 1024 + 64 * AFTER, "{}", reading.kept());
    }
    // One byte at a time behind the body.
    let mut injector = Injector::new(footer(), Charset::Undeclared);
    injector.push(Bytes::from_static(b"<body></body>"), &mut |_| {});
    for _ in 0..TAIL {
        injector.push(Bytes::from_static(b"x"), &mut |_| {});
        let State::Reading(reading) = &injector.state else { panic!("settled") };
        assert!(reading.kept() < 2 * TAIL + 1024 + AFTER, "{}", reading.kept());
    }
}

/// Pieces of pages, put together at random, are nearer to trouble than random bytes.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => prop::sample::select(&[
            "<!doctype html>", "<html>", "<head>", "<body>", "</body>", "</BODY >", "</html>", "<title>", "</title>",
            "<script>", "</script>", "<!--", "-->", "<!", "<?", "<![CDATA[", "]]>", "<style>", "</style>", "<textarea>",
            "</textarea>", "<template>", "</template>", "<svg>", "</svg>", "<math>", "<plaintext>", "<frameset>",
            "<a title=\"", "'", "\"", ">", "<", "</", "/", " ", "&", "=", "ICP", OWN, LINK, "<a href=", "https://beian.miit.gov.cn", "沪ICP备2024099999号-1", "&#20140;",
            "<noscript>", "</noscript>", "<select>", "</select>", "<meta charset=gbk>", "<meta charset=utf-8>", "<meta", " charset=", "B2-20080101-4", "\u{feff}",
        ][..]).prop_map(|piece| piece.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..8),
        1 => (0usize..2000).prop_map(|length| vec![b'x'; length]),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

fn charsets() -> impl Strategy<Value = Charset> {
    prop::sample::select(vec![Charset::Undeclared, Charset::Declared(UTF_8), Charset::Declared(GBK)])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn without_the_footer_every_page_is_what_it_was(
        page in pieces(),
        charset in charsets(),
        sizes in prop::collection::vec(1usize..50, 1..20),
    ) {
        let (whole, result) = inject([&page[..]], charset);
        match result {
            FooterResult::Injected | FooterResult::WrongNumber => {
                let without = [Charset::Declared(UTF_8), Charset::Undeclared].map(written).into_iter().any(|footer| {
                    memchr::memmem::find_iter(&whole, &footer)
                        .any(|at| [&whole[..at], &whole[at + footer.len()..]].concat() == page)
                });
                prop_assert!(without, "{}", String::from_utf8_lossy(&whole));
            }
            FooterResult::Present
            | FooterResult::WrongLink
            | FooterResult::Skipped(_)
            | FooterResult::Failed => prop_assert!(whole == page),
        }
        prop_assert_eq!(&inject([&page[..]], charset), &(whole.clone(), result));
        let (mut rest, mut chunks) = (&page[..], Vec::new());
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (chunk, more) = rest.split_at(rest.len().min(*size));
            chunks.push(chunk);
            rest = more;
        }
        let (cut, cut_result) = inject(chunks, charset);
        prop_assert_eq!(String::from_utf8_lossy(&cut), String::from_utf8_lossy(&whole));
        prop_assert_eq!(cut_result, result);
    }
}
