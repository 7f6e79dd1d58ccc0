use proptest::prelude::*;

use super::oracle::{Tokens, answers, is_question, without_empty_values};
use super::*;

/// Reads a chunk, and appends the tags that matter with the place behind their names.
fn read(scanner: &mut Scanner, chunk: &[u8], begins: usize, tags: &mut Vec<(usize, Tag)>) {
    let mut at = 0;
    while let Some(tag) = scanner.read(chunk, &mut at) {
        tags.push((begins + at, tag));
    }
    assert_eq!(at, chunk.len());
}

/// What a scanner says of a page in these chunks.
fn scan<'c>(chunks: impl IntoIterator<Item = &'c [u8]>) -> (Vec<(usize, Tag)>, bool, usize, bool) {
    let (mut scanner, mut tags, mut begins) = (Scanner::default(), Vec::new(), 0);
    for chunk in chunks {
        read(&mut scanner, chunk, begins, &mut tags);
        begins += chunk.len();
    }
    (tags, scanner.is_text(), scanner.begun(), scanner.is_lost())
}

/// The scanner's answers to what the oracle is asked; `None` if the page has an `<svg/>` or `<math/>`,
/// which lol_html takes for open.
fn own_answers(page: &[u8]) -> Option<Vec<bool>> {
    let (mut scanner, mut own) = (Scanner::default(), Vec::new());
    for (place, byte) in page.iter().enumerate() {
        let is_open = scanner.is_text() || scanner.state == State::TagOpen;
        if is_question(page, place) {
            own.push(if *byte == b'<' { is_open } else { scanner.is_text() });
        }
        if scanner.state == State::InTag
            && matches!(scanner.element, Element::Svg | Element::Math)
            && page[..=place].ends_with(b"/>")
        {
            return None;
        }
        read(&mut scanner, &[*byte], place, &mut Vec::new());
    }
    // At the end, a `<` that was begun is asked about as if it were text.
    own.push(scanner.is_text() || scanner.state == State::TagOpen);
    Some(own)
}

#[track_caller]
fn check(page: &[u8]) {
    let page = without_empty_values(page);
    let Some(own) = own_answers(&page) else { return };
    assert_eq!(own, answers(&page), "{}", String::from_utf8_lossy(&page));
}

/// Whether the end is text, said of the whole, byte by byte, and cut in two everywhere.
#[track_caller]
fn check_end(page: &str, expected: bool) {
    let bytes = page.as_bytes();
    let whole = scan([bytes]);
    assert_eq!(whole.1, expected, "{page}");
    assert_eq!(scan(bytes.chunks(1)), whole, "{page}, byte by byte");
    for place in 0..bytes.len() {
        let (first, second) = bytes.split_at(place);
        assert_eq!(scan([first, second]), whole, "{page}, cut at {place}");
    }
}

#[test]
fn text_is_told_from_everything_else() {
    for text in [
        "",
        "<p>text",
        "<p>a < b",
        "a &",
        "a <1",
        "</>",
        "</ x>",
        "<!doctype html>",
        "<!DOCTYPE html PUBLIC \">",
        "<!doctyp>",
        "<!>",
        "<!->",
        "<!-- x -->",
        "<!-->",
        "<!--->",
        "<!---->",
        "<!-- --!>",
        "<!-- ---!>",
        "<!-- --!--!>",
        "<!-- <!-- -->",
        "<!-- <!-->",
        "<?php ?>",
        "<![CDATA[ > ",
        "<script></script>",
        "<script></script >",
        "<SCRIPT></sCript/>",
        "<script src=></script>",
        "<script><!-- <script> </script> --></script>",
        "<script><!-- <script> </script> </script>",
        "<script><!--></script>",
        "<script><!-- --></script>",
        "<script><!-- <scripty> </script>",
        "<svg><title>",
        "<svg><style>",
        "<svg><script>",
        "<svg/><style></style>",
        "<svg><![CDATA[ ]]>",
        "<svg><![CDATA[ ]]]>",
        "<svg><font color=red><style></style>",
        "<math><mi><style></style>",
        "<math><annotation-xml encoding='text/HTML'><style></style>",
        "<template>",
        "<svg><style/>",
        "<a title='>'>",
        "<a title=\"'>\">",
        "<a title='\">'>",
        "<a ==\">\">",
        "<a =\">",
        "<a b = \">\">",
        "<a b=c\">",
        "<a /=\">",
        "<a/b=\">\"/>",
        "<textarea><b></textarea>",
        "<title><b></title\n>",
        "<style></styles></style>",
    ] {
        check_end(text, true);
        check(text.as_bytes());
    }
    for other in [
        "<p",
        "a <",
        "</",
        "</p",
        "<!",
        "<!-",
        "<!--",
        "<!-- ",
        "<!-- -",
        "<!-- --",
        "<!-- -- >",
        "<!--!>",
        "<!---!>",
        "<!-- --!",
        "<!-- --!->",
        "<!doctype",
        "<?php ",
        "<a ",
        "<a title",
        "<a title=",
        "<a title=\"",
        "<a title=\">",
        "<a title=x",
        "<a title=\"x\"",
        "<a title = '>",
        "<br/",
        "<script>",
        "<script src=>",
        "<script>'<",
        "<script></scrip",
        "<script></script",
        "<script></scriptx>",
        "<script><!-- <script> ",
        "<script><!-- <script> </script> ",
        "<script><!-- <script> -- </script> ",
        "<script><!-- <script></scripty></script>",
        "<style>",
        "<style></styl>",
        "<title>",
        "<textarea>",
        "<noscript>",
        "<noframes>",
        "<noembed>",
        "<iframe>",
        "<xmp>",
        "<plaintext></plaintext>",
        "<svg><![CDATA[",
        "<svg><![CDATA[ ]]",
        "<svg><p><style>",
        "<svg><desc><style>",
        "<svg><desc/><p><style>",
        "<svg/><style>",
        "<svg><font color=red><style>",
        "<svg><font x=color><![CDATA[ >",
        "<math><annotation-xml encoding='text/html'><style>",
        "<math><annotation-xml encoding='text/html'></annotation-xml><![CDATA[ >",
    ] {
        check_end(other, false);
        check(other.as_bytes());
    }
}

#[test]
fn tags_that_matter_are_told_with_their_places() {
    let tags = |page: &str| scan([page.as_bytes()]).0;
    assert_eq!(
        tags("<!DocType html><html><head></head><BODY x='<body>'></body\n></html>"),
        [
            (9, Tag::Root),
            (20, Tag::Root),
            (26, Tag::Root),
            (33, Tag::Root),
            (39, Tag::Body),
            (57, Tag::BodyEnd),
            (65, Tag::Root)
        ]
    );
    assert_eq!(tags("<template></template><frameset></frameset>").len(), 3);
    assert_eq!(tags("<bodyx></ body><!-- <body> --><title><body></title><body"), []);
}

#[test]
fn what_may_begin_the_end_tag_of_a_body_is_told() {
    for (page, begun) in [
        ("x", 0),
        ("x <", 1),
        ("x </", 2),
        ("x </b", 3),
        ("x </BODY", 6),
        ("x </bodyx", 0),
        ("x </p", 0),
        ("x <b", 0),
        ("x </body ", 0),
        ("<!-- </bod", 0),
    ] {
        assert_eq!(scan([page.as_bytes()]).2, begun, "{page}");
        assert_eq!(scan(page.as_bytes().chunks(1)).2, begun, "{page}");
    }
}

#[test]
fn a_page_that_goes_too_deep_is_lost() {
    let deep = "<svg><desc>".repeat(1000);
    assert!(!scan([deep.as_bytes()]).3);
    let (tags, is_text, _, is_lost) = scan([[&*deep.repeat(3), "<body>"].concat().as_bytes()]);
    assert!(tags.is_empty() && !is_text && is_lost);
}

/// Constructs and halves of them, put together at random.
fn pages() -> impl Strategy<Value = Vec<u8>> {
    let whole = prop::sample::select(
        &[
            "<p>",
            "</p>",
            "<a href=\"/x\">",
            "</a>",
            "<br/>",
            "<div class=x id='y'>",
            "text",
            " ",
            "\n",
            "0",
            "<!doctype html>",
            "<html>",
            "<head>",
            "<body>",
            "</body>",
            "</BODY >",
            "<title>",
            "</title>",
            "<textarea>",
            "</textarea>",
            "<script>",
            "</script>",
            "<script src=x>",
            "</script ",
            "<style>",
            "</style>",
            "<xmp>",
            "</xmp>",
            "<iframe>",
            "</iframe>",
            "<noembed>",
            "</noembed>",
            "<noframes>",
            "</noframes>",
            "<noscript>",
            "</noscript>",
            "<plaintext>",
            "<template>",
            "</template>",
            "<frameset>",
            "<!--",
            "-->",
            "--!>",
            "<!-->",
            "<!--->",
            "<!---->",
            "<?x",
            "</ ",
            "<![CDATA[",
            "]]>",
            "<svg>",
            "</svg>",
            "<svg x=\"/>\">",
            "<math>",
            "</math>",
            "<mi>",
            "</mi>",
            "<mtext/>",
            "<desc>",
            "</desc>",
            "<desc/>",
            "<foreignObject>",
            "</foreignobject>",
            "<svg><title>",
            "<annotation-xml encoding=text/html>",
            "<annotation-xml encoding='application/xhtml+xml' >",
            "<annotation-xml>",
            "</annotation-xml>",
            "<font>",
            "<font color>",
            "<font size = 2>",
            "<h1>",
            "<span>",
            "<select>",
            "</x-y>",
        ][..],
    );
    let part = prop::sample::select(
        &[
            "<",
            ">",
            "/",
            "!",
            "-",
            "--",
            "=",
            "\"",
            "'",
            "?",
            "]",
            "[",
            "&",
            "a",
            "x=",
            " y",
            "\t",
            "\0",
            "é",
            "</",
            "<!",
            "<!-",
            "<!d",
            "<!doctyp",
            "<![CDA",
            "</s",
            "</scr",
            "ipt",
            "script",
            "<scr",
            "body",
            "<b",
            "</b",
            "title",
            "svg",
            "<sv",
            "g",
            "math",
            "color",
            "encoding",
            "=text/html",
            "0<0",
            "<0",
        ][..],
    );
    let piece = prop_oneof![
        6 => whole.prop_map(|piece| piece.as_bytes().to_vec()),
        5 => part.prop_map(|piece| piece.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..4),
        1 => (0usize..80).prop_map(|length| vec![b'x'; length]),
    ];
    prop::collection::vec(piece, 0..50).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tags_and_text_are_where_lol_html_has_them(page in pages()) {
        check(&page);
    }

    #[test]
    fn the_answers_do_not_depend_on_the_chunks(page in pages(), sizes in prop::collection::vec(1usize..20, 1..8)) {
        let whole = scan([&page[..]]);
        prop_assert_eq!(&scan(page.chunks(1)), &whole);
        let (mut rest, mut chunks) = (&page[..], Vec::new());
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (chunk, more) = rest.split_at(rest.len().min(*size));
            chunks.push(chunk);
            rest = more;
        }
        prop_assert_eq!(scan(chunks), whole);
    }

    #[test]
    fn what_the_oracle_is_asked_means_nothing_to_the_page(page in pages(), asked in any::<u64>()) {
        let (mut plain, mut questioned) = (Tokens::new(), Tokens::new());
        plain.feed(&page);
        for (place, byte) in page.iter().enumerate() {
            if is_question(&page, place) && asked >> (place % 64) & 1 == 1 {
                questioned.at_text();
            }
            questioned.feed(&[*byte]);
        }
        prop_assert_eq!(plain.at_text(), questioned.at_text());
    }
}
