//! What a stored response is found by: site, host, and path with query as sent.
//!
//! The scheme is not part of it: a site answers the same in clear text and over TLS. What the filing adds to a page is
//! compared on every hit ([`PageStamp`](super::PageStamp)).

use std::sync::Arc;

use pingora::cache::CacheKey;
use pingora::cache::key::{CacheHashKey, HashBinary};

/// The key of a URL.
#[derive(Clone, Debug)]
pub(crate) struct Key(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    site: Arc<str>,
    host: Arc<str>,
    hash: HashBinary,
    /// Where the target begins in the key of the lock.
    target: usize,
    lock_key: CacheKey,
}

impl Key {
    pub(crate) fn new(site: &Arc<str>, host: &Arc<str>, target: &[u8]) -> Self {
        let mut primary = Vec::with_capacity(site.len() + host.len() + target.len() + 16);
        // Lengths keep the parts apart: their boundaries are part of what is hashed.
        for part in [site.as_bytes(), host.as_bytes()] {
            primary.extend_from_slice(&(part.len() as u64).to_be_bytes());
            primary.extend_from_slice(part);
        }
        let at = primary.len();
        primary.extend_from_slice(target);
        let mut lock_key = CacheKey::new(primary, "");
        let hash = lock_key.primary_bin();
        lock_key.set_primary_bin_override(hash);
        Self(Arc::new(Parts { site: Arc::clone(site), host: Arc::clone(host), hash, target: at, lock_key }))
    }

    /// Another URL of the same site and host.
    pub(crate) fn sibling(&self, target: &[u8]) -> Self {
        Self::new(&self.0.site, &self.0.host, target)
    }

    pub(crate) fn site(&self) -> &Arc<str> {
        &self.0.site
    }

    pub(crate) fn host(&self) -> &Arc<str> {
        &self.0.host
    }

    /// Path and query.
    pub(super) fn target(&self) -> &[u8] {
        self.0.lock_key.primary_key().get(self.0.target..).unwrap_or_default()
    }

    pub(super) fn hash(&self) -> HashBinary {
        self.0.hash
    }

    pub(super) fn lock_key(&self) -> &CacheKey {
        &self.0.lock_key
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.0.hash == other.0.hash
    }
}
