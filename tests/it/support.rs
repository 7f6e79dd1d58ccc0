//! What every topic needs: the program, certificates, ClientHellos, and waiting.

#![allow(dead_code, reason = "topics come one by one")]

pub(crate) mod chromium;
pub(crate) mod client;
pub(crate) mod coding;
pub(crate) mod dns;
pub(crate) mod edge;
pub(crate) mod faketime;
pub(crate) mod hello;
pub(crate) mod http2_origin;
pub(crate) mod machine;
pub(crate) mod message;
pub(crate) mod named;
pub(crate) mod netns;
pub(crate) mod origin;
pub(crate) mod peer;
pub(crate) mod pki;
pub(crate) mod probe;
pub(crate) mod python;
pub(crate) mod relay;
pub(crate) mod slow;
pub(crate) mod time;

pub(crate) use time::{PATIENCE, eventually};

/// The host that most tests ask for; its domain is filed.
pub(crate) const HOST: &str = "www.example.cn";

/// Origin, region, link and address of a record's upstream.
pub(crate) fn tried(record: &serde_json::Value) -> [&str; 4] {
    ["origin", "region", "link", "upstream_address"].map(|field| record[field].as_str().unwrap_or_default())
}
