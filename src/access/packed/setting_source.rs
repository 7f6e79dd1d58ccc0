//! Whether a record's setting is the one that its connection's last record had, told without packing it.
//!
//! A yes is certain; a no means only that packing has to tell.

use std::net::SocketAddr;
use std::sync::Arc;

use http::Version;

use super::user_agent;
use crate::access::record::{AccessRecord, ServerFacts};
use crate::access::texts::RequestTexts;

/// What a setting was packed of. Whether that of another record of its connection would be the same is told
/// without packing it, and without a look at its names: mostly they are not only alike but the same ones.
#[derive(Debug)]
pub struct SettingSource {
    generation: u64,
    client: SocketAddr,
    protocol: Option<Version>,
    names: [Option<Arc<str>>; NAMES],
    user_agent: Box<[u8]>,
    server: Option<Arc<ServerFacts>>,
}

const NAMES: usize = 3;

impl SettingSource {
    /// That of `record`.
    pub fn new(record: &AccessRecord, sent: &RequestTexts<'_>) -> Self {
        Self {
            generation: record.generation,
            client: record.client,
            protocol: record.protocol,
            names: names(record).map(Option::<&Arc<str>>::cloned),
            user_agent: user_agent(record, sent).into(),
            server: server(record).cloned(),
        }
    }

    /// Whether that of `record` is surely the same.
    pub fn matches(&self, record: &AccessRecord, sent: &RequestTexts<'_>) -> bool {
        self.generation == record.generation
            && self.client == record.client
            && self.protocol == record.protocol
            && self.names.iter().zip(names(record)).all(|(own, other)| is_same(own.as_ref(), other))
            && is_same_text(&self.user_agent, user_agent(record, sent))
            && match (&self.server, server(record)) {
                (Some(own), Some(other)) => Arc::ptr_eq(own, other) || is_like(own, other),
                (own, other) => own.is_none() && other.is_none(),
            }
    }
}

/// Whether both are alike. Empty ones are not compared: they stand at no address that is mapped, and a
/// comparison by AVX-512, as glibc's, takes a suppressed fault there, some 80 ns.
fn is_same_text(own: &[u8], other: &[u8]) -> bool {
    own.len() == other.len() && (own.is_empty() || own == other)
}

/// The names in a setting that are shared, but for that of the connection.
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

/// Whether connections are to one server, from one address. Their ports are no part of the setting.
fn is_like(own: &ServerFacts, other: &ServerFacts) -> bool {
    Arc::ptr_eq(&own.origin, &other.origin)
        && Arc::ptr_eq(&own.link, &other.link)
        && own.region == other.region
        && own.address == other.address
        && own.local.map(|local| local.ip()) == other.local.map(|local| local.ip())
}

/// Whether both are one value, or none.
fn is_same<T: ?Sized>(own: Option<&Arc<T>>, other: Option<&Arc<T>>) -> bool {
    match (own, other) {
        (Some(own), Some(other)) => Arc::ptr_eq(own, other),
        (own, other) => own.is_none() && other.is_none(),
    }
}
