//! The keys of TLS session tickets: they rotate every six hours, and a process hands them to the one that
//! replaces it, so that sessions resume there.
//!
//! A ticket is the name of its key, a nonce, and the session's state under AES-256-GCM (RFC 5077, 4, with an AEAD in
//! place of a cipher and a MAC). rustls's own tickets hold their keys where nobody can read them.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand;
use rustls::server::ProducesTickets;

/// How long a key makes tickets; it reads them for as long again. rustls's own tickets live as long.
const ROTATION: Duration = Duration::from_secs(6 * 60 * 60);
const NAME: usize = 16;
const SECRET: usize = 32;

/// A key as bytes: its name and its secret.
pub type KeyBytes = [u8; NAME + SECRET];

/// The keys, for the process that replaces this one. Whoever has them can read recorded TLS 1.2 sessions.
#[derive(Clone, Eq, PartialEq)]
pub struct HandedKeys {
    /// The key that makes tickets.
    pub current: KeyBytes,
    /// The one before it, which still reads tickets.
    pub previous: Option<KeyBytes>,
    /// How long the current key has been in use.
    pub age: Duration,
}

impl fmt::Debug for HandedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HandedKeys").field("age", &self.age).finish_non_exhaustive()
    }
}

/// Makes and reads tickets.
pub(super) struct TicketKeys {
    keys: ArcSwap<Keys>,
    /// Held while the keys rotate.
    rotating: Mutex<()>,
}

struct Keys {
    current: Arc<Key>,
    previous: Option<Arc<Key>>,
    since: Instant,
}

struct Key {
    bytes: KeyBytes,
    aead: RandomizedNonceKey,
}

impl Key {
    fn random() -> Result<Self, Unspecified> {
        let mut bytes = [0; NAME + SECRET];
        rand::fill(&mut bytes)?;
        Self::of(bytes)
    }

    fn of(bytes: KeyBytes) -> Result<Self, Unspecified> {
        Ok(Self { aead: RandomizedNonceKey::new(&AES_256_GCM, &bytes[NAME..])?, bytes })
    }

    fn name(&self) -> &[u8] {
        &self.bytes[..NAME]
    }

    fn seal(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let mut sealed = plain.to_vec();
        let nonce = self.aead.seal_in_place_append_tag(Aad::from(self.name()), &mut sealed).ok()?;
        Some([self.name(), nonce.as_ref(), &sealed].concat())
    }

    fn open(&self, nonce: &[u8; NONCE_LEN], sealed: &[u8]) -> Option<Vec<u8>> {
        let mut bytes = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let length = self.aead.open_in_place(nonce, Aad::from(self.name()), &mut bytes).ok()?.len();
        bytes.truncate(length);
        Some(bytes)
    }
}

impl TicketKeys {
    /// A new key, which only this process knows.
    pub(super) fn new() -> Result<Self, Unspecified> {
        Ok(Self::with(Keys { current: Arc::new(Key::random()?), previous: None, since: Instant::now() }))
    }

    /// The keys of the process that this one replaces.
    pub(super) fn handed(handed: &HandedKeys) -> Result<Self, Unspecified> {
        let previous = handed.previous.map(Key::of).transpose()?.map(Arc::new);
        let now = Instant::now();
        let since = now.checked_sub(handed.age).unwrap_or(now);
        Ok(Self::with(Keys { current: Arc::new(Key::of(handed.current)?), previous, since }))
    }

    fn with(keys: Keys) -> Self {
        Self { keys: ArcSwap::from_pointee(keys), rotating: Mutex::default() }
    }

    pub(super) fn hand_over(&self) -> HandedKeys {
        let keys = self.keys.load();
        let previous = keys.previous.as_ref().map(|key| key.bytes);
        HandedKeys { current: keys.current.bytes, previous, age: keys.since.elapsed() }
    }

    /// Makes a new key if the current one is too old; one thread does so, the others go on meanwhile.
    fn rotate_when_due(&self, now: Instant) {
        let is_due = || now.saturating_duration_since(self.keys.load().since) >= ROTATION;
        if !is_due() {
            return;
        }
        let _rotating = match self.rotating.try_lock() {
            Ok(rotating) => rotating,
            Err(std::sync::TryLockError::Poisoned(poisoned)) => PoisonError::into_inner(poisoned),
            Err(std::sync::TryLockError::WouldBlock) => return,
        };
        if is_due()
            && let Ok(next) = Key::random()
        {
            let before = self.keys.load_full();
            // After a quiet time the current key may be too old to read tickets, too.
            let reads = now.saturating_duration_since(before.since) < ROTATION * 2;
            let previous = reads.then(|| Arc::clone(&before.current));
            self.keys.store(Arc::new(Keys { current: Arc::new(next), previous, since: now }));
        }
    }
}

impl ProducesTickets for TicketKeys {
    fn enabled(&self) -> bool {
        true
    }

    /// In seconds.
    fn lifetime(&self) -> u32 {
        ROTATION.as_secs() as u32 * 2
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.rotate_when_due(Instant::now());
        self.keys.load().current.seal(plain)
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        self.rotate_when_due(Instant::now());
        let (name, rest) = cipher.split_at_checked(NAME)?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let keys = self.keys.load();
        let key = [Some(&keys.current), keys.previous.as_ref()].into_iter().flatten();
        // A key's name is no secret: clients see it.
        key.into_iter().find(|key| key.name() == name)?.open(nonce, sealed)
    }
}

impl fmt::Debug for TicketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TicketKeys").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_read_by_its_process_and_the_next_and_by_no_other() {
        let old = TicketKeys::new().expect("keys");
        let ticket = old.encrypt(b"a session").expect("a ticket");
        assert_ne!(old.encrypt(b"a session").expect("another"), ticket);
        let new = TicketKeys::handed(&old.hand_over()).expect("keys");
        for keys in [&old, &new] {
            assert_eq!(keys.decrypt(&ticket).as_deref(), Some(&b"a session"[..]));
        }
        assert_eq!(TicketKeys::new().expect("keys").decrypt(&ticket), None);
        for length in 0..ticket.len() {
            assert_eq!(old.decrypt(&ticket[..length]), None, "cut at {length}");
        }
        for at in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert_eq!(old.decrypt(&changed), None, "changed at {at}");
        }
    }

    #[test]
    fn keys_rotate_and_are_forgotten() {
        let keys = TicketKeys::new().expect("keys");
        let ticket = keys.encrypt(b"a session").expect("a ticket");
        let begun = keys.keys.load().since;
        keys.rotate_when_due(begun + ROTATION);
        assert!(keys.decrypt(&ticket).is_some(), "the previous key reads it");
        let handed = TicketKeys::handed(&keys.hand_over()).expect("keys");
        assert!(handed.decrypt(&ticket).is_some(), "after a handover, too");
        keys.rotate_when_due(begun + ROTATION * 2);
        assert!(keys.decrypt(&ticket).is_none(), "the previous key is another now");
        let ticket = keys.encrypt(b"a session").expect("a ticket");
        keys.rotate_when_due(begun + ROTATION * 9);
        assert!(keys.decrypt(&ticket).is_none(), "after a long pause");
    }
}
