//! Access records on their way off the machine: to every configured sink, each at least once.
//!
//! The record store is the queue. A lane per sink reads the store up to its durable watermark and ships what the
//! sink has not acknowledged. A lane never blocks the data plane or another lane, and it never drops a record.

pub mod cursor;
pub mod holdings;
pub mod kafka;
pub mod metrics;
pub mod objects;
pub mod open;
pub mod relp;
pub mod shipper;
pub mod sink;
pub mod sls;
pub mod status;

mod anchor_key;
mod directory;
mod lane;
mod pace;
mod records;
mod segments;
mod stream;
