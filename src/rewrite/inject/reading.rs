//! A page as it is read: what it shows, where its body ends, and which bytes are held back.
//!
//! Places count bytes from the start of the page. What is kept is bounded: a possible start of `</body`, what
//! follows that tag, and the surroundings of places where a number may stand.

use std::borrow::Cow;
use std::collections::VecDeque;

use bytes::Bytes;

use crate::rewrite::charset::{Known, PageCharset};
use crate::rewrite::existing_number::{
    AFTER, BEFORE, ExistingNumber, LONGEST_LANDMARK, Landmark, NumberSearch, number_at,
};
use crate::rewrite::ministry_link::is_link;
use crate::rewrite::scan::Scanner;
use crate::rewrite::sniff::{Kind, Sniffer};
use crate::rewrite::tags::{Outline, Tag};
use crate::rewrite::{Charset, Footer, FooterResult, SkipReason};

/// Bytes behind the body's end tag in which a number is still looked for, before the footer goes in.
pub(super) const TAIL: usize = 16 << 10;
/// Places judged in one page; further ones are not.
const PLACES: usize = 4096;
/// The length of the body's end tag up to the byte that ends its name.
const BODY_END: usize = b"</body".len();

/// Shorter pieces are copied when held, so that no large buffer is kept for a few bytes.
const SHORT: usize = 1024;

/// Whose number a whole page shows, and what is known of its charset at its end.
pub(in crate::rewrite) fn read_whole(
    page: Bytes,
    charset: Charset,
    search: &NumberSearch,
) -> (Option<ExistingNumber>, Known) {
    let mut reading = Reading::new(charset);
    reading.push(page, search, &mut |_| {});
    reading.judge(&[], search, true);
    (reading.existing, reading.charset.known())
}

#[derive(Debug)]
pub(super) struct Reading {
    sniffer: Sniffer,
    kind: Option<Kind>,
    scanner: Scanner,
    outline: Outline,
    charset: PageCharset,
    /// Bytes read so far.
    read: usize,
    /// Where the body's end tag begins; nothing from there on is passed.
    body_end: Option<usize>,
    held: Held,
    /// The last bytes read, as far back as a place needs them.
    recent: Vec<u8>,
    /// Where a number or a link may stand, judged when the bytes behind it have come.
    places: VecDeque<Place>,
    /// Places found so far.
    found: usize,
    existing: Option<ExistingNumber>,
    /// Whether there is a link to the ministry.
    is_linked: bool,
}

/// A landmark in the text, or in a link.
#[derive(Clone, Copy, Debug)]
struct Place {
    at: usize,
    landmark: Landmark,
    /// What the page has declared up to here.
    charset: Known,
}

/// Bytes that are not passed on yet.
#[derive(Debug, Default)]
struct Held {
    pieces: Vec<Bytes>,
    /// Short pieces behind those.
    last: Vec<u8>,
}

impl Reading {
    pub(super) fn new(charset: Charset) -> Self {
        Self {
            sniffer: Sniffer::default(),
            kind: None,
            scanner: Scanner::default(),
            outline: Outline::default(),
            charset: PageCharset::new(charset),
            read: 0,
            body_end: None,
            held: Held::default(),
            recent: Vec::new(),
            places: VecDeque::new(),
            found: 0,
            existing: None,
            is_linked: false,
        }
    }

    /// Reads the next bytes, and passes on what need not be held.
    pub(super) fn push(&mut self, chunk: Bytes, search: &NumberSearch, out: &mut impl FnMut(Bytes)) {
        self.charset.read_mark(&chunk);
        if self.kind.is_none() {
            self.kind = self.sniffer.read(&chunk);
        }
        let begins = self.read;
        let was_found = self.body_end.is_some();
        self.read(&chunk, search);
        self.judge(&chunk, search, false);
        self.keep_recent(&chunk);
        // What was held before may be the start of a tag that goes on here.
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
        (self.existing == Some(ExistingNumber::Own) && self.is_linked)
            || (self.charset.is_mark_read() && self.kind == Some(Kind::Data))
            || self.body_end.is_some_and(|end| self.read >= end + TAIL + AFTER)
    }

    /// The result if nothing follows, and the bytes to insert.
    pub(super) fn verdict(&mut self, footer: &Footer) -> (FooterResult, Bytes) {
        self.judge(&[], footer.search(), true);
        let skipped = |reason| (FooterResult::Skipped(reason), Bytes::new());
        let is_finished = self.body_end.is_some() || (self.outline.templates == 0 && self.scanner.is_text());
        let charset = self.charset.known();
        if charset == Known::Unreadable {
            skipped(SkipReason::Charset)
        } else if self.kind == Some(Kind::Data) {
            skipped(SkipReason::Data)
        } else if self.existing == Some(ExistingNumber::Own) {
            let result = if self.is_linked { FooterResult::Present } else { FooterResult::WrongLink };
            (result, Bytes::new())
        } else if self.body_end.is_none() && self.scanner.is_lost() {
            (FooterResult::Failed, Bytes::new())
        } else if !self.outline.document {
            skipped(SkipReason::Fragment)
        } else if self.outline.frameset {
            skipped(SkipReason::Frameset)
        } else if !is_finished {
            skipped(SkipReason::Unfinished)
        } else if self.existing == Some(ExistingNumber::Other) {
            (FooterResult::WrongNumber, footer.bytes(charset))
        } else {
            (FooterResult::Injected, footer.bytes(charset))
        }
    }

    /// Passes on what is held.
    pub(super) fn release(&mut self, out: &mut impl FnMut(Bytes)) {
        self.held.release(out);
    }

    /// Bytes of memory for the page's bytes and places.
    #[cfg(test)]
    pub(super) fn kept(&self) -> usize {
        let held: usize = self.held.pieces.iter().map(Bytes::len).sum();
        let places = self.places.capacity() * size_of::<Place>();
        held + self.held.last.capacity() + self.recent.capacity() + places
    }

    fn read(&mut self, chunk: &[u8], search: &NumberSearch) {
        let mut at = 0;
        for (place, landmark) in self.places_across(chunk, search) {
            // Only the last byte of a landmark may begin a tag.
            let is_seen = self.is_seen(landmark) && self.byte_before(place) != Some(b'<');
            self.keep_place(place, landmark, is_seen);
        }
        for (place, landmark) in search.landmarks.places(chunk) {
            self.scan(&chunk[..place.start], &mut at);
            self.keep_place(self.read + place.start, landmark, self.is_seen(landmark));
        }
        self.scan(chunk, &mut at);
        self.read += chunk.len();
    }

    fn scan(&mut self, bytes: &[u8], at: &mut usize) {
        loop {
            let from = *at;
            let found = self.scanner.read(bytes, at);
            self.charset.read_meta(&bytes[from..*at]);
            let Some(tag) = found else { return };
            self.outline.take(tag);
            if self.outline.templates > 0 || self.body_end.is_some() {
                continue;
            }
            match tag {
                Tag::BodyEnd => self.body_end = Some(self.read + *at - BODY_END),
                Tag::Meta => self.charset.begin_meta(),
                _ => {}
            }
        }
    }

    /// Landmarks that are cut by the start of this chunk.
    fn places_across(&self, chunk: &[u8], search: &NumberSearch) -> Vec<(usize, Landmark)> {
        if self.recent.is_empty() {
            return Vec::new();
        }
        let before = &self.recent[self.recent.len().saturating_sub(LONGEST_LANDMARK)..];
        let after = &chunk[..chunk.len().min(LONGEST_LANDMARK)];
        let mut both = [0; 2 * LONGEST_LANDMARK];
        both[..before.len()].copy_from_slice(before);
        both[before.len()..][..after.len()].copy_from_slice(after);
        let found = search.landmarks.places(&both[..before.len() + after.len()]);
        found
            .filter(|(place, _)| place.start < before.len() && place.end > before.len())
            .map(|(place, landmark)| (self.read - before.len() + place.start, landmark))
            .collect()
    }

    fn byte_before(&self, place: usize) -> Option<u8> {
        let behind = self.read - place;
        self.recent.get(self.recent.len().checked_sub(behind + 1)?).copied()
    }

    /// Whether the scanner is where a visitor sees the text, or can follow the link.
    fn is_seen(&self, landmark: Landmark) -> bool {
        match landmark {
            Landmark::Number => self.scanner.is_text(),
            Landmark::Link => self.scanner.is_in_link(),
        }
    }

    /// Keeps a place for judgement, if a visitor sees it.
    fn keep_place(&mut self, at: usize, landmark: Landmark, is_seen: bool) {
        let is_near = self.body_end.is_none_or(|end| at < end + TAIL);
        if is_seen && is_near && self.outline.templates == 0 && self.found < PLACES {
            self.found += 1;
            self.places.push_back(Place { at, landmark, charset: self.charset.known() });
        }
    }

    /// Judges the places that enough bytes follow, or all of them at the end of the page. `chunk` was read last and
    /// is not among the recent bytes.
    fn judge(&mut self, chunk: &[u8], search: &NumberSearch, at_end: bool) {
        let begins = self.read - chunk.len();
        let source = |from: usize, to: usize| match from.checked_sub(begins) {
            Some(from) => Cow::Borrowed(&chunk[from..to - begins]),
            None => {
                let start = begins - self.recent.len();
                let recent = &self.recent[from - start..to.min(begins) - start];
                Cow::Owned([recent, &chunk[..to.saturating_sub(begins)]].concat())
            }
        };
        while let Some(place) = self.places.pop_front_if(|place| at_end || place.at + AFTER <= self.read) {
            let before = source(place.at.saturating_sub(BEFORE), place.at);
            let after = source(place.at, self.read.min(place.at + AFTER));
            match place.landmark {
                Landmark::Link => self.is_linked |= is_link(&before, &after),
                Landmark::Number => {
                    for charset in place.charset.candidates() {
                        self.existing = self.existing.max(number_at(&before, &after, charset, &search.own));
                    }
                }
            }
        }
    }

    /// Keeps the end of the page so far, as far back as known and future places look.
    fn keep_recent(&mut self, chunk: &[u8]) {
        let first = self.places.front().map_or(self.read.saturating_sub(LONGEST_LANDMARK), |place| place.at);
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

/// Passes on bytes, if there are any.
pub(super) fn pass(bytes: Bytes, out: &mut impl FnMut(Bytes)) {
    if !bytes.is_empty() {
        out(bytes);
    }
}
