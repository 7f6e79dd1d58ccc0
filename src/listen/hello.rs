//! Reads a ClientHello from any number of segments and records, before a byte is sent.
//!
//! The reader is pure and its cost is linear. It checks what the gate needs; rustls parses the same bytes
//! again once the name is permitted. Layouts: RFC 8446, 4.1.2 and 5.1; RFC 6066, 3.

use std::borrow::Cow;
use std::sync::Arc;

use crate::gate::Refusal;
use crate::hostname::Hostname;

/// The longest handshake message accepted, in bytes, header included.
pub const MESSAGE_BYTES: usize = 64 * 1024;
/// The longest record payload (RFC 8446, 5.1).
const RECORD_BYTES: usize = 16 * 1024;
const RECORD_HEADER_BYTES: usize = 5;
const MESSAGE_HEADER_BYTES: usize = 4;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const SUPPORTED_VERSIONS: u16 = 43;
const TLS_1_2: u16 = 0x0303;
const TLS_1_3: u16 = 0x0304;
const ENCRYPTED_SERVER_NAME: u16 = 0xffce;
const HOST_NAME: u8 = 0;
/// Bytes of an invalid name that a record keeps.
const SHOWN_BYTES: usize = 253;

/// The content of a complete, well-formed ClientHello.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Hello {
    /// The requested host, or why it cannot be served.
    pub host: Result<Hostname, Refusal>,
    /// The name as it was sent, if printable.
    pub shown: Option<Arc<str>>,
    /// The TLS versions that it offers.
    pub offer: Offer,
}

/// Whether a client offers a TLS version that this edge speaks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Offer {
    /// TLS 1.2 or 1.3 is among them.
    Modern,
    /// All are older (RFC 8996).
    Old {
        /// The minor part of `legacy_version`, at most that of TLS 1.2: what the client understands.
        minor: u8,
    },
}

/// How much of a ClientHello has arrived.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum HelloProgress {
    /// It is incomplete.
    Wanting,
    /// It is complete and well-formed.
    Whole(Hello),
    /// The bytes are no ClientHello: [`Refusal::NotTls`] or [`Refusal::BadHello`].
    Refused(Refusal),
}

/// Assembles a ClientHello from its records.
#[derive(Debug, Default)]
pub struct HelloReader {
    /// The start of an incomplete record.
    partial: Vec<u8>,
    message: Vec<u8>,
    begun: bool,
    unread: usize,
}

impl HelloReader {
    /// Takes the client's next bytes. Finished after any result but [`HelloProgress::Wanting`].
    pub fn advance(&mut self, mut bytes: &[u8]) -> HelloProgress {
        if let Some(first) = bytes.first()
            && !std::mem::replace(&mut self.begun, true)
            && *first != HANDSHAKE
        {
            return HelloProgress::Refused(Refusal::NotTls);
        }
        if self.partial.is_empty()
            && self.message.is_empty()
            && let Some((message, unread)) = whole(bytes)
        {
            self.unread = unread;
            return judge(message);
        }
        while !bytes.is_empty() {
            let wanted = match record_bytes(&self.partial) {
                Err(refusal) => return HelloProgress::Refused(refusal),
                Ok(wanted) => wanted,
            };
            let taken = (wanted - self.partial.len()).min(bytes.len());
            self.partial.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            self.unread = bytes.len();
            match record_bytes(&self.partial) {
                Err(refusal) => return HelloProgress::Refused(refusal),
                Ok(wanted) if self.partial.len() < wanted || wanted == RECORD_HEADER_BYTES => continue,
                Ok(_) => {}
            }
            self.message.extend_from_slice(&self.partial[RECORD_HEADER_BYTES..]);
            self.partial.clear();
            match message_bytes(&self.message) {
                Err(refusal) => return HelloProgress::Refused(refusal),
                Ok(Some(whole)) if self.message.len() > whole => {
                    return HelloProgress::Refused(Refusal::BadHello);
                }
                Ok(Some(whole)) if self.message.len() == whole => return judge(&self.message),
                Ok(_) => {}
            }
        }
        HelloProgress::Wanting
    }

    /// Whether the client has sent anything.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// The complete message in records, with the bytes after it; `last` are the bytes of the last call. A
    /// message in one record is returned as it was sent, others in records of the usual size, because rustls
    /// limits small records. The handshake's transcript covers the message alone, so that the client sees no
    /// difference.
    pub fn into_records(self, last: &[u8]) -> Cow<'_, [u8]> {
        if self.message.is_empty() {
            return Cow::Borrowed(last);
        }
        let mut records = Vec::with_capacity(self.message.len() + 5 * RECORD_HEADER_BYTES + self.unread);
        for part in self.message.chunks(RECORD_BYTES) {
            let [high, low] = u16::try_from(part.len()).unwrap_or(u16::MAX).to_be_bytes();
            records.extend_from_slice(&[HANDSHAKE, 3, 1, high, low]);
            records.extend_from_slice(part);
        }
        records.extend_from_slice(&last[last.len() - self.unread..]);
        Cow::Owned(records)
    }
}

/// The message of a ClientHello that is complete in one record, as nearly all are, and the number of bytes
/// after it.
fn whole(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let (record, rest) = bytes.split_at_checked(record_bytes(bytes).ok()?)?;
    let message = record.get(RECORD_HEADER_BYTES..).filter(|message| !message.is_empty())?;
    (message_bytes(message) == Ok(Some(message.len()))).then_some((message, rest.len()))
}

fn judge(message: &[u8]) -> HelloProgress {
    match parse(&message[MESSAGE_HEADER_BYTES..]) {
        Some(hello) => HelloProgress::Whole(hello),
        None => HelloProgress::Refused(Refusal::BadHello),
    }
}

/// The length of the record that starts with `partial`, as far as known: its header first, then the whole
/// record.
fn record_bytes(partial: &[u8]) -> Result<usize, Refusal> {
    if partial.first().is_some_and(|kind| *kind != HANDSHAKE)
        || partial.get(1).is_some_and(|major| *major != 3)
    {
        return Err(Refusal::BadHello);
    }
    let [_, _, _, high, low, ..] = *partial else { return Ok(RECORD_HEADER_BYTES) };
    match usize::from(u16::from_be_bytes([high, low])) {
        length @ 1..=RECORD_BYTES => Ok(RECORD_HEADER_BYTES + length),
        _ => Err(Refusal::BadHello),
    }
}

/// The length of the message that starts with `message`, once known.
fn message_bytes(message: &[u8]) -> Result<Option<usize>, Refusal> {
    if message.first().is_some_and(|kind| *kind != CLIENT_HELLO) {
        return Err(Refusal::BadHello);
    }
    let [_, high, middle, low, ..] = *message else { return Ok(None) };
    let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
    match MESSAGE_HEADER_BYTES + length {
        whole @ 0..=MESSAGE_BYTES => Ok(Some(whole)),
        _ => Err(Refusal::BadHello),
    }
}

/// Input that is consumed from the front.
struct Input<'b>(&'b [u8]);

impl<'b> Input<'b> {
    fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn vector8(&mut self) -> Option<&'b [u8]> {
        let length = self.u8()?;
        self.take(usize::from(length))
    }

    fn vector16(&mut self) -> Option<Self> {
        let length = self.u16()?;
        self.take(usize::from(length)).map(Self)
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Parses the body of a ClientHello; `None` if it is malformed.
fn parse(body: &[u8]) -> Option<Hello> {
    let mut fields = Input(body);
    let legacy_version = fields.u16()?;
    fields.take(32)?; // random
    if fields.vector8()?.len() > 32 {
        return None; // legacy_session_id
    }
    let cipher_suites = fields.vector16()?.0.len();
    if cipher_suites == 0 || cipher_suites % 2 != 0 || fields.vector8()?.is_empty() {
        return None; // or no legacy_compression_methods
    }
    let mut names = ServerNames::None;
    let mut encrypted = false;
    let mut is_modern = legacy_version >= TLS_1_2;
    if !fields.is_empty() {
        let mut extensions = fields.vector16()?;
        if !fields.is_empty() {
            return None;
        }
        while !extensions.is_empty() {
            let kind = extensions.u16()?;
            let content = extensions.vector16()?;
            match kind {
                SERVER_NAME => names = names.and(server_names(content)?),
                ENCRYPTED_SERVER_NAME => encrypted = true,
                SUPPORTED_VERSIONS => is_modern = offers_modern(content)?,
                _ => {}
            }
        }
    }
    let (host, shown) = match names {
        ServerNames::None => (Err(Refusal::NoServerName), None),
        ServerNames::Many => (Err(Refusal::BadServerName), None),
        ServerNames::One(name) => {
            let host = std::str::from_utf8(name)
                .map_err(|_| Refusal::BadServerName)
                .and_then(|text| Hostname::parse(text).map_err(Refusal::from));
            let shown = match &host {
                Ok(host) if host.as_str().as_bytes() == name => host.shared(),
                _ => String::from_utf8_lossy(&name[..name.len().min(SHOWN_BYTES)]).into(),
            };
            (host, Some(shown))
        }
    };
    let [_, minor] = legacy_version.min(TLS_1_2).to_be_bytes();
    let offer = if is_modern { Offer::Modern } else { Offer::Old { minor } };
    Some(Hello { host: if encrypted { Err(Refusal::Esni) } else { host }, shown, offer })
}

/// Whether a supported_versions extension has TLS 1.2 or 1.3; `None` when it is malformed.
fn offers_modern(mut content: Input<'_>) -> Option<bool> {
    let versions = content.vector8()?;
    if !content.is_empty() || versions.is_empty() || versions.len() % 2 != 0 {
        return None;
    }
    let mut versions = versions.chunks_exact(2).map(|version| u16::from_be_bytes([version[0], version[1]]));
    Some(versions.any(|version| matches!(version, TLS_1_2 | TLS_1_3)))
}

/// The server names in a ClientHello; the gate can judge exactly one.
enum ServerNames<'b> {
    None,
    One(&'b [u8]),
    Many,
}

impl<'b> ServerNames<'b> {
    /// The extension may occur once; a second one, or an empty list, counts as several names.
    fn and(self, later: Self) -> Self {
        match (self, later) {
            (Self::None, Self::One(name)) => Self::One(name),
            _ => Self::Many,
        }
    }
}

/// The names of one server_name extension; `None` if it is malformed.
fn server_names<'b>(mut content: Input<'b>) -> Option<ServerNames<'b>> {
    let mut list = content.vector16()?;
    if !content.is_empty() {
        return None;
    }
    let mut names = ServerNames::None;
    while !list.is_empty() {
        let kind = list.u8()?;
        let name = list.vector16()?.0;
        names = if kind == HOST_NAME { names.and(ServerNames::One(name)) } else { ServerNames::Many };
    }
    Some(names)
}

#[cfg(test)]
mod tests;
