//! The footer's way into a page that streams.
//!
//! The page's own bytes are never written anew: they pass, in their order, and the footer is put
//! between two of them at most once. Where does not depend on how the page was cut into chunks.

mod reading;

use bytes::Bytes;

use self::reading::{Reading, pass};
use super::{Charset, Footer, FooterResult};

#[cfg(test)]
mod tests;

/// Puts the footer into one page. Chunks go through [`push`](Self::push), the end through
/// [`finish`](Self::finish).
#[derive(Debug)]
pub struct Injector {
    footer: Footer,
    state: State,
}

#[derive(Debug)]
enum State {
    Reading(Box<Reading>),
    /// What became of the footer is settled; the rest passes unread.
    Passing(FooterResult),
}

impl Injector {
    /// For a page whose head was judged [`Rewrite::Inject`](super::Rewrite::Inject) with this charset.
    pub fn new(footer: Footer, charset: Charset) -> Self {
        Self { footer, state: State::Reading(Box::new(Reading::new(charset))) }
    }

    /// Takes the next bytes of the page, and passes on what can be: all but the few that may begin the
    /// body's end tag, or, behind that tag, at most some 16 KiB. What is passed is the chunk's own
    /// memory, but for those few.
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

    /// Passes on the rest of the page, and tells what became of the footer. A page that was cut off is
    /// finished by nobody: drop the injector.
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
