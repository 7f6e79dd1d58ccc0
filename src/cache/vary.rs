//! `vary`: which fields of a request select a stored response (RFC 9111, 4.1).

use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, HeaderMap, HeaderName, HeaderValue, VARY};
use pingora::cache::VarianceBuilder;
use pingora::cache::key::{HashBinary, str2hex};

use super::encoding;

/// The most fields that a response may vary by; with more it is not stored. Real ones name a handful.
const NAMES: usize = 16;

/// The fields that a response varies by, and the hash of what its request had in them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Variance {
    names: Box<[HeaderName]>,
    hash: Option<HashBinary>,
}

impl Variance {
    /// Of a response with any of these heads to a request with the fields `asked`. `None` if it varies by everything,
    /// or by too much.
    pub(super) fn of(heads: [&HeaderMap; 2], asked: &HeaderMap) -> Option<Self> {
        let mut names: Vec<HeaderName> = Vec::new();
        for value in heads.iter().flat_map(|head| head.get_all(VARY)) {
            for name in value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
                if name.is_empty() {
                    continue;
                }
                let name = HeaderName::from_bytes(name).ok().filter(|name| name != "*")?;
                if !names.contains(&name) {
                    names.push(name);
                }
                if names.len() > NAMES {
                    return None;
                }
            }
        }
        // A coded response is for those who accept the coding, whether it says so or not.
        if heads.iter().any(|head| head.contains_key(CONTENT_ENCODING)) && !names.contains(&ACCEPT_ENCODING) {
            names.push(ACCEPT_ENCODING);
        }
        names.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        let hash = hash(&names, asked);
        Some(Self { names: names.into(), hash })
    }

    /// Names and hash as text, for a file.
    pub(super) fn to_text(&self) -> (Vec<String>, Option<String>) {
        let hash = self.hash.map(|hash| hash.iter().map(|byte| format!("{byte:02x}")).collect());
        (self.names.iter().map(|name| name.as_str().to_owned()).collect(), hash)
    }

    /// What [`Variance::to_text`] wrote.
    pub(super) fn from_text(names: &[String], hash: Option<&str>) -> Option<Self> {
        let names = names.iter().map(|name| HeaderName::from_bytes(name.as_bytes()).ok());
        let names: Option<Vec<_>> = names.collect();
        let hash = match hash {
            Some(text) => Some(str2hex(text)?),
            None => None,
        };
        Some(Self { names: names?.into(), hash })
    }

    /// Whether a request with these fields selects the response.
    pub(super) fn selects(&self, asked: &HeaderMap) -> bool {
        self.names.is_empty() || hash(&self.names, asked) == self.hash
    }
}

fn hash(names: &[HeaderName], asked: &HeaderMap) -> Option<HashBinary> {
    let mut variance = VarianceBuilder::new();
    for name in names {
        variance.add_owned_value(name.as_str(), value(name, asked));
    }
    variance.finalize()
}

/// The values of a field, in one spelling as far as its meaning allows: lines are joined, blanks around commas dropped.
fn value(name: &HeaderName, asked: &HeaderMap) -> Vec<u8> {
    if *name == ACCEPT_ENCODING {
        return encoding::normal(asked).into_bytes();
    }
    let values = asked.get_all(name).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let parts: Vec<&[u8]> = values.map(<[u8]>::trim_ascii).collect();
    // A field that is absent is another request than one that is empty.
    match asked.get(name).map(HeaderValue::as_bytes) {
        None => Vec::new(),
        Some(_) => [b"=", &*parts.join(&b","[..])].concat(),
    }
}
