//! The footer's way into a page that streams.
//!
//! The page's own bytes are never written anew: they pass, in their order, and the footer is put
//! between two of them at most once. Where does not depend on how the page was cut into chunks.

use std::collections::VecDeque;

use super::charset::START;
use super::shown::{self, AFTER, BEFORE, LONGEST_PLACE, Shown};
use super::tags::{Begun, Outline, Tag};
use super::tokens::{Tokens, Untokenizable};
use super::{Charset, Footer, FooterResult, SkipReason};

#[cfg(test)]
mod tests;

/// Puts the footer into one page. Chunks go through [`push`](Self::push), the end through
/// [`finish`](Self::finish).
#[derive(Debug)]
pub struct Injector {
    footer: Footer,
    charset: Charset,
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
        Self { footer, charset, state: State::Reading(Box::new(Reading::new())) }
    }

    /// Takes the next bytes of the page, and appends to `out` what can be passed on: all but the few
    /// that may begin the body's end tag, or, behind that tag, at most some 16 KiB.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        let State::Reading(reading) = &mut self.state else {
            out.extend_from_slice(chunk);
            return;
        };
        let read = reading.push(chunk, &self.footer, out);
        if read.is_err() && reading.body_end.is_none() {
            out.extend_from_slice(reading.held());
            self.state = State::Passing(FooterResult::Failed);
        } else if read.is_err() || reading.is_decided(&self.footer, self.charset) {
            self.settle(out);
        }
    }

    /// Appends the rest of the page to `out`, and tells what became of the footer. A page that was cut
    /// off is finished by nobody: drop the injector.
    pub fn finish(mut self, out: &mut Vec<u8>) -> FooterResult {
        self.settle(out)
    }

    fn settle(&mut self, out: &mut Vec<u8>) -> FooterResult {
        let reading = match &mut self.state {
            State::Passing(result) => return *result,
            State::Reading(reading) => reading,
        };
        let result = reading.verdict(&self.footer, self.charset);
        let footer = match (result, self.charset.of_page(&reading.start)) {
            (FooterResult::Injected | FooterResult::WrongNumber, Some(charset)) => self.footer.bytes(charset),
            _ => (&[]).into(),
        };
        let (before, after) = match reading.body_end {
            Some(_) => (&[][..], reading.held()),
            None => (reading.held(), &[][..]),
        };
        out.extend_from_slice(before);
        out.extend_from_slice(&footer);
        out.extend_from_slice(after);
        self.state = State::Passing(result);
        result
    }
}

/// Bytes behind the body's end tag in which the number is still looked for, before the footer goes in.
const TAIL: usize = 16 << 10;
/// Places looked at for a number; a page with more of them is not read any closer.
const PLACES: usize = 4096;
/// Bytes that are done with are dropped once there are so many.
const DONE: usize = 4096;

/// A page as far as it has been read. Places are indices of `source`.
#[derive(Debug)]
struct Reading {
    tokens: Tokens,
    outline: Outline,
    /// The first [`START`] bytes.
    start: Vec<u8>,
    /// The end of what was read, as far as it is needed.
    source: Vec<u8>,
    /// How far it has been passed on.
    passed: usize,
    /// How far the tokenizer has got it: all of it but a name that is only begun.
    fed: usize,
    /// Where the body's end tag begins; nothing from there on is passed.
    body_end: Option<usize>,
    /// Text where a number may be shown, to be judged when enough of what follows has come.
    places: VecDeque<usize>,
    looked_at: usize,
    shown: Option<Shown>,
}

impl Reading {
    fn new() -> Self {
        Self {
            tokens: Tokens::new(),
            outline: Outline::default(),
            start: Vec::new(),
            source: Vec::new(),
            passed: 0,
            fed: 0,
            body_end: None,
            places: VecDeque::new(),
            looked_at: 0,
            shown: None,
        }
    }

    fn push(&mut self, chunk: &[u8], footer: &Footer, out: &mut Vec<u8>) -> Result<(), Untokenizable> {
        self.forget();
        self.start.extend_from_slice(&chunk[..chunk.len().min(START - self.start.len())]);
        self.source.extend_from_slice(chunk);
        let source = std::mem::take(&mut self.source);
        let read = self.read(&source, footer);
        let end = self.body_end.unwrap_or(self.fed);
        out.extend_from_slice(&source[self.passed..end]);
        self.passed = end;
        self.source = source;
        read
    }

    /// Reads `source` from where it was left, but for a name that is only begun at its end.
    fn read(&mut self, source: &[u8], footer: &Footer) -> Result<(), Untokenizable> {
        let begin = self.fed;
        let mut places = shown::places(source, begin, footer.number()).into_iter().peekable();
        for at in memchr::memchr_iter(b'<', &source[begin..]).map(|at| begin + at) {
            let begun = Tag::read(&source[at..]);
            if begun == Begun::Other {
                continue;
            }
            while let Some(place) = places.next_if(|&place| place < at) {
                self.look_at(source, place)?;
            }
            self.feed(source, at)?;
            let Begun::Tag(tag) = begun else { return Ok(()) };
            if self.tokens.at_text()? {
                self.outline.take(tag);
                if tag == Tag::BODY_END && self.outline.templates == 0 {
                    self.body_end.get_or_insert(at);
                }
            }
        }
        for place in places {
            self.look_at(source, place)?;
        }
        self.feed(source, source.len())
    }

    fn feed(&mut self, source: &[u8], end: usize) -> Result<(), Untokenizable> {
        if self.fed < end {
            self.tokens.feed(&source[self.fed..end])?;
            self.fed = end;
        }
        Ok(())
    }

    /// Keeps a place for judgement if it is text.
    fn look_at(&mut self, source: &[u8], place: usize) -> Result<(), Untokenizable> {
        self.feed(source, place)?;
        let is_near = self.body_end.is_none_or(|end| place < end + TAIL);
        let is_name = source[..place].ends_with(b"<") || source[..place].ends_with(b"</");
        if !is_near || is_name || self.outline.templates > 0 || self.looked_at == PLACES {
            return Ok(());
        }
        if self.tokens.at_text()? {
            self.looked_at += 1;
            self.places.push_back(place);
        }
        Ok(())
    }

    /// Judges the places that enough follows, or all of them at the end of the page.
    fn judge(&mut self, footer: &Footer, charset: Charset, at_end: bool) {
        if self.places.is_empty() || (self.start.len() < START && !at_end) {
            return;
        }
        let Some(charset) = charset.of_page(&self.start) else { return };
        let source = &self.source;
        while let Some(place) = self.places.pop_front_if(|place| at_end || *place + AFTER <= source.len()) {
            let before = &source[place.saturating_sub(BEFORE)..place];
            let after = &source[place..source.len().min(place + AFTER)];
            self.shown = self.shown.max(shown::number_at(before, after, charset, footer.number()));
        }
    }

    /// Whether nothing that follows can change the verdict.
    fn is_decided(&mut self, footer: &Footer, charset: Charset) -> bool {
        self.judge(footer, charset, false);
        self.shown == Some(Shown::Own)
            || self.body_end.is_some_and(|end| self.source.len() >= end + TAIL + AFTER)
    }

    fn verdict(&mut self, footer: &Footer, charset: Charset) -> FooterResult {
        self.judge(footer, charset, true);
        // A name that is only begun at the end is a tag that is.
        let is_finished = self.body_end.is_some()
            || (self.fed == self.source.len()
                && self.outline.templates == 0
                && self.tokens.at_text() == Ok(true));
        if self.shown == Some(Shown::Own) {
            FooterResult::Present
        } else if charset.of_page(&self.start).is_none() {
            FooterResult::Skipped(SkipReason::Charset)
        } else if !self.outline.document {
            FooterResult::Skipped(SkipReason::Fragment)
        } else if self.outline.frameset {
            FooterResult::Skipped(SkipReason::Frameset)
        } else if !is_finished {
            FooterResult::Skipped(SkipReason::Unfinished)
        } else if self.shown == Some(Shown::Other) {
            FooterResult::WrongNumber
        } else {
            FooterResult::Injected
        }
    }

    /// What was not passed on.
    fn held(&self) -> &[u8] {
        &self.source[self.passed..]
    }

    /// Drops what was passed on and no place that is known or to come looks back at.
    fn forget(&mut self) {
        let first = self.places.front().copied().unwrap_or(self.fed.saturating_sub(LONGEST_PLACE));
        let done = first.saturating_sub(BEFORE).min(self.passed);
        if done < DONE {
            return;
        }
        self.source.drain(..done);
        self.passed -= done;
        self.fed -= done;
        self.body_end = self.body_end.map(|end| end - done);
        self.places.iter_mut().for_each(|place| *place -= done);
    }
}
