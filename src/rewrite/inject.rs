//! The footer's way into a page that streams.
//!
//! The page's own bytes are never written anew: they pass, in their order, and the footer is put
//! between two of them at most once. What comes out does not depend on how the page was cut into chunks.

use std::collections::VecDeque;
use std::iter::Peekable;
use std::sync::Arc;

use memchr::memmem::{self, FindIter};

use super::shown::{self, Shown};
use super::tokens::{Element, Name, Tokens, Untokenizable};
use super::{Charset, Footer, FooterResult, SkipReason};

#[cfg(test)]
mod tests;

/// Puts the footer into one page. Chunks go through [`push`](Self::push), the end through
/// [`finish`](Self::finish).
#[derive(Debug)]
pub struct Injector {
    footer: Arc<Footer>,
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
    pub fn new(footer: Arc<Footer>, charset: Charset) -> Self {
        Self::with_tokens(footer, charset, Tokens::new())
    }

    fn with_tokens(footer: Arc<Footer>, charset: Charset, tokens: Tokens) -> Self {
        Self { footer, charset, state: State::Reading(Box::new(Reading::new(tokens))) }
    }

    /// Takes the next bytes of the page, and appends to `out` what can be passed on: all but the few
    /// that may begin the body's end tag, or, behind that tag, at most some 16 KiB.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) {
        let State::Reading(reading) = &mut self.state else {
            out.extend_from_slice(chunk);
            return;
        };
        if let Err(Untokenizable) = reading.push(chunk, &self.footer, out) {
            reading.release(out);
            self.state = State::Passing(FooterResult::Failed);
        } else if reading.is_decided(&self.footer, self.charset) {
            self.settle(out);
        }
    }

    /// Appends the rest of the page to `out`, and tells what became of the footer. A page that was cut
    /// off is finished by nobody: drop the injector.
    pub fn finish(mut self, out: &mut Vec<u8>) -> FooterResult {
        if let State::Reading(reading) = &mut self.state
            && reading.feed_carry().is_err()
        {
            reading.release(out);
            self.state = State::Passing(FooterResult::Failed);
        }
        self.settle(out)
    }

    fn settle(&mut self, out: &mut Vec<u8>) -> FooterResult {
        let result = match &mut self.state {
            State::Passing(result) => return *result,
            State::Reading(reading) => {
                let result = reading.verdict(&self.footer, self.charset);
                let inserted = match (result, self.charset.of_page(&reading.start)) {
                    (FooterResult::Injected | FooterResult::WrongNumber, Some(charset)) => {
                        self.footer.bytes(charset)
                    }
                    _ => &[],
                };
                if reading.body_end.is_some() {
                    out.extend_from_slice(inserted);
                    reading.release(out);
                } else {
                    reading.release(out);
                    out.extend_from_slice(inserted);
                }
                result
            }
        };
        self.state = State::Passing(result);
        result
    }
}

/// Bytes behind the body's end tag in which the number is still looked for, before the footer goes in.
const TAIL: usize = 16 << 10;
/// Bytes at the beginning in which a page names its charset, as browsers have it.
const START: usize = 1024;
/// Places looked at for a number; a page with more of them is not read any closer.
const PLACES: usize = 4096;

/// A page as far as it has been read.
#[derive(Debug)]
struct Reading {
    tokens: Tokens,
    outline: Outline,
    /// The first [`START`] bytes.
    start: Vec<u8>,
    /// The last bytes that were read, [`shown::BEFORE`] at most.
    recent: Vec<u8>,
    /// The beginning of a name, not read yet.
    carry: Vec<u8>,
    /// Bytes that were read.
    length: usize,
    /// Where the body's end tag begins.
    body_end: Option<usize>,
    /// What was read from there on.
    held: Vec<u8>,
    places: usize,
    stretches: VecDeque<Stretch>,
    shown: Option<Shown>,
}

/// The page's source around a place where a number may be shown.
#[derive(Debug)]
struct Stretch {
    before: Vec<u8>,
    after: Vec<u8>,
}

impl Reading {
    fn new(tokens: Tokens) -> Self {
        Self {
            tokens,
            outline: Outline::default(),
            start: Vec::new(),
            recent: Vec::new(),
            carry: Vec::new(),
            length: 0,
            body_end: None,
            held: Vec::new(),
            places: 0,
            stretches: VecDeque::new(),
            shown: None,
        }
    }

    /// On an error, what was not passed on is held.
    fn push(&mut self, chunk: &[u8], footer: &Footer, out: &mut Vec<u8>) -> Result<(), Untokenizable> {
        let mut joined = std::mem::take(&mut self.carry);
        let data = if joined.is_empty() {
            chunk
        } else {
            joined.extend_from_slice(chunk);
            &joined
        };
        let had_ended = self.body_end.is_some();
        let read = self.read(data, footer);
        let used = *read.as_ref().unwrap_or(&data.len());
        let passed = match self.body_end {
            Some(_) if had_ended => 0,
            Some(end) => end - self.length,
            None => used,
        };
        let (passed, kept) = data.split_at(passed.min(used));
        let (held, carry) = kept.split_at(used - passed.len());
        out.extend_from_slice(passed);
        self.held.extend_from_slice(held);
        self.carry.extend_from_slice(carry);
        self.remember(&data[..used]);
        read.map(|_| ())
    }

    /// Reads `data` but for a name that it begins and does not end; returns the bytes read.
    fn read(&mut self, data: &[u8], footer: &Footer) -> Result<usize, Untokenizable> {
        self.continue_stretches(data);
        self.look_across(data, footer);
        let mut places = Places::new(data, footer);
        let (mut fed, mut used) = (0, data.len());
        for at in memchr::memchr_iter(b'<', data) {
            let name = Name::read(&data[at..]);
            if name == Name::Other {
                continue;
            }
            while let Some(place) = places.next_before(at) {
                self.feed_until(data, &mut fed, place)?;
                self.look_at(data, place);
            }
            self.feed_until(data, &mut fed, at)?;
            let Name::Of { element, closing, end } = name else {
                used = at;
                break;
            };
            // Within a comment no name is a tag; within a script's comment its end tag is.
            if !self.tokens.at_text() && !self.outline.raw {
                continue;
            }
            fed = at + end;
            if self.tokens.feed_name(&data[at..fed])? {
                self.outline.take(element, closing);
                if element == Element::Body && closing && self.outline.templates == 0 {
                    self.body_end.get_or_insert(self.length + at);
                }
            }
        }
        while let Some(place) = places.next_before(used) {
            self.feed_until(data, &mut fed, place)?;
            self.look_at(data, place);
        }
        self.feed_until(data, &mut fed, used)?;
        Ok(used)
    }

    fn feed_until(&mut self, data: &[u8], fed: &mut usize, end: usize) -> Result<(), Untokenizable> {
        if *fed < end {
            self.tokens.feed(&data[*fed..end])?;
            *fed = end;
        }
        Ok(())
    }

    fn remember(&mut self, data: &[u8]) {
        self.length += data.len();
        self.start.extend_from_slice(&data[..data.len().min(START - self.start.len())]);
        append_last(&mut self.recent, data, shown::BEFORE);
    }

    /// Takes a stretch of the page around `place`, if it is text there.
    fn look_at(&mut self, data: &[u8], place: usize) {
        if !self.looks_at(self.length + place) {
            return;
        }
        let mut before = self.recent.clone();
        append_last(&mut before, &data[..place], shown::BEFORE);
        let after = data[place..].iter().take(shown::AFTER).copied().collect();
        self.stretches.push_back(Stretch { before, after });
    }

    /// The same for a place that begins in what was read before.
    fn look_across(&mut self, data: &[u8], footer: &Footer) {
        let behind = self.recent.len().min(LONGEST_PLACE - 1);
        let seam = self.recent.len() - behind;
        let ahead = &data[..data.len().min(LONGEST_PLACE - 1)];
        let around = [&self.recent[seam..], ahead].concat();
        let mut places = Places::new(&around, footer);
        while let Some((place, end)) = places.next_span_before(behind) {
            if end > behind && self.looks_at(self.length - behind + place) {
                let (before, begun) = self.recent.split_at(seam + place);
                let after = begun.iter().chain(data).take(shown::AFTER).copied().collect();
                self.stretches.push_back(Stretch { before: before.to_vec(), after });
            }
        }
    }

    fn looks_at(&mut self, position: usize) -> bool {
        let looks = self.tokens.at_text()
            && !self.outline.raw
            && self.outline.templates == 0
            && self.places < PLACES
            && self.body_end.is_none_or(|end| position < end + TAIL);
        self.places += usize::from(looks);
        looks
    }

    fn continue_stretches(&mut self, data: &[u8]) {
        for stretch in &mut self.stretches {
            let missing = shown::AFTER - stretch.after.len();
            stretch.after.extend_from_slice(&data[..data.len().min(missing)]);
        }
    }

    /// Reads the stretches that are whole, or all of them at the end of the page.
    fn read_stretches(&mut self, footer: &Footer, charset: Charset, at_end: bool) {
        if self.stretches.is_empty() || (self.start.len() < START && !at_end) {
            return;
        }
        let Some(charset) = charset.of_page(&self.start) else { return };
        while let Some(stretch) = self.stretches.pop_front_if(|s| at_end || s.after.len() == shown::AFTER) {
            match shown::number_at(&stretch.before, &stretch.after, charset, footer.number()) {
                Some(Shown::Own) => self.shown = Some(Shown::Own),
                Some(Shown::Other) => {
                    self.shown.get_or_insert(Shown::Other);
                }
                None => {}
            }
        }
    }

    /// Whether nothing that follows can change the verdict.
    fn is_decided(&mut self, footer: &Footer, charset: Charset) -> bool {
        self.read_stretches(footer, charset, false);
        self.shown == Some(Shown::Own)
            || self.body_end.is_some_and(|end| self.length >= end + TAIL + shown::AFTER)
    }

    fn verdict(&mut self, footer: &Footer, charset: Charset) -> FooterResult {
        self.read_stretches(footer, charset, true);
        let outline = &self.outline;
        if self.shown == Some(Shown::Own) {
            FooterResult::Present
        } else if charset.of_page(&self.start).is_none() {
            FooterResult::Skipped(SkipReason::Charset)
        } else if !outline.document && !self.tokens.doctype() {
            FooterResult::Skipped(SkipReason::Fragment)
        } else if outline.frameset {
            FooterResult::Skipped(SkipReason::Frameset)
        } else if self.body_end.is_none() && (!self.tokens.at_text() || outline.raw || outline.templates > 0)
        {
            FooterResult::Skipped(SkipReason::Unfinished)
        } else if self.shown == Some(Shown::Other) {
            FooterResult::WrongNumber
        } else {
            FooterResult::Injected
        }
    }

    /// At the end of the page, a name that was only begun is as much of it as there is.
    fn feed_carry(&mut self) -> Result<(), Untokenizable> {
        self.tokens.feed(&self.carry)
    }

    fn release(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.held);
        out.append(&mut self.carry);
    }
}

/// What the tags told of the page.
#[derive(Debug, Default)]
struct Outline {
    /// It has an html, head or body tag.
    document: bool,
    body: bool,
    /// It has frames and no body before them.
    frameset: bool,
    /// Templates that are open.
    templates: usize,
    /// An element is open whose content is no markup.
    raw: bool,
}

impl Outline {
    fn take(&mut self, element: Element, closing: bool) {
        self.raw = element == Element::Raw && !closing;
        match element {
            Element::Root => self.document = true,
            Element::Body => {
                self.document = true;
                self.body |= !closing;
            }
            Element::Frameset => self.frameset |= !closing && !self.body,
            Element::Template if closing => self.templates = self.templates.saturating_sub(1),
            Element::Template => self.templates += 1,
            Element::Raw => {}
        }
    }
}

/// Places where a number may be shown: its digits, and the letters that most numbers have.
struct Places<'d> {
    finds: [(Peekable<FindIter<'d, 'd>>, usize); 3],
}

/// The longest of what [`Places`] finds, in bytes.
const LONGEST_PLACE: usize = 16;

impl<'d> Places<'d> {
    fn new(data: &'d [u8], footer: &'d Footer) -> Self {
        let digits = footer.digits();
        Self {
            finds: [
                (digits.find_iter(data).peekable(), digits.needle().len()),
                (memmem::find_iter(data, b"ICP").peekable(), 3),
                (memmem::find_iter(data, b"icp").peekable(), 3),
            ],
        }
    }

    fn next_before(&mut self, end: usize) -> Option<usize> {
        self.next_span_before(end).map(|(place, _)| place)
    }

    fn next_span_before(&mut self, end: usize) -> Option<(usize, usize)> {
        let (_, finds, length) = self
            .finds
            .iter_mut()
            .filter_map(|(finds, length)| Some((*finds.peek()?, finds, length)))
            .min_by_key(|&(place, ..)| place)?;
        finds.next_if(|&place| place < end).map(|place| (place, place + *length))
    }
}

/// Appends, and keeps the last `most` bytes.
fn append_last(bytes: &mut Vec<u8>, more: &[u8], most: usize) {
    let more = &more[more.len().saturating_sub(most)..];
    bytes.drain(..(bytes.len() + more.len()).saturating_sub(most));
    bytes.extend_from_slice(more);
}
