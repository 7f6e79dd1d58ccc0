//! One stored response as a file: a checked head, then the checked body.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `ICPGATE1` |
//! | 4 | length of the head, little endian |
//! | 4 | CRC32C of the head |
//! | 4 | CRC32C of the body |
//! | 4 | zero |
//! | … | the head: JSON |
//! | … | the body, to the end of the file |

use std::io::{self, Read, Write};
use std::sync::atomic::AtomicU32;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};

use crate::cache::freshness::Freshness;
use crate::cache::key::Key;
use crate::cache::stored::{PageStamp, Stored, Validators};
use crate::cache::vary::Variance;
use crate::rewrite::{FooterPages, FooterResult};

const MAGIC: &[u8; 8] = b"ICPGATE1";
const PREFIX: usize = 24;
/// The largest head that is read, in bytes.
const HEAD: usize = 1 << 20;

/// What a file says of its response.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Head {
    pub(super) site: String,
    pub(super) host: String,
    pub(super) target: String,
    status: u16,
    fields: Vec<(String, String)>,
    freshness: [i64; 5],
    etag: Option<String>,
    last_modified: Option<String>,
    vary: Vec<String>,
    variance: Option<String>,
    route: u64,
    pages: u8,
    footer_html: Option<String>,
    #[serde(default)]
    assets: u64,
    footer: Option<String>,
    body: u64,
}

const PAGES: [FooterPages; 3] = [FooterPages::All, FooterPages::Home, FooterPages::Off];
/// Results that are stored; the others come from what is not stored, or is told from the head again.
const RESULTS: [FooterResult; 5] = [
    FooterResult::Injected,
    FooterResult::Present,
    FooterResult::WrongLink,
    FooterResult::WrongNumber,
    FooterResult::Failed,
];

/// Bytes as text, one character each: values of fields need not be UTF-8.
fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    text.chars().map(|character| u8::try_from(character).ok()).collect()
}

fn value(text: &str) -> Option<HeaderValue> {
    HeaderValue::from_bytes(&bytes(text)?).ok()
}

impl Head {
    pub(super) fn of(stored: &Stored) -> Self {
        let Freshness { initial_age, received, lifetime, while_revalidate, if_error } = stored.freshness;
        let number = |seconds: u64| i64::try_from(seconds).unwrap_or(i64::MAX);
        let field = |value: &Option<HeaderValue>| value.as_ref().map(|value| text(value.as_bytes()));
        let (vary, variance) = stored.variance.to_text();
        let pages = PAGES.iter().position(|pages| *pages == stored.stamp.pages).unwrap_or(0);
        Self {
            site: stored.key.site().to_string(),
            host: stored.key.host().to_string(),
            target: text(stored.key.target()),
            status: stored.status.as_u16(),
            fields: stored
                .headers
                .iter()
                .map(|(name, value)| (name.as_str().to_owned(), text(value.as_bytes())))
                .collect(),
            freshness: [
                number(initial_age),
                received,
                number(lifetime),
                number(while_revalidate),
                number(if_error),
            ],
            etag: field(&stored.validators.etag),
            last_modified: field(&stored.validators.last_modified),
            vary,
            variance,
            route: stored.stamp.route,
            pages: u8::try_from(pages).unwrap_or(0),
            footer_html: stored.stamp.footer.as_ref().map(|html| text(html)),
            assets: stored.stamp.assets,
            footer: stored.footer.map(|footer| footer.label().to_owned()),
            body: stored.body.len() as u64,
        }
    }

    pub(super) fn key(&self) -> Option<Key> {
        Some(Key::new(&self.site.as_str().into(), &self.host.as_str().into(), &bytes(&self.target)?))
    }

    pub(super) fn variance(&self) -> Option<Variance> {
        Variance::from_text(&self.vary, self.variance.as_deref())
    }

    pub(super) fn stamp(&self) -> Option<PageStamp> {
        let pages = *PAGES.get(usize::from(self.pages))?;
        let footer = match &self.footer_html {
            Some(html) => Some(Bytes::from(bytes(html)?)),
            None => None,
        };
        Some(PageStamp { route: self.route, pages, footer, assets: self.assets })
    }

    fn stored(&self, body: Bytes) -> Option<Stored> {
        let mut headers = HeaderMap::with_capacity(self.fields.len());
        for (name, text) in &self.fields {
            headers.append(HeaderName::from_bytes(name.as_bytes()).ok()?, value(text)?);
        }
        let [initial_age, received, lifetime, while_revalidate, if_error] = self.freshness;
        let number = |seconds: i64| u64::try_from(seconds).ok();
        let label = |label: &String| RESULTS.into_iter().find(|result| result.label() == label);
        Some(Stored {
            id: Stored::next_id(),
            key: self.key()?,
            status: StatusCode::from_u16(self.status).ok()?,
            headers,
            body,
            freshness: Freshness {
                initial_age: number(initial_age)?,
                received,
                lifetime: number(lifetime)?,
                while_revalidate: number(while_revalidate)?,
                if_error: number(if_error)?,
            },
            validators: Validators {
                etag: self.etag.as_deref().and_then(value),
                last_modified: self.last_modified.as_deref().and_then(value),
            },
            variance: self.variance()?,
            stamp: self.stamp()?,
            footer: self.footer.as_ref().and_then(label),
            uses: AtomicU32::new(0),
        })
    }
}

/// Writes a response; its size in bytes.
pub(super) fn write(stored: &Stored, out: &mut impl Write) -> io::Result<u64> {
    let head = serde_json::to_vec(&Head::of(stored))?;
    let length = u32::try_from(head.len()).map_err(io::Error::other)?;
    out.write_all(MAGIC)?;
    for number in [length, crc32c::crc32c(&head), crc32c::crc32c(&stored.body), 0] {
        out.write_all(&number.to_le_bytes())?;
    }
    out.write_all(&head)?;
    out.write_all(&stored.body)?;
    Ok((PREFIX + head.len() + stored.body.len()) as u64)
}

/// Reads the head and the checksum of the body.
pub(super) fn read_head(file: &mut impl Read) -> io::Result<(Head, u32)> {
    let mut prefix = [0; PREFIX];
    file.read_exact(&mut prefix)?;
    let number = |at: usize| {
        prefix.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_le_bytes)
    };
    let length = number(8) as usize;
    if !prefix.starts_with(MAGIC) || length > HEAD {
        return Err(corrupt("it is no stored response"));
    }
    let mut head = vec![0; length];
    file.read_exact(&mut head)?;
    if crc32c::crc32c(&head) != number(12) {
        return Err(corrupt("the checksum of its head is wrong"));
    }
    Ok((serde_json::from_slice(&head)?, number(16)))
}

/// Reads a whole response of at most `largest` bytes of body.
pub(super) fn read(file: &mut impl Read, largest: usize) -> io::Result<Stored> {
    let (head, checksum) = read_head(file)?;
    let length = usize::try_from(head.body).ok().filter(|length| *length <= largest);
    let length = length.ok_or_else(|| corrupt("its body is larger than max_object"))?;
    let mut body = vec![0; length];
    file.read_exact(&mut body)?;
    if crc32c::crc32c(&body) != checksum {
        return Err(corrupt("the checksum of its body is wrong"));
    }
    head.stored(Bytes::from(body)).ok_or_else(|| corrupt("its head is malformed"))
}

fn corrupt(why: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}
