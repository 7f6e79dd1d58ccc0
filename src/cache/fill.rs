//! One response on its way from an origin, as the cache sees it: judged, noted, and stored where it may be.
//!
//! What leaves is stored: a hit rewrites nothing. A fill that is dropped before its end stores nothing, and passes its
//! turn to one of those that wait.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use bytes::Bytes;
use http::header::{self, HeaderMap};
use http::{Method, StatusCode};

use super::disk::Disk;
use super::flight::{Flight, Permit};
use super::freshness::{Freshness, Times};
use super::instance::{Cache, Detached};
use super::key::Key;
use super::merge::merged;
use super::note::{Forwarded, Note};
use super::storable;
use super::stored::{PageStamp, Stored, Validators};
use super::vary::Variance;
use crate::message::fields::content_length;
use crate::message::{RequestHead, ResponseHead};
use crate::rewrite::FooterResult;

/// What the response is fetched for.
pub(crate) enum Purpose {
    /// To be stored if it may be.
    Store {
        /// `None` if the fetch is not shared.
        permit: Option<Permit>,
        /// The stored response that is revalidated.
        stale: Option<Arc<Stored>>,
        /// What a page carries now.
        stamp: PageStamp,
    },
    /// To be passed on alone.
    Pass,
}

/// A response on its way.
pub(crate) struct Fill {
    cache: Arc<Cache>,
    key: Key,
    forwarded: Forwarded,
    times: Times,
    /// `None` for what is passed on alone.
    flight: Option<Flight>,
    permit: Option<Permit>,
    stale: Option<Arc<Stored>>,
    stamp: Option<PageStamp>,
    phase: Phase,
    detached: Option<Detached>,
}

enum Phase {
    Awaited,
    Passing,
    /// It may be stored; its head has not left yet.
    Judged(Box<Judged>),
    Storing(Box<Draft>),
    /// The stored response is still good; the head of the 304 has not left yet.
    Revalidated,
    /// The stored response answers; this one is discarded. With the status of this one.
    FromStore(Arc<Stored>, u16),
}

struct Judged {
    freshness: Freshness,
    validators: Validators,
    /// The origin's `vary`, whatever leaves.
    vary: HeaderMap,
}

struct Draft {
    status: StatusCode,
    headers: HeaderMap,
    freshness: Freshness,
    validators: Validators,
    variance: Variance,
    body: Vec<u8>,
    length: Option<usize>,
}

/// What happens to a head.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Leaving {
    /// It goes to the client.
    Sent,
    /// A stored response answers in its place.
    Discarded,
}

impl Fill {
    /// A response that is asked for now, in seconds since 1970.
    pub(crate) fn new(
        cache: &Arc<Cache>,
        key: &Key,
        forwarded: Forwarded,
        purpose: Purpose,
        now: i64,
    ) -> Self {
        let (flight, permit, stale, stamp) = match purpose {
            Purpose::Pass => (None, None, None, None),
            Purpose::Store { permit, stale, stamp } => (Some(cache.begin(key)), permit, stale, Some(stamp)),
        };
        Self {
            cache: Arc::clone(cache),
            key: key.clone(),
            forwarded,
            times: Times { asked: now, received: now },
            flight,
            permit,
            stale,
            stamp,
            phase: Phase::Awaited,
            detached: None,
        }
    }

    /// The validators of the stored response, for the request to the origin.
    pub(crate) fn validators(&self) -> Option<&Validators> {
        self.stale.as_ref().map(|stale| &stale.validators).filter(|validators| !validators.is_empty())
    }

    /// Judges a final head as the origin sent it, `now` in seconds since 1970.
    pub(crate) fn judge(&mut self, asked: &RequestHead, head: &ResponseHead, now: i64) {
        self.times.received = now;
        if !asked.method.is_safe() && (head.status.is_success() || head.status.is_redirection()) {
            self.invalidate(&head.headers);
        }
        if self.flight.is_none() {
            self.phase = Phase::Passing;
            return;
        }
        if let Some(stale) = &self.stale {
            if head.status == StatusCode::NOT_MODIFIED && self.validators().is_some() {
                self.phase = Phase::Revalidated;
                return;
            }
            if is_failure(head.status) && stale.freshness.outlasts_error(now) {
                self.phase = Phase::FromStore(Arc::clone(stale), head.status.as_u16());
                self.give_up();
                return;
            }
        }
        let freshness = match asked.method {
            Method::GET => storable::freshness(head.status, &head.headers, self.times),
            _ => None,
        };
        let is_shared = freshness.is_some_and(|freshness| !freshness.is_never_fresh());
        if !head.status.is_server_error() && head.status != StatusCode::NOT_MODIFIED {
            self.cache.predict(&self.key, is_shared);
            if freshness.is_none() && self.stale.is_some() {
                self.cache.remove(&self.key);
            }
        }
        if !is_shared {
            self.give_up();
        }
        self.phase = match freshness {
            None => Phase::Passing,
            Some(freshness) => {
                let vary = head.headers.get_all(header::VARY).iter();
                Phase::Judged(Box::new(Judged {
                    freshness,
                    validators: Validators::of(&head.headers),
                    vary: vary.map(|value| (header::VARY, value.clone())).collect(),
                }))
            }
        };
    }

    /// Sees the head as it leaves, and notes in it what the cache does.
    pub(crate) fn leave(&mut self, asked: &RequestHead, head: &mut ResponseHead) -> Leaving {
        match std::mem::replace(&mut self.phase, Phase::Passing) {
            Phase::FromStore(stored, status) => {
                self.phase = Phase::FromStore(stored, status);
                return Leaving::Discarded;
            }
            Phase::Revalidated => {
                self.revalidate(&head.headers);
                return Leaving::Discarded;
            }
            Phase::Judged(judged) => self.phase = self.draft(judged, asked, head),
            Phase::Awaited | Phase::Passing | Phase::Storing(_) => {}
        }
        let note = match self.phase {
            Phase::Storing(_) => Note::Stored(self.forwarded),
            _ => Note::Forwarded(self.forwarded),
        };
        note.write(&mut head.headers);
        Leaving::Sent
    }

    fn draft(&mut self, judged: Box<Judged>, asked: &RequestHead, head: &ResponseHead) -> Phase {
        let Judged { freshness, validators, vary } = *judged;
        let length = content_length(&head.headers).ok().flatten();
        let length = length.map(|length| usize::try_from(length).unwrap_or(usize::MAX));
        let variance = Variance::of([&vary, &head.headers], &asked.headers);
        let fits = length.is_none_or(|length| length <= self.cache.max_object);
        let Some(variance) = variance.filter(|_| fits) else {
            self.cache.predict(&self.key, false);
            self.give_up();
            return Phase::Passing;
        };
        let mut headers = head.headers.clone();
        headers.remove(header::AGE);
        headers.remove(header::CONTENT_LENGTH);
        let (status, body) = (head.status, Vec::new());
        Phase::Storing(Box::new(Draft { status, headers, freshness, validators, variance, body, length }))
    }

    /// The stored response takes the fields of a 304, and its age begins anew.
    fn revalidate(&mut self, new: &HeaderMap) {
        let Some(stale) = self.stale.take() else { return };
        let mut headers = merged(&stale.headers, stale.validators.etag.as_ref(), new);
        if let Some(age) = new.get(header::AGE) {
            headers.insert(header::AGE, age.clone());
        }
        let freshness = storable::freshness(stale.status, &headers, self.times);
        headers.remove(header::AGE);
        let fresh = Validators::of(new);
        let validators = Validators {
            etag: fresh.etag.or_else(|| stale.validators.etag.clone()),
            last_modified: fresh.last_modified.or_else(|| stale.validators.last_modified.clone()),
        };
        let refreshed = stale.refreshed(headers, freshness.unwrap_or(stale.freshness), validators);
        if freshness.is_some() {
            self.store(Arc::clone(&refreshed));
        } else {
            self.cache.remove(&self.key);
            self.give_up();
        }
        self.phase = Phase::FromStore(refreshed, StatusCode::NOT_MODIFIED.as_u16());
    }

    /// Takes bytes of the body as they leave.
    pub(crate) fn push(&mut self, bytes: &Bytes) {
        let Phase::Storing(draft) = &mut self.phase else { return };
        // Twice: a slow client has as much before it.
        let has_room = self.flight.as_mut().is_some_and(|flight| flight.hold(2 * bytes.len()));
        if has_room && draft.body.len() + bytes.len() <= self.cache.max_object {
            draft.body.extend_from_slice(bytes);
        } else {
            self.phase = Phase::Passing;
            self.cache.predict(&self.key, false);
            self.give_up();
        }
    }

    /// The response is whole: stores it.
    pub(crate) fn complete(&mut self, footer: Option<FooterResult>) {
        let draft = match std::mem::replace(&mut self.phase, Phase::Passing) {
            Phase::Storing(draft) => draft,
            other => {
                self.phase = other;
                return;
            }
        };
        let Draft { status, headers, freshness, validators, variance, body, length } = *draft;
        let Some(stamp) = self.stamp.take().filter(|_| length.is_none_or(|length| length == body.len()))
        else {
            return;
        };
        self.store(Arc::new(Stored {
            id: Stored::next_id(),
            key: self.key.clone(),
            status,
            headers,
            body: Bytes::from(body.into_boxed_slice()),
            freshness,
            validators,
            variance,
            stamp,
            footer,
            uses: AtomicU32::new(0),
        }));
    }

    fn store(&mut self, stored: Arc<Stored>) {
        self.cache.table.insert(Arc::clone(&stored));
        let purges = self.cache.disk.as_ref().map(Disk::purges);
        // After the insertion: a purge sees either the response, or this fetch.
        if self.flight.as_ref().is_some_and(Flight::is_purged) {
            self.cache.remove(&self.key);
            self.permit = None;
            return;
        }
        if let Some((disk, purges)) = self.cache.disk.as_ref().zip(purges) {
            disk.write(stored, purges);
        }
        if let Some(permit) = self.permit.take() {
            permit.done();
        }
    }

    /// The stored response that answers in place of this one, and the status of this one.
    pub(crate) fn answered_by(&self) -> Option<(&Arc<Stored>, u16)> {
        match &self.phase {
            Phase::FromStore(stored, status) => Some((stored, *status)),
            _ => None,
        }
    }

    /// The stored response that may be served though the origin gave no answer.
    pub(crate) fn outlasts_failure(&self, now: i64) -> Option<Arc<Stored>> {
        self.stale.clone().filter(|stale| stale.freshness.outlasts_error(now))
    }

    /// Whether it is being stored.
    pub(crate) fn is_storing(&self) -> bool {
        matches!(self.phase, Phase::Storing(_))
    }

    /// Whether it goes on though its client has left.
    pub(crate) fn outlives_client(&mut self) -> bool {
        let is_open = !matches!(self.phase, Phase::Passing) && self.flight.is_some();
        if is_open && self.detached.is_none() {
            self.detached = self.cache.detach();
        }
        is_open && self.detached.is_some()
    }

    /// Lets those that wait fetch for themselves.
    pub(crate) fn give_up(&mut self) {
        if let Some(permit) = self.permit.take() {
            permit.give_up();
        }
    }

    /// Drops what an unsafe request has changed (RFC 9111, 4.4): its URL, and those on the same host that the response
    /// names.
    fn invalidate(&self, headers: &HeaderMap) {
        self.cache.purge(&self.key);
        for name in [header::LOCATION, header::CONTENT_LOCATION] {
            let named = headers.get(name).and_then(|value| value.to_str().ok());
            if let Some(target) = named.and_then(|named| self.target_on_host(named)) {
                self.cache.purge(&self.key.sibling(target.as_bytes()));
            }
        }
    }

    /// Path and query of a URL on the host, or of a reference that begins with a slash.
    fn target_on_host<'u>(&self, url: &'u str) -> Option<&'u str> {
        let url = url.split('#').next()?;
        if url.starts_with('/') && !url.starts_with("//") {
            return Some(url);
        }
        let rest = url.split_once("://").map(|(_, rest)| rest).or_else(|| url.strip_prefix("//"))?;
        let (authority, target) = rest.split_at_checked(rest.find(['/', '?']).unwrap_or(rest.len()))?;
        let host = authority.split(':').next()?;
        let is_same = host.eq_ignore_ascii_case(self.key.host());
        is_same.then_some(if target.is_empty() { "/" } else { target })
    }
}

/// Answers in whose place a stale response may be served (RFC 5861, 4).
fn is_failure(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502 | 503 | 504)
}
