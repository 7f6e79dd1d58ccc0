//! Certificates by ACME (RFC 8555) and DNS-01: orders, renewals, and the DNS changes that prove control of a name.
//!
//! Certificates are written into `acme.store`, which is watched like the files of any other pair. A failed order
//! changes nothing: the last good certificate stays in use. HTTP-01 is never used, since it needs port 80 open.

mod account;
mod alias;
mod authority;
pub mod cloud;
mod dns;
pub mod examine;
mod exec;
mod files;
mod job;
pub mod metrics;
mod order;
mod propagation;
mod provider;
mod renewal;
mod rfc2136;
pub mod run;
pub mod schedule;
pub mod status;
