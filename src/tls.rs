//! Certificates of sites, and roots that verify origins.
//!
//! Values only: nothing here negotiates.

pub mod certificates;
pub mod chain;
pub mod completeness;
pub mod pem;
pub mod roots;
mod ticket_keys;

use std::path::Path;

pub use certificates::{Certificate, Tickets};
pub use ticket_keys::{HandedKeys, KeyBytes};

/// The largest PEM file: room for hundreds of certificates.
const PEM_BYTES: u64 = 4 * 1024 * 1024;

fn read_pem(path: &Path) -> std::io::Result<Vec<u8>> {
    crate::regular_file::read(path, PEM_BYTES)
}
