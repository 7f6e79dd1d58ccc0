//! TLS on both sides: the pairs that sites are served with, and the roots that origins are verified by.
//!
//! Nothing here negotiates; a [`Certificate`] and a client configuration are values that a snapshot holds.

pub mod certificates;
pub mod chain;
pub mod pem;
pub mod roots;

use std::path::Path;

pub use certificates::{Certificate, Tickets};

/// The most that a PEM file may hold, in bytes: hundreds of certificates, and no more memory than that.
const PEM_BYTES: u64 = 4 * 1024 * 1024;

/// Reads a PEM file whole, as long as it is not larger than [`PEM_BYTES`].
fn read_pem(path: &Path) -> std::io::Result<Vec<u8>> {
    crate::regular_file::read(path, PEM_BYTES)
}
