//! What the records of a connection mostly have in common, packed once: who asked, for which site, and
//! where that was sent.
//!
//! A setting is a record's own exactly where packing the record's would give the same bytes. It is made
//! only once a connection's records go on differing from the one before, so that a connection that ends
//! soon, or alternates between a few servers, has none made for nothing.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use super::packed::pack_setting;
use super::record::{AccessRecord, UpstreamFacts};

/// The longest that is made, in bytes: whoever holds one for each record holds no more.
pub const SETTING_BYTES: usize = 512;

/// Records in a row that the connection's setting is not of, at which it gets another: there are as many
/// settings as a quarter of the records, at the most.
pub const UNLIKE: u8 = 4;

/// A packed setting, and what tells the records that it is of.
#[derive(Debug)]
pub struct Setting {
    generation: u64,
    client: SocketAddr,
    server_name: Option<Arc<str>>,
    host: Option<Arc<str>>,
    protocol: Option<&'static str>,
    user_agent: Box<str>,
    site: Option<Arc<str>>,
    icp_number: Option<Arc<str>>,
    upstream: Option<Sent>,
    packed: Box<[u8]>,
}

/// Where a request was sent, as far as that is part of its setting.
#[derive(Debug)]
struct Sent {
    origin: Arc<str>,
    region: &'static str,
    link: Arc<str>,
    address: SocketAddr,
    local: Option<IpAddr>,
}

/// The setting of a connection's records so far.
#[derive(Debug, Default)]
pub struct LastSetting(Mutex<Last>);

#[derive(Debug, Default)]
struct Last {
    setting: Option<Arc<Setting>>,
    unlike: u8,
}

impl LastSetting {
    /// The packed setting of `record`, which is of this connection, if there is one.
    pub fn of(&self, record: &AccessRecord) -> Option<Arc<Setting>> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &last.setting {
            Some(setting) if setting.is_of(record) => {
                let setting = Arc::clone(setting);
                last.unlike = 0;
                Some(setting)
            }
            _ if last.unlike + 1 < UNLIKE => {
                last.unlike += 1;
                None
            }
            _ => {
                *last = Last { setting: Setting::of(record).map(Arc::new), unlike: 0 };
                last.setting.clone()
            }
        }
    }
}

impl Setting {
    /// That of `record`, unless it is too long.
    fn of(record: &AccessRecord) -> Option<Self> {
        let mut packed = Vec::new();
        pack_setting(record, &mut packed);
        let request = record.request.as_ref();
        (packed.len() <= SETTING_BYTES).then(|| Self {
            generation: record.generation,
            client: record.client,
            server_name: record.server_name.clone(),
            host: record.host.clone(),
            protocol: record.protocol,
            user_agent: request.map_or("", |request| request.texts.user_agent()).into(),
            site: request.and_then(|request| request.site.clone()),
            icp_number: request.and_then(|request| request.icp_number.clone()),
            upstream: record.upstream.as_ref().map(Sent::of),
            packed: packed.into(),
        })
    }

    /// As it is written.
    pub fn packed(&self) -> &[u8] {
        &self.packed
    }

    fn is_of(&self, record: &AccessRecord) -> bool {
        let request = record.request.as_ref();
        self.generation == record.generation
            && self.client == record.client
            && is_same(self.server_name.as_ref(), record.server_name.as_ref())
            && is_same(self.host.as_ref(), record.host.as_ref())
            && self.protocol == record.protocol
            && *self.user_agent == *request.map_or("", |request| request.texts.user_agent())
            && is_same(self.site.as_ref(), request.and_then(|request| request.site.as_ref()))
            && is_same(self.icp_number.as_ref(), request.and_then(|request| request.icp_number.as_ref()))
            && match (&self.upstream, &record.upstream) {
                (Some(sent), Some(upstream)) => sent.is_of(upstream),
                (sent, upstream) => sent.is_none() && upstream.is_none(),
            }
    }
}

impl Sent {
    fn of(upstream: &UpstreamFacts) -> Self {
        Self {
            origin: Arc::clone(&upstream.origin),
            region: upstream.region,
            link: Arc::clone(&upstream.link),
            address: upstream.address,
            local: upstream.local.map(|local| local.ip()),
        }
    }

    fn is_of(&self, upstream: &UpstreamFacts) -> bool {
        self.address == upstream.address
            && self.local == upstream.local.map(|local| local.ip())
            && self.region == upstream.region
            && is_same(Some(&self.origin), Some(&upstream.origin))
            && is_same(Some(&self.link), Some(&upstream.link))
    }
}

/// Whether both are the same text; mostly they are the same one.
fn is_same(one: Option<&Arc<str>>, other: Option<&Arc<str>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other) || one == other,
        (one, other) => one.is_none() && other.is_none(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::strategy::ValueTree as _;

    use super::*;
    use crate::access::RequestTexts;
    use crate::access::packed::tests::records;
    use crate::access::record::RequestFacts;
    use crate::access::texts::Sent;

    fn packed(record: &AccessRecord) -> Vec<u8> {
        let mut packed = Vec::new();
        pack_setting(record, &mut packed);
        packed
    }

    proptest! {
        #[test]
        fn a_setting_is_of_a_record_only_if_that_s_own_would_be_the_same(
            one in records(), other in records(), parts in 0..1_u16 << 9,
        ) {
            // A part of `other` in place of that of `one`, for every part of a setting.
            let mut like = one.clone();
            let takes = |part: u16| parts & 1 << part != 0;
            if takes(0) { like.generation = other.generation }
            if takes(1) { like.client = other.client }
            if takes(2) { like.server_name = other.server_name }
            if takes(3) { like.host = other.host }
            if takes(4) { like.protocol = other.protocol }
            if takes(5) { like.request = other.request }
            if takes(6) { like.upstream = other.upstream }
            // And what is no part of it.
            if takes(7) { (like.time, like.count, like.request_id) = (other.time, other.count, other.request_id) }
            if takes(8) && let Some(request) = &mut like.request { request.bytes_out += 1 }
            let setting = Setting::of(&one).expect("short enough");
            prop_assert_eq!(setting.packed(), &*packed(&one));
            prop_assert!(setting.is_of(&one));
            if setting.is_of(&like) {
                prop_assert_eq!(setting.packed(), &*packed(&like));
            } else {
                prop_assert!(packed(&one) != packed(&like) || has_empty(&one) || has_empty(&like));
            }
        }
    }

    /// Whether a text is there and empty, which is packed as if it were not.
    fn has_empty(record: &AccessRecord) -> bool {
        record.host.as_deref() == Some("")
    }

    fn record(user_agent: &str) -> AccessRecord {
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        let mut record = records().new_tree(&mut runner).expect("a record").current();
        let texts = RequestTexts::new(Sent { user_agent: user_agent.as_bytes(), ..Sent::default() });
        record.request = Some(RequestFacts { texts, ..RequestFacts::default() });
        record
    }

    #[test]
    fn a_connection_gets_a_setting_when_its_records_go_on_without() {
        let last = LastSetting::default();
        let has = |user_agent| last.of(&record(user_agent)).is_some();
        assert_eq!(["a"; 6].map(has), [false, false, false, true, true, true]);
        assert_eq!(["b", "a", "b", "a"].map(has), [false, true, false, true], "two in turn");
        assert_eq!(["b", "c", "b", "c", "c", "a"].map(has), [false, false, false, true, true, false]);
    }

    #[test]
    fn a_long_one_is_never_shared() {
        let last = LastSetting::default();
        let long = record(&"x".repeat(SETTING_BYTES));
        assert!((0..10).all(|_| last.of(&long).is_none()));
    }
}
