//! The texts that a client chose, in one piece of memory.
//!
//! Each is cut at a length, and what is no UTF-8 in it is replaced, so that a record is bounded and
//! can be written out as it is.

/// As much of a text as a record keeps, in bytes.
pub const TEXT_BYTES: usize = 8 * 1024;

const TEXTS: usize = 5;

/// What a client sent with a request, as a record keeps it. What was not sent is empty.
#[derive(Clone, Debug, Default)]
pub struct RequestTexts {
    all: String,
    ends: [u32; TEXTS],
}

/// What a client sent with a request. What was not sent is empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent<'r> {
    /// The method.
    pub method: &'r [u8],
    /// The path, without the query.
    pub path: &'r [u8],
    /// The query, already redacted.
    pub query: &'r [u8],
    /// The `referer` header, already redacted.
    pub referer: &'r [u8],
    /// The `user-agent` header.
    pub user_agent: &'r [u8],
}

impl RequestTexts {
    /// Copies what is kept of `sent`.
    pub fn new(sent: Sent<'_>) -> Self {
        if cfg!(feature = "unrecorded") {
            return Self::default();
        }
        let parts = [sent.method, sent.path, sent.query, sent.referer, sent.user_agent]
            .map(|part| &part[..part.len().min(TEXT_BYTES)]);
        let mut all = String::with_capacity(parts.iter().map(|part| part.len()).sum());
        let ends = parts.map(|part| {
            push_lossy(part, &mut all);
            all.len() as u32
        });
        Self { all, ends }
    }

    /// The method.
    pub fn method(&self) -> &str {
        self.part(0)
    }

    /// The path, without the query.
    pub fn path(&self) -> &str {
        self.part(1)
    }

    /// The query, redacted.
    pub fn query(&self) -> &str {
        self.part(2)
    }

    /// The `referer` header.
    pub fn referer(&self) -> &str {
        self.part(3)
    }

    /// The `user-agent` header.
    pub fn user_agent(&self) -> &str {
        self.part(4)
    }

    fn part(&self, place: usize) -> &str {
        let start = if place == 0 { 0 } else { self.ends[place - 1] };
        self.all.get(start as usize..self.ends[place] as usize).unwrap_or_default()
    }
}

fn push_lossy(bytes: &[u8], out: &mut String) {
    // Nearly always so, and told much faster than chunks are.
    if let Ok(text) = std::str::from_utf8(bytes) {
        out.push_str(text);
        return;
    }
    for chunk in bytes.utf8_chunks() {
        out.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            out.push(char::REPLACEMENT_CHARACTER);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_is_its_own_however_long_or_broken_the_others_are() {
        let long = [b'x'; TEXT_BYTES + 1];
        let sent =
            Sent { path: b"/a\xff\xc2b", query: &long, referer: b"", user_agent: b"curl/8", method: b"GET" };
        let texts = RequestTexts::new(sent);
        assert_eq!((texts.method(), texts.path()), ("GET", "/a\u{fffd}\u{fffd}b"));
        assert_eq!((texts.query().len(), texts.referer(), texts.user_agent()), (TEXT_BYTES, "", "curl/8"));
        assert_eq!(RequestTexts::default().user_agent(), "");
    }
}
