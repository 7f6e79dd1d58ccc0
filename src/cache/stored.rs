//! One stored response: as it left, and what is needed to use it again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use bytes::Bytes;
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderValue};

use super::freshness::Freshness;
use super::key::Key;
use super::vary::Variance;
use crate::rewrite::{FooterPages, FooterResult};

/// What the settings of the route and the site, and the filing, make of an answer. A stored response with another stamp is
/// not served.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct PageStamp {
    /// The digest of the route: one URL may have routes to different origins, by client or field.
    pub(crate) route: u64,
    pub(crate) pages: FooterPages,
    /// The footer's HTML; `None` for a filing without a number.
    pub(crate) footer: Option<Bytes>,
    /// The digest of the copied assets; 0 without any.
    pub(crate) assets: u64,
}

impl PageStamp {
    /// Whether a response with this stamp and variance takes the place of an older one.
    pub(super) fn replaces(&self, variance: &Variance, old: &Self, old_variance: &Variance) -> bool {
        self.route == old.route && (variance == old_variance || self != old)
    }
}

/// The validators that the origin sent, for a conditional request to it.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Validators {
    pub(crate) etag: Option<HeaderValue>,
    pub(crate) last_modified: Option<HeaderValue>,
}

impl Validators {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let get = |name| headers.get(name).cloned();
        Self { etag: get(header::ETAG), last_modified: get(header::LAST_MODIFIED) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.etag.is_none() && self.last_modified.is_none()
    }
}

/// A stored response.
#[derive(Debug)]
pub(crate) struct Stored {
    /// Tells it from every other one of the process.
    pub(super) id: u64,
    pub(super) key: Key,
    pub(crate) status: StatusCode,
    /// As they left, without `age` and `content-length`.
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) freshness: Freshness,
    pub(crate) validators: Validators,
    pub(super) variance: Variance,
    pub(super) stamp: PageStamp,
    /// The footer's result when it was fetched.
    pub(crate) footer: Option<FooterResult>,
    /// How often it was found, as far as the eviction wants to know.
    pub(super) uses: AtomicU32,
}

/// Bytes that a response takes beside its body and fields: the table, the list of the eviction, allocations.
const OVERHEAD: usize = 512;

impl Stored {
    pub(super) fn next_id() -> u64 {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        NEXT.fetch_add(1, Ordering::Relaxed)
    }

    /// Bytes of memory.
    pub(super) fn weight(&self) -> usize {
        let fields: usize =
            self.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 64).sum();
        self.body.len() + fields + OVERHEAD
    }

    /// The same response with the head and freshness of a revalidation.
    pub(super) fn refreshed(
        &self,
        headers: HeaderMap,
        freshness: Freshness,
        validators: Validators,
    ) -> Arc<Self> {
        Arc::new(Self {
            id: Self::next_id(),
            key: self.key.clone(),
            status: self.status,
            headers,
            body: self.body.clone(),
            freshness,
            validators,
            variance: self.variance.clone(),
            stamp: self.stamp.clone(),
            footer: self.footer,
            uses: AtomicU32::new(0),
        })
    }
}
