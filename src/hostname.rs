//! Host names as the gate compares them: lower-case letters, digits and hyphens, no trailing dot.
//!
//! A [`Hostname`] is valid by construction. Names from the network are taken strictly
//! ([`Hostname::parse`]); names from configuration may be Unicode and are converted once
//! ([`Hostname::from_unicode`]).

use std::borrow::Borrow;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use foldhash::{HashMap, HashMapExt as _};

/// A DNS host name in A-label form: at most 253 bytes, labels of 1 to 63 bytes (RFC 1123).
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Hostname(Arc<str>);

impl Hostname {
    /// Parses a name as it stands in a ClientHello or a `host` header; upper case is folded.
    pub fn parse(text: &str) -> Result<Self, InvalidHostname> {
        check(text)?;
        if text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Ok(Self(text.to_ascii_lowercase().into()))
        } else {
            Ok(Self(text.into()))
        }
    }

    /// Parses a name from configuration, where it may be Unicode (UTS 46, strict).
    pub fn from_unicode(text: &str) -> Result<Self, InvalidHostname> {
        if text.is_ascii() && !text.to_ascii_lowercase().contains("xn--") {
            return Self::parse(text);
        }
        // UTS 46 takes quotation marks and other punctuation, which no registry does (RFC 5892).
        if let Some(mark) = text.chars().find(|c| is_punctuation(*c)) {
            return Err(InvalidHostname::Character(mark));
        }
        let ascii = idna::domain_to_ascii_strict(text).map_err(|_| InvalidHostname::Idna)?;
        Self::parse(&ascii)
    }

    /// The name, lower case.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as a shared string, for records.
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.0)
    }

    /// The name without its first label, if anything is left.
    pub fn parent(&self) -> Option<&str> {
        self.0.split_once('.').map(|(_, parent)| parent)
    }

    /// The part of the name that is registered: one label below an ICANN public suffix.
    ///
    /// `None` for a public suffix itself. Suffixes of the list's private section do not count, since
    /// filings are made for what a registry registers.
    pub fn registrable_domain(&self) -> Option<&str> {
        let name = self.0.as_ref();
        let suffix = icann_suffix_len(name);
        let rest = name.len().checked_sub(suffix + 1)?;
        let start = name[..rest].rfind('.').map_or(0, |dot| dot + 1);
        Some(&name[start..])
    }

    /// The last label.
    pub fn top_level_domain(&self) -> &str {
        self.0.rsplit('.').next().unwrap_or(&self.0)
    }
}

fn icann_suffix_len(name: &str) -> usize {
    let mut rest = name;
    loop {
        let Some(suffix) = psl::suffix(rest.as_bytes()) else { return rest.len() };
        let length = suffix.as_bytes().len();
        if suffix.typ() != Some(psl::Type::Private) {
            return length;
        }
        let suffix = &rest[rest.len() - length..];
        match suffix.split_once('.') {
            Some((_, parent)) => rest = parent,
            None => return length,
        }
    }
}

impl Borrow<str> for Hostname {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a text is no host name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidHostname {
    /// Nothing there.
    #[error("it is empty")]
    Empty,
    /// `example.cn.`: RFC 6066 forbids the dot in a server name.
    #[error("it ends with a dot")]
    TrailingDot,
    /// More than 253 bytes.
    #[error("it is longer than 253 bytes")]
    TooLong,
    /// A label of no bytes, or of more than 63.
    #[error("a label is empty or longer than 63 bytes")]
    LabelLength,
    /// A label begins or ends with a hyphen.
    #[error("a label begins or ends with '-'")]
    Hyphen,
    /// A character that host names do not have.
    #[error("{} is not allowed in a host name", show(*.0))]
    Character(char),
    /// An IP address stands where a name is due.
    #[error("it is an IP address")]
    IpLiteral,
    /// A Unicode name that does not convert.
    #[error("it is not a valid internationalised name (UTS 46)")]
    Idna,
}

/// A character as messages name it; one outside ASCII with its code point, since it may look like another.
fn show(c: char) -> String {
    if c.is_ascii() { format!("{c:?}") } else { format!("{c:?} (U+{:04X})", u32::from(c)) }
}

fn check(text: &str) -> Result<(), InvalidHostname> {
    if text.is_empty() {
        return Err(InvalidHostname::Empty);
    }
    if is_ip_literal(text) {
        return Err(InvalidHostname::IpLiteral);
    }
    if let Some(bad) = text.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '.'))) {
        return Err(InvalidHostname::Character(bad));
    }
    if text.ends_with('.') {
        return Err(InvalidHostname::TrailingDot);
    }
    if text.len() > 253 {
        return Err(InvalidHostname::TooLong);
    }
    for label in text.split('.') {
        if label.is_empty() || label.len() > 63 {
            return Err(InvalidHostname::LabelLength);
        }
        if label.starts_with('-') || label.ends_with('-') {
            return Err(InvalidHostname::Hyphen);
        }
    }
    Ok(())
}

/// Punctuation outside ASCII: Latin quotation marks, general punctuation, and CJK brackets and marks, but for
/// the dots that UTS 46 maps to `.`, the joiners, and the letters among the CJK marks.
fn is_punctuation(c: char) -> bool {
    match c {
        '\u{3002}' | '\u{3005}'..='\u{3007}' | '\u{200c}' | '\u{200d}' => false,
        '\u{ab}' | '\u{bb}' | '\u{2010}'..='\u{205e}' | '\u{3001}'..='\u{3030}' => true,
        _ => false,
    }
}

/// A name whose last label is all digits can only be meant as an IPv4 address (WHATWG URL, 3.5).
fn is_ip_literal(text: &str) -> bool {
    let unbracketed = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    unbracketed.parse::<Ipv6Addr>().is_ok()
        || text.parse::<IpAddr>().is_ok()
        || text
            .rsplit('.')
            .next()
            .is_some_and(|last| !last.is_empty() && last.bytes().all(|b| b.is_ascii_digit()))
}

/// A host as configured: one name, or a wildcard that stands for one label.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum HostPattern {
    /// Just this name.
    Exact(Hostname),
    /// `*.name`: every name exactly one label below.
    Wildcard(Hostname),
}

impl HostPattern {
    /// Parses `name` or `*.name`, Unicode allowed.
    pub fn parse(text: &str) -> Result<Self, InvalidHostname> {
        match text.strip_prefix("*.") {
            Some(base) => Hostname::from_unicode(base).map(Self::Wildcard),
            None => Hostname::from_unicode(text).map(Self::Exact),
        }
    }

    /// Whether `host` is meant.
    pub fn matches(&self, host: &Hostname) -> bool {
        match self {
            Self::Exact(name) => name == host,
            Self::Wildcard(base) => host.parent() == Some(base.as_str()),
        }
    }

    /// The name itself, or the wildcard's base.
    pub fn base(&self) -> &Hostname {
        match self {
            Self::Exact(name) | Self::Wildcard(name) => name,
        }
    }

    /// A name that the pattern matches, to ask questions with.
    pub fn representative(&self) -> Result<Hostname, InvalidHostname> {
        match self {
            Self::Exact(name) => Ok(name.clone()),
            Self::Wildcard(base) => Hostname::parse(&format!("any.{base}")),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => name.fmt(f),
            Self::Wildcard(base) => write!(f, "*.{base}"),
        }
    }
}

/// Values by host, an exact name before a wildcard.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HostTable<T> {
    exact: HashMap<Hostname, T>,
    wildcard: HashMap<Hostname, T>,
}

impl<T> Default for HostTable<T> {
    fn default() -> Self {
        Self { exact: HashMap::new(), wildcard: HashMap::new() }
    }
}

impl<T> HostTable<T> {
    /// Adds a value; gives back the one that the pattern already had.
    pub fn insert(&mut self, pattern: &HostPattern, value: T) -> Option<T> {
        match pattern {
            HostPattern::Exact(name) => self.exact.insert(name.clone(), value),
            HostPattern::Wildcard(base) => self.wildcard.insert(base.clone(), value),
        }
    }

    /// The value for `host`.
    pub fn get(&self, host: &Hostname) -> Option<&T> {
        self.exact.get(host.as_str()).or_else(|| self.wildcard.get(host.parent()?))
    }

    /// Whether a value was added for just this pattern.
    pub fn has(&self, pattern: &HostPattern) -> bool {
        match pattern {
            HostPattern::Exact(name) => self.exact.contains_key(name),
            HostPattern::Wildcard(base) => self.wildcard.contains_key(base),
        }
    }

    /// Every exact name.
    pub fn exact_names(&self) -> impl Iterator<Item = &Hostname> {
        self.exact.keys()
    }
}

/// Splits the host from `host[:port]`; the port must be digits.
pub fn split_port(authority: &str) -> Result<(&str, Option<u16>), InvalidHostname> {
    if authority.starts_with('[') {
        return Err(InvalidHostname::IpLiteral);
    }
    match authority.split_once(':') {
        None => Ok((authority, None)),
        Some((host, "")) => Ok((host, None)),
        Some((host, port)) => {
            let digits = port.bytes().all(|byte| byte.is_ascii_digit());
            match port.parse() {
                Ok(port) if digits => Ok((host, Some(port))),
                _ => Err(InvalidHostname::Character(':')),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_name(text: &str, expected: Result<&str, InvalidHostname>) {
        let parsed = Hostname::parse(text);
        assert_eq!(parsed.as_ref().map(Hostname::as_str).map_err(|e| *e), expected, "{text:?}");
    }

    #[test]
    fn names_are_folded_and_judged() {
        check_name("www.Example.CN", Ok("www.example.cn"));
        check_name("localhost", Ok("localhost"));
        check_name("", Err(InvalidHostname::Empty));
        check_name("example.cn.", Err(InvalidHostname::TrailingDot));
        check_name("a..cn", Err(InvalidHostname::LabelLength));
        check_name(&format!("{}.cn", "a".repeat(64)), Err(InvalidHostname::LabelLength));
        check_name(&"a.".repeat(130), Err(InvalidHostname::TrailingDot));
        check_name(&format!("{}cn", "a.".repeat(130)), Err(InvalidHostname::TooLong));
        check_name("-a.cn", Err(InvalidHostname::Hyphen));
        check_name("foo_bar.cn", Err(InvalidHostname::Character('_')));
        check_name("a\0.cn", Err(InvalidHostname::Character('\0')));
        check_name("例子.cn", Err(InvalidHostname::Character('例')));
        check_name("*.example.cn", Err(InvalidHostname::Character('*')));
        check_name("203.0.113.10", Err(InvalidHostname::IpLiteral));
        check_name("1.2.3", Err(InvalidHostname::IpLiteral));
        check_name("::1", Err(InvalidHostname::IpLiteral));
        check_name("[2001:db8::1]", Err(InvalidHostname::IpLiteral));
    }

    #[test]
    fn unicode_is_converted_once_and_strictly() {
        assert_eq!(Hostname::from_unicode("例子.中国").expect("valid").as_str(), "xn--fsqu00a.xn--fiqs8s");
        assert_eq!(Hostname::from_unicode("Example.CN").expect("valid").as_str(), "example.cn");
        assert_eq!(Hostname::from_unicode("xn--example-.cn"), Err(InvalidHostname::Idna));
        assert!(Hostname::from_unicode("a b.cn").is_err());
        assert_eq!(Hostname::from_unicode("例子。中国").expect("valid").as_str(), "xn--fsqu00a.xn--fiqs8s");
        assert!(Hostname::from_unicode("佐々木.中国").is_ok());
        for mark in ['“', '”', '‘', '’', '「', '《', '«', '、', '—'] {
            let error = Hostname::from_unicode(&format!("{mark}example.cn")).expect_err("punctuation");
            assert_eq!(error, InvalidHostname::Character(mark));
        }
    }

    #[track_caller]
    fn check_registrable(name: &str, expected: Option<&str>) {
        assert_eq!(Hostname::parse(name).expect("valid").registrable_domain(), expected, "{name}");
    }

    #[test]
    fn the_registrable_domain_is_one_label_below_an_icann_suffix() {
        check_registrable("example.cn", Some("example.cn"));
        check_registrable("a.b.example.cn", Some("example.cn"));
        check_registrable("www.example.com.cn", Some("example.com.cn"));
        check_registrable("com.cn", None);
        check_registrable("cn", None);
        check_registrable("me.github.io", Some("github.io"));
        check_registrable("shop.demo.test", Some("demo.test"));
        check_registrable("b.city.kawasaki.jp", Some("city.kawasaki.jp"));
    }

    #[test]
    fn a_wildcard_stands_for_one_label() {
        let pattern = HostPattern::parse("*.static.example.cn").expect("valid");
        let host = |name| Hostname::parse(name).expect("valid");
        assert!(pattern.matches(&host("a.static.example.cn")));
        assert!(!pattern.matches(&host("static.example.cn")));
        assert!(!pattern.matches(&host("a.b.static.example.cn")));
        let mut table = HostTable::default();
        table.insert(&pattern, 1);
        table.insert(&HostPattern::parse("a.static.example.cn").expect("valid"), 2);
        assert_eq!(table.get(&host("a.static.example.cn")), Some(&2));
        assert_eq!(table.get(&host("b.static.example.cn")), Some(&1));
    }

    #[test]
    fn ports_are_split_off() {
        assert_eq!(split_port("a.cn:8443"), Ok(("a.cn", Some(8443))));
        assert_eq!(split_port("a.cn"), Ok(("a.cn", None)));
        assert_eq!(split_port("a.cn:"), Ok(("a.cn", None)));
        assert!(split_port("a.cn:+1").is_err());
        assert!(split_port("a.cn:99999").is_err());
        assert_eq!(split_port("[::1]:80"), Err(InvalidHostname::IpLiteral));
    }
}
