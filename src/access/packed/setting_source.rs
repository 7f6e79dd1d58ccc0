//! Tells whether a record repeats the setting of the last one on its connection, without packing it.
//!
//! A match is certain. A mismatch only means that the packed settings have to be compared.

use std::net::SocketAddr;
use std::sync::Arc;

use http::Version;

use crate::access::record::{AccessRecord, ServerFacts};
use crate::access::texts::RequestTexts;

/// The values that a setting was packed from. Names are compared by pointer: records of one connection mostly
/// share them.
#[derive(Debug)]
pub struct SettingSource {
    generation: u64,
    client: SocketAddr,
    protocol: Option<Version>,
    names: [Option<Arc<str>>; NAMES],
    user_agent: Box<[u8]>,
    is_truncated: bool,
    server: Option<Arc<ServerFacts>>,
}

const NAMES: usize = 3;

impl SettingSource {
    /// The values of `record`.
    pub fn new(record: &AccessRecord, sent: &RequestTexts<'_>) -> Self {
        Self {
            generation: record.generation,
            client: record.client,
            protocol: record.protocol,
            names: names(record).map(Option::<&Arc<str>>::cloned),
            user_agent: user_agent(record, sent).into(),
            is_truncated: sent.is_truncated,
            server: server(record).cloned(),
        }
    }

    /// Whether `record` certainly has the same setting.
    pub fn matches(&self, record: &AccessRecord, sent: &RequestTexts<'_>) -> bool {
        self.generation == record.generation
            && self.client == record.client
            && self.protocol == record.protocol
            && self.is_truncated == sent.is_truncated
            && self.names.iter().zip(names(record)).all(|(own, other)| is_same(own.as_ref(), other))
            && is_same_text(&self.user_agent, user_agent(record, sent))
            && match (&self.server, server(record)) {
                (Some(own), Some(other)) => Arc::ptr_eq(own, other) || is_like(own, other),
                (own, other) => own.is_none() && other.is_none(),
            }
    }
}

/// Compares two texts. Empty ones are not compared: an empty slice may point to unmapped memory, where the
/// AVX-512 comparison of glibc takes a suppressed fault of some 80 ns.
fn is_same_text(own: &[u8], other: &[u8]) -> bool {
    own.len() == other.len() && (own.is_empty() || own == other)
}

/// The shared names in a setting, except those of the connection.
fn names(record: &AccessRecord) -> [Option<&Arc<str>>; NAMES] {
    let request = record.request.as_ref();
    [
        record.host.as_ref(),
        request.and_then(|request| request.site.as_ref()),
        request.and_then(|request| request.icp_number.as_ref()),
    ]
}

fn server(record: &AccessRecord) -> Option<&Arc<ServerFacts>> {
    record.upstream.as_ref().map(|upstream| &upstream.server)
}

/// Whether both connections go to the same server from the same local IP address. Their local ports are not
/// in the setting.
fn is_like(own: &ServerFacts, other: &ServerFacts) -> bool {
    Arc::ptr_eq(&own.origin, &other.origin)
        && Arc::ptr_eq(&own.link, &other.link)
        && own.region == other.region
        && own.address == other.address
        && own.local.map(|local| local.ip()) == other.local.map(|local| local.ip())
}

/// Whether both are the same allocation, or both absent.
fn is_same<T: ?Sized>(own: Option<&Arc<T>>, other: Option<&Arc<T>>) -> bool {
    match (own, other) {
        (Some(own), Some(other)) => Arc::ptr_eq(own, other),
        (own, other) => own.is_none() && other.is_none(),
    }
}

/// The `user-agent` that goes into a setting.
pub(super) fn user_agent<'s>(record: &AccessRecord, sent: &RequestTexts<'s>) -> &'s [u8] {
    if record.request.is_some() { sent.user_agent } else { &[] }
}
