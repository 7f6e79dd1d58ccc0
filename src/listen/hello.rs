//! The ClientHello, read from however many segments and records it comes in, before one byte is sent.
//!
//! The reader is pure and linear: it is given bytes and says what is known. What it accepts is well
//! formed as far as the gate needs; rustls reads the same bytes again when the name is permitted.
//! Field layouts are those of RFC 8446, 4.1.2 and 5.1, and RFC 6066, 3.

use std::borrow::Cow;
use std::sync::Arc;

use crate::gate::Refusal;
use crate::hostname::Hostname;

/// The longest handshake message that is read, in bytes, its header included.
pub const MESSAGE_BYTES: usize = 64 * 1024;
/// The longest record payload (RFC 8446, 5.1).
const RECORD_BYTES: usize = 16 * 1024;
const RECORD_HEADER_BYTES: usize = 5;
const MESSAGE_HEADER_BYTES: usize = 4;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const SERVER_NAME: u16 = 0;
const ENCRYPTED_SERVER_NAME: u16 = 0xffce;
const HOST_NAME: u8 = 0;
/// As much of a name that is no host name as a record shows.
const SHOWN_BYTES: usize = 253;

/// What a whole, well-formed ClientHello says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Hello {
    /// The host that it names, or why it names none that could be served.
    pub host: Result<Hostname, Refusal>,
    /// The name as it was written, as far as it can be shown.
    pub shown: Option<Arc<str>>,
}

/// How far the reader has come.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Progress {
    /// The hello is not whole yet.
    Wanting,
    /// The hello is whole and well formed.
    Whole(Hello),
    /// It is none: [`Refusal::NotTls`] or [`Refusal::BadHello`].
    Refused(Refusal),
}

/// Puts a ClientHello together from its records.
#[derive(Debug, Default)]
pub struct HelloReader {
    /// The beginning of a record that is not whole.
    partial: Vec<u8>,
    message: Vec<u8>,
    begun: bool,
    unread: usize,
}

impl HelloReader {
    /// Takes the next bytes of the client. Once it has said anything but [`Progress::Wanting`], it is
    /// done.
    pub fn advance(&mut self, mut bytes: &[u8]) -> Progress {
        if let Some(first) = bytes.first()
            && !std::mem::replace(&mut self.begun, true)
            && *first != HANDSHAKE
        {
            return Progress::Refused(Refusal::NotTls);
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
                Err(refusal) => return Progress::Refused(refusal),
                Ok(wanted) => wanted,
            };
            let taken = (wanted - self.partial.len()).min(bytes.len());
            self.partial.extend_from_slice(&bytes[..taken]);
            bytes = &bytes[taken..];
            self.unread = bytes.len();
            match record_bytes(&self.partial) {
                Err(refusal) => return Progress::Refused(refusal),
                Ok(wanted) if self.partial.len() < wanted || wanted == RECORD_HEADER_BYTES => continue,
                Ok(_) => {}
            }
            self.message.extend_from_slice(&self.partial[RECORD_HEADER_BYTES..]);
            self.partial.clear();
            match message_bytes(&self.message) {
                Err(refusal) => return Progress::Refused(refusal),
                Ok(Some(whole)) if self.message.len() > whole => return Progress::Refused(Refusal::BadHello),
                Ok(Some(whole)) if self.message.len() == whole => return judge(&self.message),
                Ok(_) => {}
            }
        }
        Progress::Wanting
    }

    /// Whether the client has said anything.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// The whole message in records, and what lies beyond it; `last` are the bytes given last. They are the
    /// client's own where it sent one record, and else of the usual size, for a reader that is less patient with
    /// small ones. The handshake's transcript is over the message, so that nothing changes for the client.
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

/// The message of a hello that begins `bytes` and is whole in one record, as nearly all are, and how many bytes
/// follow it.
fn whole(bytes: &[u8]) -> Option<(&[u8], usize)> {
    let (record, rest) = bytes.split_at_checked(record_bytes(bytes).ok()?)?;
    let message = record.get(RECORD_HEADER_BYTES..).filter(|message| !message.is_empty())?;
    (message_bytes(message) == Ok(Some(message.len()))).then_some((message, rest.len()))
}

/// What a whole message comes to.
fn judge(message: &[u8]) -> Progress {
    match parse(&message[MESSAGE_HEADER_BYTES..]) {
        Some(hello) => Progress::Whole(hello),
        None => Progress::Refused(Refusal::BadHello),
    }
}

/// How many bytes the record that begins with `partial` takes, as far as that is known: its header at
/// first, then all of it.
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

/// How many bytes the message that begins with `message` takes; `None` while that is not known.
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

/// Bytes that are taken from the front.
struct Fields<'b>(&'b [u8]);

impl<'b> Fields<'b> {
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

    /// A vector with a length of one byte in front.
    fn vector8(&mut self) -> Option<&'b [u8]> {
        let length = self.u8()?;
        self.take(usize::from(length))
    }

    /// A vector with a length of two bytes in front.
    fn vector16(&mut self) -> Option<Self> {
        let length = self.u16()?;
        self.take(usize::from(length)).map(Self)
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The hello in the body of a ClientHello message; `None` for one that is malformed.
fn parse(body: &[u8]) -> Option<Hello> {
    let mut fields = Fields(body);
    fields.take(2 + 32)?; // legacy_version, random
    if fields.vector8()?.len() > 32 {
        return None; // legacy_session_id
    }
    let cipher_suites = fields.vector16()?.0.len();
    if cipher_suites == 0 || cipher_suites % 2 != 0 || fields.vector8()?.is_empty() {
        return None; // or no legacy_compression_methods
    }
    let mut names = Names::None;
    let mut encrypted = false;
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
                _ => {}
            }
        }
    }
    let (host, shown) = match names {
        Names::None => (Err(Refusal::NoServerName), None),
        Names::Many => (Err(Refusal::BadServerName), None),
        Names::One(name) => {
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
    Some(Hello { host: if encrypted { Err(Refusal::Esni) } else { host }, shown })
}

/// The names of a hello: one is what the gate can judge.
enum Names<'b> {
    None,
    One(&'b [u8]),
    Many,
}

impl<'b> Names<'b> {
    /// The extension may come once; the second makes them many, and so does an empty list.
    fn and(self, later: Self) -> Self {
        match (self, later) {
            (Self::None, Self::One(name)) => Self::One(name),
            _ => Self::Many,
        }
    }
}

/// The names of one server_name extension; `None` when it is malformed.
fn server_names<'b>(mut content: Fields<'b>) -> Option<Names<'b>> {
    let mut list = content.vector16()?;
    if !content.is_empty() {
        return None;
    }
    let mut names = Names::None;
    while !list.is_empty() {
        let kind = list.u8()?;
        let name = list.vector16()?.0;
        names = if kind == HOST_NAME { names.and(Names::One(name)) } else { Names::Many };
    }
    Some(names)
}

#[cfg(test)]
mod tests;
