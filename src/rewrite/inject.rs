//! Inserts the footer into a page that streams.
//!
//! The page's own bytes pass unchanged and in order; the footer goes between two of them, at most once. Its place does
//! not depend on how the page is cut into chunks.

mod reading;

use bytes::Bytes;

pub(super) use self::reading::read_whole;
use self::reading::{Reading, pass};
use super::{Charset, Footer, FooterResult, FooterSettings};
use crate::gate::{FilingNumber, PublicSecurityNumber};

#[cfg(test)]
mod tests;

/// Whether the footer of these settings shows a number and links to the ministry, as a visitor sees it.
pub fn shows_number_and_link(settings: &FooterSettings) -> bool {
    let number = FilingNumber::parse("京ICP备2024012345号-1", i16::MAX);
    let security = PublicSecurityNumber::parse("京公网安备11010502030143号");
    let (Ok(number), Ok(security)) = (number, security) else { return false };
    let footer = Footer::of(settings, &number, Some(&security));
    let charset = Charset::Declared(encoding_rs::UTF_8);
    let mut page = Vec::new();
    let mut injector = Injector::new(footer.clone(), charset);
    injector
        .push(Bytes::from_static(b"<!doctype html><body></body>"), &mut |part| page.extend_from_slice(&part));
    injector.finish(&mut |part| page.extend_from_slice(&part));
    let mut again = Injector::new(footer, charset);
    again.push(page.into(), &mut |_| {});
    again.finish(&mut |_| {}) == FooterResult::Present
}

/// Inserts the footer into one page: [`push`](Self::push) every chunk, then [`finish`](Self::finish).
#[derive(Debug)]
pub struct Injector {
    footer: Footer,
    state: State,
}

#[derive(Debug)]
enum State {
    Reading(Box<Reading>),
    /// The result is settled; the rest passes unread.
    Passing(FooterResult),
}

impl Injector {
    /// For a page whose head [`plan`](super::plan) judged [`Rewrite::Inject`](super::Rewrite::Inject).
    pub fn new(footer: Footer, charset: Charset) -> Self {
        Self { footer, state: State::Reading(Box::new(Reading::new(charset))) }
    }

    /// Takes the next bytes and passes them on without copying, except for what is held back: up to 6 bytes that may
    /// begin `</body`, and behind that tag up to 16 KiB.
    pub fn push(&mut self, chunk: Bytes, out: &mut impl FnMut(Bytes)) {
        match &mut self.state {
            State::Reading(reading) => {
                reading.push(chunk, self.footer.search(), out);
                if reading.is_decided() {
                    self.settle(out);
                }
            }
            State::Passing(_) => pass(chunk, out),
        }
    }

    /// Passes on the rest and returns the result. For a page that was cut off, drop the injector instead.
    pub fn finish(mut self, out: &mut impl FnMut(Bytes)) -> FooterResult {
        self.settle(out)
    }

    fn settle(&mut self, out: &mut impl FnMut(Bytes)) -> FooterResult {
        let reading = match &mut self.state {
            State::Passing(result) => return *result,
            State::Reading(reading) => reading,
        };
        let (result, footer) = reading.verdict(&self.footer);
        pass(footer, out);
        reading.release(out);
        self.state = State::Passing(result);
        result
    }
}
