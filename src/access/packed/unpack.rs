//! Unpacks a record from its sections.

use std::net::SocketAddr;

use crate::access::fields::{Client, Exchange, IdText, Request, Upstream};
use crate::access::packed::{Sections, flag, more, setting};
use crate::access::record::UNKNOWN_ADDRESS;
use crate::access::request_id::own;
use crate::access::trace_id::TraceId;
use crate::access::wire::Wire;

/// Reads a record of the connection described by `connection`; `None` if the bytes are malformed.
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
    exchange.truncated = has(setting::TRUNCATED);
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
    if !wire.0.is_empty() {
        let flags = wire.byte()?;
        request.cache = if flags & more::CACHE != 0 { wire.text()? } else { "" };
        if flags & more::TRACE_ID != 0 {
            request.trace_id = Some(TraceId::of_bytes(wire.array()?)?);
        }
    }
    exchange.request = has(flag::REQUEST).then_some(request);
    Some(flags)
}
