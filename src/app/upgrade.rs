//! Upgrades without downtime: a process starts the program that is on disk now and hands it everything it holds.
//!
//! They speak over a Unix socket pair, the far end of which is the new process's standard input:
//!
//! | from | message | then |
//! |---|---|---|
//! | old | [`Hello`]: session ticket keys, numbers to go on from | the new process loads everything |
//! | new | [`Step::Prepared`] | the old one pauses its shippers and closes the record store |
//! | old | [`Handed`], with the lock of the store, a link for the last records, and every listening socket | the new one opens the store |
//! | new | [`Step::Ready`] | |
//! | old | [`Go`] | the new one accepts, the old one closes its sockets and drains |
//!
//! Until `Go` the old process serves, and whatever fails leaves it as it was. After it, each process finishes by
//! itself, whatever happens to the other.

mod channel;
mod predecessor;
mod successor;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use crate::tls::{HandedKeys, KeyBytes};

pub(super) use predecessor::{Inheritance, Predecessor, await_promises};
pub(super) use successor::Upgrader;

/// Set for a new process: its standard input is the socket.
const VARIABLE: &str = "ICPGATE_UPGRADE";

/// The version of what the two processes say to each other, the rows of records included. Programs with different
/// versions cannot replace each other without a restart.
const PROTOCOL: u32 = 1;

/// Connection numbers that the old process may still use: more connections than it accepts during an upgrade.
const CONNECTIONS: u64 = 1 << 24;

/// The first message.
#[derive(Debug, Deserialize, Serialize)]
struct Hello {
    protocol: u32,
    tickets: TicketsText,
    /// The number of the new process's first connection.
    connections: u64,
    /// The latest time that the clock has shown, in milliseconds.
    latest: i64,
}

/// Session ticket keys in base64.
#[derive(Deserialize, Serialize)]
struct TicketsText {
    current: String,
    previous: Option<String>,
    age_ms: u64,
}

impl std::fmt::Debug for TicketsText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TicketsText").finish_non_exhaustive()
    }
}

impl From<&HandedKeys> for TicketsText {
    fn from(keys: &HandedKeys) -> Self {
        Self {
            current: BASE64_STANDARD.encode(keys.current),
            previous: keys.previous.map(|key| BASE64_STANDARD.encode(key)),
            age_ms: u64::try_from(keys.age.as_millis()).unwrap_or(u64::MAX),
        }
    }
}

impl TicketsText {
    fn parse(&self) -> Option<HandedKeys> {
        let key = |text: &String| KeyBytes::try_from(BASE64_STANDARD.decode(text).ok()?).ok();
        let previous = match &self.previous {
            Some(text) => Some(key(text)?),
            None => None,
        };
        Some(HandedKeys { current: key(&self.current)?, previous, age: Duration::from_millis(self.age_ms) })
    }
}

/// What comes with the descriptors: those of the lock, the link and the admin socket, then one for each listener.
#[derive(Debug, Deserialize, Serialize)]
struct Handed {
    /// The record store.
    directory: PathBuf,
    admin: SocketAddr,
    /// The configured address of each listening socket.
    listeners: Vec<SocketAddr>,
}

/// What the new process reports.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
enum Step {
    /// Everything is loaded.
    Prepared,
    /// The record store is open.
    Ready,
}

/// The last message.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
struct Go;
