//! Packing: a record as bytes, and back.
//!
//! A record has sections: its own, which differs from record to record, and two that mostly repeat on a
//! connection. A block leaves out a section that repeats the previous one. docs/retention-format.md specifies
//! the sections.

pub mod pack;
pub mod setting_source;
pub mod unpack;

/// Whether a record stands for one client or many.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Clients {
    /// The client that the record names.
    One,
    /// Many clients; the addresses in the record are only an example and are left out.
    Many,
}

/// Flags of a record: its first two bytes.
mod flag {
    pub(super) const REFUSED: u16 = 1;
    pub(super) const MANY: u16 = 1 << 1;
    pub(super) const REASON: u16 = 1 << 2;
    pub(super) const COUNT: u16 = 1 << 3;
    pub(super) const OWN_ID: u16 = 1 << 4;
    pub(super) const GIVEN_ID: u16 = 1 << 5;
    pub(super) const REQUEST: u16 = 1 << 6;
    /// The method is not GET.
    pub(super) const METHOD: u16 = 1 << 7;
    pub(super) const QUERY: u16 = 1 << 8;
    pub(super) const STATUS: u16 = 1 << 9;
    pub(super) const BYTES_IN: u16 = 1 << 10;
    pub(super) const FOOTER: u16 = 1 << 11;
    pub(super) const UPSTREAM: u16 = 1 << 12;
    pub(super) const LOCAL_PORT: u16 = 1 << 13;
    /// The status of the upstream differs from the response status.
    pub(super) const UPSTREAM_STATUS: u16 = 1 << 14;
    pub(super) const FIRST_BYTE: u16 = 1 << 15;
}

/// Flags of what follows the values of [`flag`], if anything does: one byte.
mod more {
    pub(super) const CACHE: u8 = 1;
    pub(super) const TRACE_ID: u8 = 1 << 1;
}

/// Flags of a setting: its first byte.
mod setting {
    /// The client address is not the peer address.
    pub(super) const CLIENT: u8 = 1;
    pub(super) const UPSTREAM: u8 = 1 << 1;
    pub(super) const LOCAL_IP: u8 = 1 << 2;
    /// Texts of the record are shortened.
    pub(super) const TRUNCATED: u8 = 1 << 3;
}

/// A packed record, in sections.
#[derive(Clone, Copy, Debug)]
pub struct Sections<'p> {
    /// What differs from record to record.
    pub own: &'p [u8],
    /// The `referer`.
    pub referer: &'p [u8],
    /// Client, site and upstream.
    pub setting: &'p [u8],
}

#[cfg(test)]
mod tests;
