//! Access records on their way off the machine: to every configured sink, each at least once.
//!
//! The record store is the queue. A lane per sink reads the store up to its durable watermark and ships what the
//! sink has not acknowledged. A lane never blocks the data plane or another lane, and it never drops a record.

pub mod credentials;
pub mod failure;
mod foreign_text;
pub mod http;
pub mod kafka;
pub mod relp;
pub mod sink;
pub mod sls;
mod stream;
