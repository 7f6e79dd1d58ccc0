//! Packs a record into its sections.

use std::time::Duration;

use crate::access::packed::setting_source::user_agent;
use crate::access::packed::{Clients, Sections, flag, more, setting};
use crate::access::record::{
    AccessRecord, ConnectionFacts, Event, RequestFacts, UpstreamFacts, protocol_label,
};
use crate::access::request_id::RequestId;
use crate::access::texts::{RequestTexts, TEXT_BYTES, to_utf8};
use crate::access::wire::{write_address, write_bytes, write_ip, write_number};

/// A buffer for one packed record, reused.
#[derive(Debug, Default)]
pub struct Packed {
    bytes: Vec<u8>,
    /// The ends of the first two sections.
    ends: (usize, usize),
}

impl Packed {
    /// Packs `record` with the texts of its request, replacing the previous record.
    pub fn pack(&mut self, record: &AccessRecord, sent: &RequestTexts<'_>, clients: Clients) {
        self.pack_but_setting(record, sent, clients);
        pack_setting(record, sent, &mut self.bytes);
    }

    /// Packs `record` with an empty setting, for a caller that knows the setting repeats.
    pub fn pack_but_setting(&mut self, record: &AccessRecord, sent: &RequestTexts<'_>, clients: Clients) {
        self.bytes.clear();
        pack_own(record, sent, clients, &mut self.bytes);
        self.ends.0 = self.bytes.len();
        if record.request.is_some() {
            self.bytes.extend_from_slice(to_utf8(sent.referer).as_bytes());
        }
        self.ends.1 = self.bytes.len();
    }

    /// The sections.
    pub fn sections(&self) -> Sections<'_> {
        let (own, referer) = self.ends;
        Sections {
            own: &self.bytes[..own],
            referer: &self.bytes[own..referer],
            setting: &self.bytes[referer..],
        }
    }
}

fn pack_own(record: &AccessRecord, sent: &RequestTexts<'_>, clients: Clients, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; 2]);
    let mut flags = 0;
    let mut set = |flag, holds: bool| {
        flags |= if holds { flag } else { 0 };
        holds
    };
    set(flag::REFUSED, record.event == Event::Refused);
    set(flag::MANY, clients == Clients::Many);
    if let Some(reason) = record.reason
        && set(flag::REASON, true)
    {
        write_bytes(reason.label().as_bytes(), out);
    }
    if set(flag::COUNT, record.count != 1) {
        write_number(record.count, out);
    }
    match &record.request_id {
        None => {}
        Some(RequestId::Own(number)) => {
            set(flag::OWN_ID, true);
            write_number(u64::from(*number), out);
        }
        Some(RequestId::Given(id)) => {
            set(flag::GIVEN_ID, true);
            write_bytes(id.as_bytes(), out);
        }
    }
    if let Some(request) = &record.request {
        set(flag::REQUEST, true);
        pack_request(request, sent, &mut set, out);
    }
    if let Some(upstream) = &record.upstream {
        set(flag::UPSTREAM, true);
        if let Some(local) = upstream.server.local
            && set(flag::LOCAL_PORT, true)
        {
            out.extend_from_slice(&local.port().to_le_bytes());
        }
        let answered = record.request.as_ref().and_then(|request| request.status);
        if set(flag::UPSTREAM_STATUS, upstream.status != answered) {
            out.extend_from_slice(&upstream.status.unwrap_or(0).to_le_bytes());
        }
        if let Some(first_byte) = upstream.first_byte
            && set(flag::FIRST_BYTE, true)
        {
            write_number(micros(first_byte), out);
        }
    }
    out[start..start + 2].copy_from_slice(&flags.to_le_bytes());
    if let Some(request) = &record.request {
        pack_more(request, out);
    }
}

fn pack_request(
    request: &RequestFacts,
    sent: &RequestTexts<'_>,
    set: &mut impl FnMut(u16, bool) -> bool,
    out: &mut Vec<u8>,
) {
    if set(flag::METHOD, sent.method != b"GET") {
        write_bytes(to_utf8(sent.method).as_bytes(), out);
    }
    write_bytes(to_utf8(sent.path).as_bytes(), out);
    if set(flag::QUERY, !sent.query.is_empty()) {
        write_bytes(to_utf8(sent.query).as_bytes(), out);
    }
    if let Some(status) = request.status
        && set(flag::STATUS, true)
    {
        out.extend_from_slice(&status.to_le_bytes());
    }
    if set(flag::BYTES_IN, request.bytes_in > 0) {
        write_number(request.bytes_in, out);
    }
    write_number(request.bytes_out, out);
    write_number(micros(request.duration), out);
    if let Some(footer) = request.footer
        && set(flag::FOOTER, true)
    {
        write_bytes(footer.label().as_bytes(), out);
    }
}

fn pack_more(request: &RequestFacts, out: &mut Vec<u8>) {
    let flag = |flag, holds: bool| if holds { flag } else { 0 };
    let flags = flag(more::CACHE, request.cache.is_some()) | flag(more::TRACE_ID, request.trace_id.is_some());
    if flags != 0 {
        out.push(flags);
    }
    if let Some(cache) = request.cache {
        write_bytes(cache.label().as_bytes(), out);
    }
    if let Some(id) = request.trace_id {
        out.extend_from_slice(&id.bytes());
    }
}

fn pack_setting(record: &AccessRecord, sent: &RequestTexts<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    out.push(0);
    let mut flags = if sent.is_truncated { setting::TRUNCATED } else { 0 };
    write_number(record.generation, out);
    if record.client != record.connection.peer {
        flags |= setting::CLIENT;
        write_address(record.client, out);
    }
    let request = record.request.as_ref();
    let user_agent = to_utf8(user_agent(record, sent));
    for text in [
        kept(record.connection.server_name.as_deref()),
        kept(record.host.as_deref()),
        record.protocol.map(protocol_label).unwrap_or_default(),
        &user_agent,
        request.and_then(|request| request.site.as_deref()).unwrap_or_default(),
        request.and_then(|request| request.icp_number.as_deref()).unwrap_or_default(),
    ] {
        write_bytes(text.as_bytes(), out);
    }
    if let Some(UpstreamFacts { server, .. }) = &record.upstream {
        flags |= setting::UPSTREAM;
        for text in [&*server.origin, server.region.label(), &*server.link] {
            write_bytes(text.as_bytes(), out);
        }
        write_address(server.address, out);
        if let Some(local) = server.local {
            flags |= setting::LOCAL_IP;
            write_ip(local.ip(), out);
        }
    }
    out[start] = flags;
}

/// A name chosen by a client, truncated to the length that a record keeps.
fn kept(name: Option<&str>) -> &str {
    let name = name.unwrap_or_default();
    &name[..name.floor_char_boundary(TEXT_BYTES)]
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Appends the description of a connection.
pub fn pack_connection(connection: &ConnectionFacts, out: &mut Vec<u8>) {
    write_number(connection.id, out);
    out.extend_from_slice(&connection.ids.bits());
    write_address(connection.peer, out);
    write_address(connection.local, out);
    write_bytes(connection.listener.as_bytes(), out);
    write_bytes(connection.tls_version.unwrap_or_default().as_bytes(), out);
    write_bytes(connection.tls_cipher.unwrap_or_default().as_bytes(), out);
}
