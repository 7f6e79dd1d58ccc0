//! Inserts the footer into a page that streams.
//!
//! The page's own bytes pass unchanged and in order; the footer goes between two of them, at most once. Its place does
//! not depend on how the page is cut into chunks.

mod reading;

use bytes::Bytes;

use self::reading::{Reading, pass};
use super::{Charset, Footer, FooterResult};

#[cfg(test)]
mod tests;

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
                reading.push(chunk, &self.footer, out);
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
