//! A page keeps its bytes, and its footer's place does not depend on how it was cut into chunks.

#![no_main]

use encoding_rs::{GBK, UTF_8};
use icpgate::gate::FilingNumber;
use icpgate::rewrite::{Charset, Footer, FooterResult, Injector};
use libfuzzer_sys::fuzz_target;

fn inject(page: &[u8], charset: Charset, chunk: usize) -> (Vec<u8>, FooterResult) {
    let number = FilingNumber::parse("京ICP备2024012345号-1", 2026).expect("a number");
    let mut injector = Injector::new(Footer::new(&number, None), charset);
    let mut out = Vec::new();
    for chunk in page.chunks(chunk) {
        injector.push(chunk, &mut out);
    }
    let result = injector.finish(&mut out);
    (out, result)
}

fuzz_target!(|input: (u8, u8, &[u8])| {
    let (charset, chunk, page) = input;
    let charset = match charset % 3 {
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
        FooterResult::Present | FooterResult::Skipped(_) | FooterResult::Failed => assert_eq!(out, page),
    }
});
