//! A page keeps its bytes, the place of the footer does not depend on chunk boundaries, and
//! tags and text are where lol_html finds them.

#![no_main]

use bytes::Bytes;
use encoding_rs::{GBK, UTF_8};
use icpgate::gate::FilingNumber;
use icpgate::rewrite::{Charset, Footer, FooterResult, Injector, Scanner};
use libfuzzer_sys::fuzz_target;

#[path = "../../src/rewrite/scan/oracle.rs"]
mod oracle;

fn footer() -> Footer {
    Footer::new(&FilingNumber::parse("京ICP备2024012345号-1", 2026).expect("a number"), None)
}

fn inject(page: &[u8], charset: Charset, chunk: usize) -> (Vec<u8>, FooterResult) {
    let mut injector = Injector::new(footer(), charset);
    let mut out = Vec::new();
    let mut pass = |part: Bytes| out.extend_from_slice(&part);
    for chunk in page.chunks(chunk) {
        injector.push(Bytes::copy_from_slice(chunk), &mut pass);
    }
    let result = injector.finish(&mut pass);
    (out, result)
}

/// Without SVG and MathML, or without `/>`: lol_html treats `<svg/>` as open.
fn comparable(page: &[u8], foreign: bool) -> Vec<u8> {
    let mut page = oracle::without_empty_values(page);
    for place in 0..page.len() {
        let rest = &page[place..];
        let is_foreign = |name: &[u8]| rest.get(..name.len()).is_some_and(|s| s.eq_ignore_ascii_case(name));
        if foreign && rest.starts_with(b"/>") {
            page[place] = b' ';
        } else if !foreign && (is_foreign(b"svg") || is_foreign(b"math")) {
            page[place] = b'x';
        }
    }
    page
}

fn compare(page: &[u8]) {
    let mut scanner = Scanner::default();
    let mut own = Vec::new();
    for (place, byte) in page.iter().enumerate() {
        let was_text = scanner.is_text();
        scanner.pass(&[*byte]);
        if oracle::is_question(page, place) {
            own.push(if *byte == b'<' { scanner.begun() == 1 } else { was_text });
        }
    }
    own.push(scanner.is_text() || scanner.begun() == 1);
    assert_eq!(own, oracle::answers(page), "{}", String::from_utf8_lossy(page));
}

fuzz_target!(|input: (u8, u8, &[u8])| {
    let (kind, chunk, page) = input;
    let charset = match kind % 3 {
        0 => Charset::Undeclared,
        1 => Charset::Declared(UTF_8),
        _ => Charset::Declared(GBK),
    };
    let (out, result) = inject(page, charset, page.len().max(1));
    assert_eq!((&out, result), (&inject(page, charset, usize::from(chunk).max(1)).0, result));
    match result {
        FooterResult::Injected | FooterResult::WrongNumber => {
            let before = out.iter().zip(page).take_while(|(one, other)| one == other).count();
            assert!(out.len() > page.len() && out.ends_with(&page[before..]));
        }
        FooterResult::Present
        | FooterResult::WrongLink
        | FooterResult::Skipped(_)
        | FooterResult::Failed => assert_eq!(out, page),
    }
    compare(&comparable(page, kind >= 128));
});
