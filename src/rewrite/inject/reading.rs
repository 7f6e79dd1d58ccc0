//! A page as far as it has been read: what it shows, where its body ends, and what is not passed yet.
//!
//! Places are counted from the beginning of the page. What is kept of it is bounded: what may begin
//! the body's end tag, what follows that tag, and what stands around a place where a number may be.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;
use encoding_rs::Encoding;

use crate::rewrite::scan::Scanner;
use crate::rewrite::shown::{self, AFTER, BEFORE, LONGEST_PLACE, Shown};
use crate::rewrite::tags::{Outline, Tag};
use crate::rewrite::{Charset, Footer, FooterResult, SkipReason};

/// Bytes behind the body's end tag in which the number is still looked for, before the footer goes in.
pub(super) const TAIL: usize = 16 << 10;
/// Places looked at for a number; a page with more of them is not read any closer.
const PLACES: usize = 4096;
/// What stands before the byte that ends the name of the body's end tag.
const BODY_END: usize = b"</body".len();

/// A held piece of fewer bytes is copied, so that few pieces are held, and no buffer waits for a few bytes.
const SHORT: usize = 1024;

#[derive(Debug)]
pub(super) struct Reading {
    scanner: Scanner,
    outline: Outline,
    charset: PageCharset,
    /// How much of the page was read.
    read: usize,
    /// Where the body's end tag begins; nothing from there on is passed.
    body_end: Option<usize>,
    held: Held,
    /// The end of what was read, as far as a place needs it.
    recent: Vec<u8>,
    /// Text where a number may be shown, to be judged when enough of what follows has come.
    places: VecDeque<usize>,
    looked_at: usize,
    shown: Option<Shown>,
}

/// What was not passed on.
#[derive(Debug, Default)]
struct Held {
    pieces: Vec<Bytes>,
    /// Short pieces behind those.
    last: Vec<u8>,
}

#[derive(Debug)]
enum PageCharset {
    /// Only this much of the page has come, which does not tell.
    Unknown(Charset, Vec<u8>),
    /// `None`: one that is no superset of ASCII.
    Known(Option<&'static Encoding>),
}

impl Reading {
    pub(super) fn new(charset: Charset) -> Self {
        Self {
            scanner: Scanner::default(),
            outline: Outline::default(),
            charset: PageCharset::Unknown(charset, Vec::new()),
            read: 0,
            body_end: None,
            held: Held::default(),
            recent: Vec::new(),
            places: VecDeque::new(),
            looked_at: 0,
            shown: None,
        }
    }

    /// Reads the next bytes, and passes on what can be.
    pub(super) fn push(&mut self, chunk: Bytes, footer: &Footer, out: &mut impl FnMut(Bytes)) {
        let begins = self.read;
        let was_found = self.body_end.is_some();
        self.read(&chunk, footer);
        self.judge(&chunk, footer, false);
        self.keep_recent(&chunk);
        // Where what is held begins: what was held may be the beginning of a tag that goes on here.
        let hold = self.body_end.unwrap_or(self.read - self.scanner.begun());
        if hold >= begins && !was_found {
            self.held.release(out);
        }
        let passed = hold.saturating_sub(begins);
        pass(chunk.slice(..passed), out);
        self.held.hold(chunk.slice(passed..));
    }

    /// Whether nothing that follows can change the verdict.
    pub(super) fn is_decided(&self) -> bool {
        self.shown == Some(Shown::Own) || self.body_end.is_some_and(|end| self.read >= end + TAIL + AFTER)
    }

    /// What becomes of the footer if nothing follows, and the bytes to put in.
    pub(super) fn verdict(&mut self, footer: &Footer) -> (FooterResult, Bytes) {
        self.judge(&[], footer, true);
        let skipped = |reason| (FooterResult::Skipped(reason), Bytes::new());
        let is_finished = self.body_end.is_some() || (self.outline.templates == 0 && self.scanner.is_text());
        if self.shown == Some(Shown::Own) {
            return (FooterResult::Present, Bytes::new());
        }
        if self.body_end.is_none() && self.scanner.is_lost() {
            return (FooterResult::Failed, Bytes::new());
        }
        let Some(charset) = self.charset.at_end() else { return skipped(SkipReason::Charset) };
        if !self.outline.document {
            skipped(SkipReason::Fragment)
        } else if self.outline.frameset {
            skipped(SkipReason::Frameset)
        } else if !is_finished {
            skipped(SkipReason::Unfinished)
        } else if self.shown == Some(Shown::Other) {
            (FooterResult::WrongNumber, footer.bytes(charset))
        } else {
            (FooterResult::Injected, footer.bytes(charset))
        }
    }

    /// Passes on what was held.
    pub(super) fn release(&mut self, out: &mut impl FnMut(Bytes)) {
        self.held.release(out);
    }

    /// Bytes of memory that the page's bytes and places take.
    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        let held: usize = self.held.pieces.iter().map(Bytes::len).sum();
        let places = self.places.capacity() * size_of::<usize>();
        held + self.held.last.capacity() + self.recent.capacity() + places
    }

    fn read(&mut self, chunk: &[u8], footer: &Footer) {
        self.charset.learn(chunk);
        let mut at = 0;
        for place in self.places_across(chunk, footer) {
            // Nothing in it but its own bytes, which neither begin nor end a tag.
            let is_text = self.scanner.is_text() && self.byte_before(place) != Some(b'<');
            self.look_at(place, is_text);
        }
        for place in self.charset.places(chunk, footer) {
            self.scan(&chunk[..place.start], &mut at);
            self.look_at(self.read + place.start, self.scanner.is_text());
        }
        self.scan(chunk, &mut at);
        self.read += chunk.len();
    }

    fn scan(&mut self, bytes: &[u8], at: &mut usize) {
        while let Some(tag) = self.scanner.read(bytes, at) {
            self.outline.take(tag);
            if tag == Tag::BodyEnd && self.outline.templates == 0 {
                self.body_end.get_or_insert(self.read + *at - BODY_END);
            }
        }
    }

    /// Where a number may be shown that is cut by the beginning of this chunk.
    fn places_across(&self, chunk: &[u8], footer: &Footer) -> Vec<usize> {
        if self.recent.is_empty() {
            return Vec::new();
        }
        let before = &self.recent[self.recent.len().saturating_sub(LONGEST_PLACE)..];
        let after = &chunk[..chunk.len().min(LONGEST_PLACE)];
        let mut both = [0; 2 * LONGEST_PLACE];
        both[..before.len()].copy_from_slice(before);
        both[before.len()..][..after.len()].copy_from_slice(after);
        let found = self.charset.places(&both[..before.len() + after.len()], footer).into_iter();
        found
            .filter(|place| place.start < before.len() && place.end > before.len())
            .map(|place| self.read - before.len() + place.start)
            .collect()
    }

    fn byte_before(&self, place: usize) -> Option<u8> {
        let behind = self.read - place;
        self.recent.get(self.recent.len().checked_sub(behind + 1)?).copied()
    }

    /// Keeps a place for judgement.
    fn look_at(&mut self, place: usize, is_text: bool) {
        let is_near = self.body_end.is_none_or(|end| place < end + TAIL);
        if is_text && is_near && self.outline.templates == 0 && self.looked_at < PLACES {
            self.looked_at += 1;
            self.places.push_back(place);
        }
    }

    /// Judges the places that enough follows, or all of them at the end of the page. `chunk` is what was
    /// read last and is not among the recent bytes.
    fn judge(&mut self, chunk: &[u8], footer: &Footer, at_end: bool) {
        let charset = match &self.charset {
            PageCharset::Known(charset) => *charset,
            PageCharset::Unknown(..) if at_end => self.charset.at_end(),
            PageCharset::Unknown(..) => return,
        };
        let Some(charset) = charset else { return };
        let begins = self.read - chunk.len();
        let source = |from: usize, to: usize| match from.checked_sub(begins) {
            Some(from) => Cow::Borrowed(&chunk[from..to - begins]),
            None => {
                let start = begins - self.recent.len();
                let recent = &self.recent[from - start..to.min(begins) - start];
                Cow::Owned([recent, &chunk[..to.saturating_sub(begins)]].concat())
            }
        };
        while let Some(place) = self.places.pop_front_if(|place| at_end || *place + AFTER <= self.read) {
            let before = source(place.saturating_sub(BEFORE), place);
            let after = source(place, self.read.min(place + AFTER));
            self.shown = self.shown.max(shown::number_at(&before, &after, charset, footer.number()));
        }
    }

    /// Keeps the end of the page so far, as much as the places that are known or to come look back at.
    fn keep_recent(&mut self, chunk: &[u8]) {
        let first = self.places.front().copied().unwrap_or(self.read.saturating_sub(LONGEST_PLACE));
        let kept = (self.read - first + BEFORE).min(self.recent.len() + chunk.len());
        match kept.checked_sub(chunk.len()) {
            None => {
                self.recent.clear();
                self.recent.extend_from_slice(&chunk[chunk.len() - kept..]);
            }
            Some(older) => {
                self.recent.drain(..self.recent.len() - older);
                self.recent.extend_from_slice(chunk);
            }
        }
    }
}

impl Held {
    fn hold(&mut self, bytes: Bytes) {
        if bytes.len() < SHORT {
            self.last.extend_from_slice(&bytes);
        } else {
            self.close_last();
            self.pieces.push(bytes);
        }
    }

    fn close_last(&mut self) {
        if !self.last.is_empty() {
            self.pieces.push(Bytes::from(std::mem::take(&mut self.last)));
        }
    }

    fn release(&mut self, out: &mut impl FnMut(Bytes)) {
        self.close_last();
        self.pieces.drain(..).for_each(|piece| pass(piece, out));
    }
}

impl PageCharset {
    fn learn(&mut self, chunk: &[u8]) {
        let Self::Unknown(charset, start) = self else { return };
        let missing = charset.start() - start.len();
        let known = match chunk.get(..missing) {
            Some(beginning) if start.is_empty() => charset.of_page(beginning),
            Some(rest) => charset.of_page(&[start, rest].concat()),
            None => return start.extend_from_slice(chunk),
        };
        *self = Self::Known(known);
    }

    /// What it is if nothing follows.
    fn at_end(&self) -> Option<&'static Encoding> {
        match self {
            Self::Unknown(charset, start) => charset.of_page(start),
            Self::Known(known) => *known,
        }
    }

    /// Where a number may be shown in a page of this charset.
    fn places(&self, bytes: &[u8], footer: &Footer) -> Vec<Range<usize>> {
        match self {
            Self::Unknown(..) => footer.needles().places(bytes, None),
            Self::Known(Some(charset)) => footer.needles().places(bytes, Some(charset)),
            Self::Known(None) => Vec::new(),
        }
    }
}

/// Passes on bytes, if there are any.
pub(super) fn pass(bytes: Bytes, out: &mut impl FnMut(Bytes)) {
    if !bytes.is_empty() {
        out(bytes);
    }
}
