//! References of style sheets: `url()` and `@import` (CSS Syntax 3, 4.3).
//!
//! A style sheet passes as it comes, and a URL is held until its end. What comes out does not depend on how it is cut.

use encoding_rs::{Encoding, SHIFT_JIS, UTF_8};

/// Bytes of a URL that is looked at; longer ones are images within the style sheet.
pub(super) const LONGEST: usize = 4 << 10;

/// Replaces the URLs of one style sheet.
#[derive(Debug, Default)]
pub(super) struct StyleMapper {
    state: State,
    /// A word or a URL that is not at its end.
    held: Vec<u8>,
    /// Whether the last byte is part of a name, which `url(` would go on.
    is_in_name: bool,
    has_mapped: bool,
    characters: Characters,
    /// Whether the next byte is the second one of a character.
    is_behind_lead: bool,
}

/// How characters outside of ASCII are written. The second byte of one may be that of a backslash.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum Characters {
    /// In bytes that are none of ASCII's, as in UTF-8.
    #[default]
    Apart,
    /// In pairs, as in GBK and Big5.
    Pairs,
    /// In pairs, or alone as half-width Katakana.
    ShiftJis,
}

impl Characters {
    fn of(encoding: &'static Encoding) -> Self {
        if encoding == SHIFT_JIS {
            Self::ShiftJis
        } else if encoding == UTF_8 || encoding.is_single_byte() {
            Self::Apart
        } else {
            Self::Pairs
        }
    }

    /// Whether another byte of the same character follows.
    fn is_lead(self, byte: u8) -> bool {
        match self {
            Self::Apart => false,
            Self::Pairs => !byte.is_ascii(),
            Self::ShiftJis => matches!(byte, 0x81..=0x9f | 0xe0..=0xfc),
        }
    }
}

/// Finds what replaces a URL.
type Local<'l> = &'l dyn Fn(&str) -> Option<String>;

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum State {
    #[default]
    Plain,
    /// `held` begins like one of [`WORDS`].
    Word,
    /// Behind a backslash.
    Escape,
    /// Behind a `/`, and behind an `@import` if so.
    Slash(Place),
    Comment(Place),
    /// Behind a `*` in a comment.
    Star(Place),
    /// Behind `@import`.
    Import,
    /// Behind `url(`.
    Url,
    /// `held` is a URL.
    Value(End),
    /// In what is not looked at.
    Passing(End),
    /// The same behind a backslash.
    PassingEscape(End),
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Place {
    Anywhere,
    Import,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum End {
    Quote(u8),
    Parenthesis,
}

/// A byte outside of ASCII.
const LETTER: u8 = 0xff;

const WORDS: [&[u8]; 2] = [b"url(", b"@import"];

impl StyleMapper {
    /// At the beginning of a style sheet in this charset.
    pub(super) fn new(encoding: &'static Encoding) -> Self {
        Self { characters: Characters::of(encoding), ..Self::default() }
    }

    /// Takes the next bytes and appends what is settled to `out`.
    pub(super) fn push(&mut self, bytes: &[u8], local: Local<'_>, out: &mut Vec<u8>) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let passed = if self.characters == Characters::Apart { self.pass(rest, out) } else { 0 };
            rest = &rest[passed..];
            let Some((&byte, behind)) = rest.split_first() else { return };
            // As part of a character, it means nothing to a style sheet.
            let read = if self.is_behind_lead { LETTER } else { byte };
            if self.step(read, byte, local, out) {
                self.is_behind_lead = !self.is_behind_lead && self.characters.is_lead(byte);
                rest = behind;
            }
        }
    }

    /// Whether a URL was replaced.
    pub(super) fn has_mapped(&self) -> bool {
        self.has_mapped
    }

    /// Ends the style sheet; returns the rest.
    pub(super) fn finish(self) -> Vec<u8> {
        self.held
    }

    /// Passes bytes that change nothing; returns how many.
    fn pass(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> usize {
        let ends = |byte: u8| match self.state {
            State::Plain => matches!(byte, b'/' | b'"' | b'\'' | b'u' | b'U' | b'@' | b'\\'),
            State::Comment(_) => byte == b'*',
            State::Passing(End::Quote(quote)) => byte == quote || byte == b'\\' || byte == b'\n',
            State::Passing(End::Parenthesis) => byte == b')' || byte == b'\\',
            _ => true,
        };
        let passed = bytes.iter().position(|&byte| ends(byte)).unwrap_or(bytes.len());
        out.extend_from_slice(&bytes[..passed]);
        if let (State::Plain, Some(last)) = (self.state, bytes[..passed].last()) {
            self.is_in_name = is_of_name(*last);
        }
        passed
    }

    /// Takes one byte, which is read as `read`. `false`: it is read again in the next state.
    fn step(&mut self, read: u8, byte: u8, local: Local<'_>, out: &mut Vec<u8>) -> bool {
        let (state, is_taken) = match (self.state, read) {
            (State::Plain, b'/') => (State::Slash(Place::Anywhere), true),
            (State::Plain, b'\\') => (State::Escape, true),
            (State::Plain | State::Import | State::Url, b'"' | b'\'') => (self.quote(read), true),
            (State::Plain, b'u' | b'U' | b'@') if !self.is_in_name || read == b'@' => (State::Word, false),
            (State::Plain, _) => (State::Plain, true),
            (State::Word, _) => return self.word(read, out),
            (State::Escape, _) => (State::Plain, true),
            (State::Slash(place), b'*') => (State::Comment(place), true),
            (State::Slash(_), _) => (State::Plain, false),
            (State::Comment(place), b'*') => (State::Star(place), true),
            (State::Star(place), b'*') => (State::Star(place), true),
            (State::Star(Place::Anywhere), b'/') => (State::Plain, true),
            (State::Star(Place::Import), b'/') => (State::Import, true),
            (State::Comment(place) | State::Star(place), _) => (State::Comment(place), true),
            (State::Import, b'/') => (State::Slash(Place::Import), true),
            (State::Import | State::Url, _) if read.is_ascii_whitespace() => (self.state, true),
            (State::Import, _) => (State::Plain, false),
            (State::Url, b')') => (State::Plain, true),
            (State::Url, _) => (State::Value(End::Parenthesis), false),
            (State::Value(end), _) => return self.value(read, byte, end, local, out),
            (State::Passing(end), b'\\') => (State::PassingEscape(end), true),
            (State::Passing(End::Quote(quote)), _) if read == quote || read == b'\n' => (State::Plain, true),
            (State::Passing(End::Parenthesis), b')') => (State::Plain, true),
            (State::Passing(_), _) => (self.state, true),
            (State::PassingEscape(end), _) => (State::Passing(end), true),
        };
        if is_taken {
            out.push(byte);
            self.is_in_name = is_of_name(read) || self.state == State::Escape;
        }
        self.state = state;
        is_taken
    }

    /// What a quote begins here.
    fn quote(&self, quote: u8) -> State {
        match self.state {
            State::Plain => State::Passing(End::Quote(quote)),
            _ => State::Value(End::Quote(quote)),
        }
    }

    fn word(&mut self, read: u8, out: &mut Vec<u8>) -> bool {
        self.held.push(read);
        let held = &self.held;
        let begins =
            |word: &&&[u8]| word.get(..held.len()).is_some_and(|start| start.eq_ignore_ascii_case(held));
        match WORDS.iter().find(begins) {
            Some(word) if word.len() == held.len() => {
                self.state = if word.starts_with(b"@") { State::Import } else { State::Url };
                self.is_in_name = false;
                out.append(&mut self.held);
                true
            }
            Some(_) => true,
            None => {
                self.held.pop();
                self.is_in_name = self.held.last().is_some_and(|last| is_of_name(*last));
                out.append(&mut self.held);
                self.state = State::Plain;
                false
            }
        }
    }

    /// Reads on in a URL.
    fn value(&mut self, read: u8, byte: u8, end: End, local: Local<'_>, out: &mut Vec<u8>) -> bool {
        let ends = match end {
            End::Quote(quote) => read == quote,
            End::Parenthesis => read == b')',
        };
        if ends {
            let url = std::str::from_utf8(&self.held).ok().and_then(local);
            match url {
                Some(url) => {
                    self.has_mapped = true;
                    out.extend_from_slice(url.as_bytes());
                }
                None => out.append(&mut self.held),
            }
            self.held.clear();
            self.state = State::Plain;
            self.is_in_name = false;
            out.push(byte);
            return true;
        }
        let is_odd = match end {
            // A URL with an escape is rare. A line break ends a string.
            End::Quote(_) => matches!(read, b'\\' | b'\n'),
            End::Parenthesis => matches!(read, b'\\' | b'"' | b'\'' | b'('),
        };
        if is_odd || self.held.len() == LONGEST {
            out.append(&mut self.held);
            self.state = State::Passing(end);
            return false;
        }
        self.held.push(byte);
        true
    }
}

/// Whether a byte is part of a name (CSS Syntax 3, 4.2).
fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') || !byte.is_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(url: &str) -> Option<String> {
        url.trim().strip_prefix("//f/").map(|name| format!("/own/{name}"))
    }

    #[track_caller]
    fn check(style: &str, expected: &str) {
        for cut in 0..=style.len() {
            let (first, second) = style.as_bytes().split_at(cut);
            let (mut mapper, mut out) = (StyleMapper::default(), Vec::new());
            for bytes in [first, second] {
                mapper.push(bytes, &local, &mut out);
            }
            out.extend(mapper.finish());
            assert_eq!(String::from_utf8_lossy(&out), expected, "{style} cut at {cut}");
        }
    }

    #[test]
    fn urls_are_replaced_in_every_form() {
        check("p{x:url(//f/a)}", "p{x:url(/own/a)}");
        check("p{x:URL( \"//f/a\" ) url( '//f/b')}", "p{x:URL( \"/own/a\" ) url( '/own/b')}");
        check("p{x:url( //f/a )}", "p{x:url( /own/a)}");
        check(
            "@import '//f/a';@IMPORT\n/* x */ \"//f/b\" print;",
            "@import '/own/a';@IMPORT\n/* x */ \"/own/b\" print;",
        );
        check("@import url(//f/a);@import/**/url('//f/b')", "@import url(/own/a);@import/**/url('/own/b')");
        check("a{b:url(//f/a)url(//g/b),url(//f/c)", "a{b:url(/own/a)url(//g/b),url(/own/c)");
        check(":url(//f/a)/uurl(//f/a)", ":url(/own/a)/uurl(//f/a)");
    }

    #[test]
    fn everything_else_stays() {
        for style in [
            "",
            "u",
            "@impor",
            "url(//f/a",
            "/* url(//f/a) */",
            "/* *",
            "a{b:'url(//f/a)'}",
            "a{b:\"\\\"url(//f/a)\"}",
            "curl(//f/a) -url(//f/a) \\75url(//f/a)",
            "url(//f/\\61)url('//f/\\'a')",
            "url(//f/(a)",
            "@importx '//f/a';a '//f/a'",
            "@import x '//f/a'",
            "a{b:'//f/a\n'url",
            "中url(//f/a)",
        ] {
            check(style, style);
        }
        let long = format!("url(//f/{})", "x".repeat(LONGEST));
        let (mut mapper, mut out) = (StyleMapper::default(), Vec::new());
        mapper.push(long.as_bytes(), &local, &mut out);
        mapper.push(b"url(//f/a)", &local, &mut out);
        assert_eq!(String::from_utf8_lossy(&out), format!("{long}url(/own/a)"));
    }

    #[test]
    fn the_second_byte_of_a_character_is_no_backslash() {
        for (encoding, text) in [
            (SHIFT_JIS, "a{b:'ソ';c:url(//f/a)}/*表*/d{e:'ｱ\\'url(//f/a)'}"),
            (encoding_rs::BIG5, "a{b:'功';c:url(//f/a)}"),
        ] {
            let style = encoding.encode(text).0;
            let expected = encoding.encode(&text.replacen("//f/a", "/own/a", 1)).0.into_owned();
            for cut in 0..=style.len() {
                let (mut mapper, mut out) = (StyleMapper::new(encoding), Vec::new());
                let (first, second) = style.split_at(cut);
                for bytes in [first, second] {
                    mapper.push(bytes, &local, &mut out);
                }
                out.extend(mapper.finish());
                assert_eq!(out, expected, "{} cut at {cut}", encoding.name());
            }
        }
    }
}
