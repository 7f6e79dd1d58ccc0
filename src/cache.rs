//! The edge cache: responses as they leave, kept by the rules of RFC 9111 for a shared cache.
//!
//! Keys, variance, lock and eviction are pingora's, and only this room names its crates. Freshness, the table and the
//! short way of a fresh hit are ours. There is one instance for the process.

mod conditional;
mod control;
mod disk;
mod encoding;
mod fill;
mod flight;
mod freshness;
mod instance;
mod key;
mod merge;
mod note;
mod range;
mod storable;
mod stored;
mod table;
mod vary;

pub(crate) use conditional::{Answer, answer};
pub(crate) use fill::{Fill, Leaving, Purpose};
pub(crate) use flight::Permit;
pub(crate) use freshness::State;
pub use instance::Cache;
pub(crate) use instance::Turn;
pub(crate) use key::Key;
pub(crate) use note::{Forwarded, Note};
pub(crate) use stored::{PageStamp, Stored, Validators};

#[cfg(test)]
mod tests;
