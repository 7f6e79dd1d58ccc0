//! The access record as one line of NDJSON, the form it is exported in.
//!
//! One record is one line whatever a client sent: control characters and line separators are escaped. Fields
//! that do not apply are absent, never empty.

use std::fmt::Display;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};

use jiff::Timestamp;

use crate::access::fields::{ClockState, Detail, Exchange, Fields, IdText, Request, Upstream};
use crate::clock::SHANGHAI;

/// Appends a record to `out` as one line, its newline included.
pub fn write_line(fields: &Fields<'_>, out: &mut Vec<u8>) {
    let mut line = Line { out, first: true };
    line.number("seq", fields.seq);
    line.time("time", fields.time);
    match &fields.detail {
        Detail::Exchange(exchange) => write_exchange(exchange, fields.node, &mut line),
        Detail::Gap { reason, since, count } => {
            line.text("event", "gap");
            line.text("reason", reason);
            line.text("node", fields.node);
            line.time("since", *since);
            line.maybe_number("count", *count);
        }
        Detail::Expired { before_seq } => {
            line.text("event", "expired");
            line.text("node", fields.node);
            line.number("before_seq", *before_seq);
        }
    }
    line.end(fields.clock);
}

fn write_exchange(exchange: &Exchange<'_>, node: &str, line: &mut Line<'_>) {
    line.text("event", if exchange.refused { "refused" } else { "request" });
    line.text("reason", exchange.reason);
    line.text("node", node);
    line.number("generation", exchange.generation);
    if let Some(client) = exchange.client {
        line.number("connection_id", client.connection);
        match &exchange.request_id {
            IdText::None => {}
            IdText::Own(id) => line.text("request_id", std::str::from_utf8(id).unwrap_or_default()),
            IdText::Given(id) => line.text("request_id", id),
        }
        line.endpoint("peer_ip", "peer_port", client.peer);
        line.endpoint("client_ip", "client_port", client.client);
    }
    if let Some(local) = exchange.local {
        line.endpoint("local_ip", "local_port", local);
    }
    line.text("listener", exchange.listener);
    line.text("protocol", exchange.protocol);
    line.text("tls_version", exchange.tls_version);
    line.text("tls_cipher", exchange.tls_cipher);
    line.text("server_name", exchange.server_name);
    line.text("host", exchange.host);
    if let Some(request) = &exchange.request {
        write_request(request, line);
    }
    if let Some(upstream) = &exchange.upstream {
        write_upstream(upstream, line);
    }
    line.text("footer", exchange.request.as_ref().map_or("", |request| request.footer));
    line.text("cache", exchange.request.as_ref().map_or("", |request| request.cache));
    if let Some(id) = exchange.request.as_ref().and_then(|request| request.trace_id) {
        line.shown("trace_id", id);
    }
    line.maybe_number("count", exchange.count);
    if exchange.truncated {
        line.key("truncated");
        line.out.extend_from_slice(b"true");
    }
}

fn write_request(request: &Request<'_>, line: &mut Line<'_>) {
    line.text("method", request.method);
    line.text("path", request.path);
    line.text("query", request.query);
    line.maybe_number("status", request.status.map(u64::from));
    line.number("bytes_in", request.bytes_in);
    line.number("bytes_out", request.bytes_out);
    line.thousandths("duration_ms", request.duration_us);
    line.text("referer", request.referer);
    line.text("user_agent", request.user_agent);
    line.text("site", request.site);
    line.text("icp_number", request.icp_number);
}

fn write_upstream(upstream: &Upstream<'_>, line: &mut Line<'_>) {
    line.text("origin", upstream.origin);
    line.text("region", upstream.region);
    line.text("link", upstream.link);
    if let Some(address) = upstream.address {
        line.shown("upstream_address", address);
    }
    if let Some(local) = upstream.local {
        line.shown("upstream_local_address", local);
    }
    line.maybe_number("upstream_status", upstream.status.map(u64::from));
    if let Some(first_byte) = upstream.first_byte_us {
        line.thousandths("upstream_ms", first_byte);
    }
}

struct Line<'o> {
    out: &'o mut Vec<u8>,
    first: bool,
}

impl Line<'_> {
    fn key(&mut self, key: &str) {
        self.out.extend_from_slice(if self.first { b"{\"" } else { b",\"" });
        self.first = false;
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    fn end(&mut self, clock: ClockState) {
        self.key("clock_synchronized");
        self.out.extend_from_slice(if clock.synchronized { b"true" } else { b"false" });
        self.key("clock_offset_ms");
        self.out.extend_from_slice(if clock.offset_us < 0 { b"-" } else { b"" });
        write_thousandths(clock.offset_us.unsigned_abs(), self.out);
        self.out.extend_from_slice(b"}\n");
    }

    fn text(&mut self, key: &str, text: &str) {
        if !text.is_empty() {
            self.key(key);
            write_string(text, self.out);
        }
    }

    fn number(&mut self, key: &str, number: u64) {
        self.key(key);
        write_number(number, self.out);
    }

    fn maybe_number(&mut self, key: &str, number: Option<u64>) {
        if let Some(number) = number {
            self.number(key, number);
        }
    }

    /// Microseconds as milliseconds, with three decimals.
    fn thousandths(&mut self, key: &str, micros: u64) {
        self.key(key);
        write_thousandths(micros, self.out);
    }

    fn time(&mut self, key: &str, time: Timestamp) {
        self.key(key);
        self.out.push(b'"');
        write_time(time, self.out);
        self.out.push(b'"');
    }

    /// An IPv4 client of a dual-stack socket is written as IPv4. Port 0 stands for an unknown port, which is
    /// left out.
    fn endpoint(&mut self, ip_key: &str, port_key: &str, address: SocketAddr) {
        self.key(ip_key);
        self.out.push(b'"');
        write_ip(address.ip().to_canonical(), self.out);
        self.out.push(b'"');
        if address.port() != 0 {
            self.number(port_key, address.port().into());
        }
    }

    /// A value whose text has nothing to escape.
    fn shown(&mut self, key: &str, value: impl Display) {
        self.key(key);
        // Writing to a Vec cannot fail.
        let _ = write!(self.out, "\"{value}\"");
    }
}

/// RFC 3339 with milliseconds and `+08:00`. Years have four digits.
fn write_time(time: Timestamp, out: &mut Vec<u8>) {
    let local = SHANGHAI.to_datetime(time);
    let parts = [
        (local.year().unsigned_abs().into(), 4, b'-'),
        (local.month().unsigned_abs().into(), 2, b'-'),
        (local.day().unsigned_abs().into(), 2, b'T'),
        (local.hour().unsigned_abs().into(), 2, b':'),
        (local.minute().unsigned_abs().into(), 2, b':'),
        (local.second().unsigned_abs().into(), 2, b'.'),
    ];
    for (value, digits, separator) in parts {
        write_padded(value, digits, out);
        out.push(separator);
    }
    write_padded(local.millisecond().unsigned_abs().into(), 3, out);
    out.extend_from_slice(b"+08:00");
}

fn write_thousandths(number: u64, out: &mut Vec<u8>) {
    write_number(number / 1000, out);
    out.push(b'.');
    write_padded(number % 1000, 3, out);
}

fn write_number(number: u64, out: &mut Vec<u8>) {
    let digits = number.checked_ilog10().unwrap_or(0) as usize + 1;
    write_padded(number, digits, out);
}

/// The last `digits` decimal digits of `number`.
fn write_padded(mut number: u64, digits: usize, out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + digits, b'0');
    for digit in out[start..].iter_mut().rev() {
        *digit += (number % 10) as u8;
        number /= 10;
    }
}

fn write_ip(ip: IpAddr, out: &mut Vec<u8>) {
    match ip {
        IpAddr::V4(ip) => {
            for (at, octet) in ip.octets().into_iter().enumerate() {
                if at > 0 {
                    out.push(b'.');
                }
                write_number(octet.into(), out);
            }
        }
        // Writing to a Vec cannot fail.
        IpAddr::V6(ip) => drop(write!(out, "{ip}")),
    }
}

/// A JSON string. Beyond what JSON requires, DEL, the C1 controls and the Unicode line separators are
/// escaped: terminals obey some of them, and text tools break lines at others.
fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    let mut rest = text;
    while let Some(at) = rest.bytes().position(may_need_escape) {
        let (clean, from) = rest.split_at(at);
        out.extend_from_slice(clean.as_bytes());
        let mut characters = from.chars();
        if let Some(character) = characters.next() {
            write_character(character, out);
        }
        rest = characters.as_str();
    }
    out.extend_from_slice(rest.as_bytes());
    out.push(b'"');
}

/// Whether a character that begins with `byte` may need escaping: 0xc2 leads the C1 controls, 0xe2 the line
/// separators.
fn may_need_escape(byte: u8) -> bool {
    matches!(byte, ..0x20 | b'"' | b'\\' | 0x7f | 0xc2 | 0xe2)
}

fn write_character(character: char, out: &mut Vec<u8>) {
    match character {
        '"' | '\\' => {
            out.push(b'\\');
            out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        }
        // Writing to a Vec cannot fail.
        '\u{2028}' | '\u{2029}' => drop(write!(out, "\\u{:04x}", u32::from(character))),
        _ if character.is_control() => drop(write!(out, "\\u{:04x}", u32::from(character))),
        _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

#[cfg(test)]
mod tests;
