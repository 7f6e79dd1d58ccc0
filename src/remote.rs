//! Services on other machines, as clients see them: sinks of records and sources of allowlists.
//!
//! Every wait has a deadline, every answer a size limit, and a server is always verified.

pub(crate) mod connect;
pub mod credentials;
pub mod failure;
pub(crate) mod foreign_text;
pub mod http;
pub(crate) mod password;
pub mod signing;
