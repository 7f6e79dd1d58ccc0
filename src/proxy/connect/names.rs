//! The addresses of upstream servers' names.
//!
//! Names come from the configuration alone, so that no more of them are held than it has.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How long the addresses of a name are used before it is looked up again.
const LIFETIME: Duration = Duration::from_secs(30);

/// What is known of names.
#[derive(Debug, Default)]
pub(super) struct Names {
    known: Mutex<HashMap<(String, u16), Resolved>>,
}

#[derive(Clone, Debug)]
struct Resolved {
    addresses: Vec<IpAddr>,
    until: Instant,
}

impl Names {
    /// The addresses of a name; those known before while it cannot be looked up.
    pub(super) async fn resolve(&self, name: &str, port: u16) -> io::Result<Vec<IpAddr>> {
        let key = (name.to_owned(), port);
        let known = self.known().get(&key).cloned();
        if let Some(known) = known.as_ref().filter(|known| known.until > Instant::now()) {
            return Ok(known.addresses.clone());
        }
        match tokio::net::lookup_host((name, port)).await {
            Ok(found) => {
                let addresses: Vec<IpAddr> = found.map(|address| address.ip()).collect();
                let until = Instant::now() + LIFETIME;
                self.known().insert(key, Resolved { addresses: addresses.clone(), until });
                Ok(addresses)
            }
            Err(error) => known.map(|known| known.addresses).ok_or(error),
        }
    }

    fn known(&self) -> MutexGuard<'_, HashMap<(String, u16), Resolved>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
