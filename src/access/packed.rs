//! A record packed into bytes: the form in which it leaves its worker and is kept.
//!
//! What differs from record to record is a section of its own, apart from what mostly stays the same
//! on a connection: whoever writes blocks leaves out a section that is the one before it again.
//! docs/retention-format.md specifies the sections.

mod setting_source;

use std::net::SocketAddr;
use std::time::Duration;

use crate::access::fields::{Client, Exchange, IdText, Request, Upstream};
use crate::access::record::{
    AccessRecord, ConnectionFacts, Event, RequestFacts, UNKNOWN_ADDRESS, UpstreamFacts, protocol_label,
};
use crate::access::request_id::{RequestId, own};
use crate::access::texts::{RequestTexts, TEXT_BYTES, to_utf8};
use crate::access::wire::{Wire, write_address, write_bytes, write_ip, write_number};

pub use setting_source::SettingSource;

/// Whose exchanges a record stands for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Clients {
    /// Those of the client that it names.
    One,
    /// Those of many: the record's addresses are an example only, and are left out.
    Many,
}

/// What a record's first two bytes say of it.
mod flag {
    pub(super) const REFUSED: u16 = 1;
    pub(super) const MANY: u16 = 1 << 1;
    pub(super) const REASON: u16 = 1 << 2;
    pub(super) const COUNT: u16 = 1 << 3;
    pub(super) const OWN_ID: u16 = 1 << 4;
    pub(super) const GIVEN_ID: u16 = 1 << 5;
    pub(super) const REQUEST: u16 = 1 << 6;
    /// Another method than GET.
    pub(super) const METHOD: u16 = 1 << 7;
    pub(super) const QUERY: u16 = 1 << 8;
    pub(super) const STATUS: u16 = 1 << 9;
    pub(super) const BYTES_IN: u16 = 1 << 10;
    pub(super) const FOOTER: u16 = 1 << 11;
    pub(super) const UPSTREAM: u16 = 1 << 12;
    pub(super) const LOCAL_PORT: u16 = 1 << 13;
    /// Another status than the one answered.
    pub(super) const UPSTREAM_STATUS: u16 = 1 << 14;
    pub(super) const FIRST_BYTE: u16 = 1 << 15;
}

/// What a setting's first byte says of it.
mod setting {
    /// The client is not the peer.
    pub(super) const CLIENT: u8 = 1;
    pub(super) const UPSTREAM: u8 = 1 << 1;
    pub(super) const LOCAL_IP: u8 = 1 << 2;
}

/// A packed record, in sections.
#[derive(Clone, Copy, Debug)]
pub struct Sections<'p> {
    /// What is its own.
    pub own: &'p [u8],
    /// The page that it comes from.
    pub referer: &'p [u8],
    /// Who asked, for which site, and where that was sent.
    pub setting: &'p [u8],
}

/// Room for a packed record, used again and again.
#[derive(Debug, Default)]
pub struct Packed {
    bytes: Vec<u8>,
    /// Where the first two sections end.
    ends: (usize, usize),
}

impl Packed {
    /// Packs `record`, with the texts of its request if it has one, in place of what was packed before.
    pub fn pack(&mut self, record: &AccessRecord, sent: &RequestTexts<'_>, clients: Clients) {
        self.pack_but_setting(record, sent, clients);
        pack_setting(record, sent, &mut self.bytes);
    }

    /// Packs `record` with an empty section in place of its setting, for those who have that already.
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

fn pack_setting(record: &AccessRecord, sent: &RequestTexts<'_>, out: &mut Vec<u8>) {
    let start = out.len();
    out.push(0);
    let mut flags = 0;
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

fn user_agent<'s>(record: &AccessRecord, sent: &RequestTexts<'s>) -> &'s [u8] {
    if record.request.is_some() { sent.user_agent } else { &[] }
}

/// As much of a name that a client chose as a record keeps.
fn kept(name: Option<&str>) -> &str {
    let name = name.unwrap_or_default();
    &name[..name.floor_char_boundary(TEXT_BYTES)]
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Appends what records of a connection share.
pub fn pack_connection(connection: &ConnectionFacts, out: &mut Vec<u8>) {
    write_number(connection.id, out);
    out.extend_from_slice(&connection.ids.bits());
    write_address(connection.peer, out);
    write_address(connection.local, out);
    write_bytes(connection.listener.as_bytes(), out);
    write_bytes(connection.tls_version.unwrap_or_default().as_bytes(), out);
    write_bytes(connection.tls_cipher.unwrap_or_default().as_bytes(), out);
}

/// Reads a record of the connection that `connection` holds; `None` where it is none.
pub fn unpack<'p>(connection: &'p [u8], sections: Sections<'p>) -> Option<Exchange<'p>> {
    let mut exchange = Exchange::default();
    let mut wire = Wire(connection);
    let (id, bits) = (wire.number()?, wire.array()?);
    let (peer, local) = (wire.address()?, wire.address()?);
    (exchange.listener, exchange.tls_version, exchange.tls_cipher) =
        (wire.text()?, wire.text()?, wire.text()?);
    exchange.local = Some(local);
    let mut wire = Wire(sections.setting);
    let flags = wire.byte()?;
    let has = |flag| flags & flag != 0;
    exchange.generation = wire.number()?;
    let client = if has(setting::CLIENT) { wire.address()? } else { peer };
    (exchange.server_name, exchange.host, exchange.protocol) = (wire.text()?, wire.text()?, wire.text()?);
    let referer = std::str::from_utf8(sections.referer).ok()?;
    let (user_agent, site, icp_number) = (wire.text()?, wire.text()?, wire.text()?);
    let request = Request { referer, user_agent, site, icp_number, ..Request::default() };
    let upstream = if has(setting::UPSTREAM) {
        let (origin, region, link) = (wire.text()?, wire.text()?, wire.text()?);
        let address = Some(wire.address()?).filter(|address| *address != UNKNOWN_ADDRESS);
        let local = if has(setting::LOCAL_IP) { Some(SocketAddr::new(wire.ip()?, 0)) } else { None };
        Some(Upstream { origin, region, link, address, local, status: None, first_byte_us: None })
    } else {
        None
    };
    let flags = unpack_own(sections.own, bits, request, upstream, &mut exchange)?;
    exchange.client = (flags & flag::MANY == 0).then_some(Client { connection: id, peer, client });
    Some(exchange)
}

fn unpack_own<'p>(
    own_section: &'p [u8],
    bits: [u8; 12],
    mut request: Request<'p>,
    upstream: Option<Upstream<'p>>,
    exchange: &mut Exchange<'p>,
) -> Option<u16> {
    let mut wire = Wire(own_section);
    let flags = wire.short()?;
    let has = |flag| flags & flag != 0;
    exchange.refused = has(flag::REFUSED);
    if has(flag::REASON) {
        exchange.reason = wire.text()?;
    }
    if has(flag::COUNT) {
        exchange.count = Some(wire.number()?);
    }
    if has(flag::OWN_ID) {
        exchange.request_id = IdText::Own(own(bits, u32::try_from(wire.number()?).ok()?));
    }
    if has(flag::GIVEN_ID) {
        exchange.request_id = IdText::Given(wire.text()?);
    }
    if has(flag::REQUEST) {
        request.method = if has(flag::METHOD) { wire.text()? } else { "GET" };
        request.path = wire.text()?;
        request.query = if has(flag::QUERY) { wire.text()? } else { "" };
        request.status = if has(flag::STATUS) { Some(wire.short()?) } else { None };
        request.bytes_in = if has(flag::BYTES_IN) { wire.number()? } else { 0 };
        (request.bytes_out, request.duration_us) = (wire.number()?, wire.number()?);
        request.footer = if has(flag::FOOTER) { wire.text()? } else { "" };
    }
    if has(flag::UPSTREAM) {
        let mut upstream = upstream?;
        if has(flag::LOCAL_PORT) {
            upstream.local.as_mut()?.set_port(wire.short()?);
        }
        upstream.status = request.status;
        if has(flag::UPSTREAM_STATUS) {
            upstream.status = Some(wire.short()?).filter(|status| *status != 0);
        }
        if has(flag::FIRST_BYTE) {
            upstream.first_byte_us = Some(wire.number()?);
        }
        exchange.upstream = Some(upstream);
    }
    exchange.request = has(flag::REQUEST).then_some(request);
    Some(flags)
}

#[cfg(test)]
mod tests;
