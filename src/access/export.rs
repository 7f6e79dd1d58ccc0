//! The access record as one line of NDJSON: the form it is kept in and exported in.
//!
//! One record is one line whatever a client sent: every control character and line separator is
//! escaped. Fields that do not apply are absent, never empty. This is on the path of every
//! request, so it writes bytes and builds no tree.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use jiff::Timestamp;

use crate::access::record::{AccessRecord, Event, Expired, Gap, RequestFacts, UpstreamFacts};
use crate::clock::SHANGHAI;

/// What the store adds to a record.
#[derive(Clone, Copy, Debug)]
pub struct Keeping<'n> {
    /// The record's number within the store.
    pub seq: u64,
    /// This edge's name.
    pub node: &'n str,
    /// Whether the clock is known to follow a time source.
    pub clock_synchronized: bool,
    /// Whose exchanges the record stands for.
    pub clients: Clients,
}

/// Whose exchanges a record stands for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Clients {
    /// Those of the client that it names.
    One,
    /// Those of many: the record's addresses are an example only, and are left out.
    Many,
}

/// Appends `record` to `out` as one line, its newline included.
pub fn write_line(record: &AccessRecord, keeping: Keeping<'_>, out: &mut Vec<u8>) {
    let mut line = Line { out, first: true };
    line.number("seq", keeping.seq);
    line.time("time", record.time);
    line.text("event", event_label(record.event));
    line.maybe_text("reason", record.reason);
    line.text("node", keeping.node);
    line.number("generation", record.generation);
    let connection = &record.connection;
    if keeping.clients == Clients::One {
        line.number("connection_id", connection.id);
        line.maybe_text("request_id", record.request_id.as_deref());
        line.endpoint("peer_ip", "peer_port", connection.peer);
        line.endpoint("client_ip", "client_port", record.client);
    }
    line.endpoint("local_ip", "local_port", connection.local);
    line.text("listener", &connection.listener);
    line.maybe_text("protocol", record.protocol);
    line.maybe_text("tls_version", connection.tls_version);
    line.maybe_text("tls_cipher", connection.tls_cipher);
    line.maybe_text("server_name", record.server_name.as_deref());
    line.maybe_text("host", record.host.as_deref());
    if let Some(request) = &record.request {
        write_request(request, &mut line);
    }
    if let Some(upstream) = &record.upstream {
        write_upstream(upstream, &mut line);
    }
    line.maybe_text("footer", record.request.as_ref().and_then(|request| request.footer));
    line.maybe_number("count", record.count);
    line.end(keeping.clock_synchronized);
}

/// Appends `gap` to `out` as one line, its newline included.
pub fn write_gap(gap: &Gap, keeping: Keeping<'_>, out: &mut Vec<u8>) {
    let mut line = Line { out, first: true };
    line.number("seq", keeping.seq);
    line.time("time", gap.time);
    line.text("event", "gap");
    line.text("reason", gap.reason.label());
    line.text("node", keeping.node);
    line.time("since", gap.since);
    line.maybe_number("count", gap.count);
    line.end(keeping.clock_synchronized);
}

/// Appends `expired` to `out` as one line, its newline included.
pub fn write_expired(expired: &Expired, keeping: Keeping<'_>, out: &mut Vec<u8>) {
    let mut line = Line { out, first: true };
    line.number("seq", keeping.seq);
    line.time("time", expired.time);
    line.text("event", "expired");
    line.text("node", keeping.node);
    line.number("before_seq", expired.before_seq);
    line.end(keeping.clock_synchronized);
}

fn event_label(event: Event) -> &'static str {
    match event {
        Event::Request => "request",
        Event::Refused => "refused",
    }
}

fn write_request(request: &RequestFacts, line: &mut Line<'_>) {
    line.maybe_text("method", request.method.as_deref());
    line.maybe_text("path", request.path.as_deref());
    line.maybe_text("query", request.query.as_deref());
    line.maybe_number("status", request.status.map(u64::from));
    line.number("bytes_in", request.bytes_in);
    line.number("bytes_out", request.bytes_out);
    line.milliseconds("duration_ms", request.duration);
    line.maybe_text("referer", request.referer.as_deref());
    line.maybe_text("user_agent", request.user_agent.as_deref());
    line.maybe_text("site", request.site.as_deref());
    line.maybe_text("icp_number", request.icp_number.as_deref());
}

fn write_upstream(upstream: &UpstreamFacts, line: &mut Line<'_>) {
    line.text("origin", &upstream.origin);
    line.text("region", upstream.region);
    line.text("link", &upstream.link);
    line.address("upstream_address", upstream.address);
    if let Some(local) = upstream.local {
        line.address("upstream_local_address", local);
    }
    line.maybe_number("upstream_status", upstream.status.map(u64::from));
    if let Some(first_byte) = upstream.first_byte {
        line.milliseconds("upstream_ms", first_byte);
    }
}

/// One JSON object in the making. Keys need no escaping.
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

    fn end(&mut self, clock_synchronized: bool) {
        self.key("clock_synchronized");
        self.out.extend_from_slice(if clock_synchronized { b"true}\n" } else { b"false}\n" });
    }

    fn text(&mut self, key: &str, text: &str) {
        if !text.is_empty() {
            self.key(key);
            write_string(text, self.out);
        }
    }

    fn maybe_text(&mut self, key: &str, text: Option<&str>) {
        self.text(key, text.unwrap_or_default());
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

    /// Milliseconds, with three decimals.
    fn milliseconds(&mut self, key: &str, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.number(key, micros / 1000);
        self.out.push(b'.');
        write_padded(micros % 1000, 3, self.out);
    }

    fn time(&mut self, key: &str, time: Timestamp) {
        self.key(key);
        self.out.push(b'"');
        write_time(time, self.out);
        self.out.push(b'"');
    }

    /// An IPv4 client of a dual-stack socket is shown as the IPv4 address it has. A port that is not
    /// known is zero, and absent.
    fn endpoint(&mut self, ip_key: &str, port_key: &str, address: SocketAddr) {
        self.key(ip_key);
        self.out.push(b'"');
        write_ip(address.ip().to_canonical(), self.out);
        self.out.push(b'"');
        if address.port() != 0 {
            self.number(port_key, address.port().into());
        }
    }

    fn address(&mut self, key: &str, address: SocketAddr) {
        self.key(key);
        // Writing to a Vec cannot fail.
        let _ = write!(self.out, "\"{address}\"");
    }
}

/// RFC 3339 with milliseconds, in Asia/Shanghai; years of more than four digits do not occur.
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

/// A JSON string. Besides what JSON asks for, DEL, the C1 controls and the Unicode line separators
/// are escaped, since terminals obey some and text tools break lines at others.
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

/// Whether a character that begins with `byte` may need escaping: 0xc2 leads the C1 controls, 0xe2
/// the line separators.
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
