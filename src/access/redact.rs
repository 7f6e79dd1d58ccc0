//! Redaction of query parameters and of user names and passwords in authorities.
//!
//! A stored value cannot be taken back, so redaction prefers too much to too little: a value is never stored
//! in part, and a parameter name is recognised in any encoding. Time is linear in the length of the query.

use std::borrow::Cow;

/// Replaces a redacted value.
const REDACTED: &str = "***";

/// The names of the parameters to redact.
#[derive(Clone, Debug, Default)]
pub struct QueryRedaction {
    /// Lower case.
    names: Vec<Box<[u8]>>,
}

impl QueryRedaction {
    /// Redacts the parameters in `names` (`access_log.redact_query`): plain text, ASCII case ignored.
    pub fn new<N: AsRef<str>>(names: impl IntoIterator<Item = N>) -> Self {
        Self {
            names: names
                .into_iter()
                .map(|name| name.as_ref().to_ascii_lowercase().as_bytes().into())
                .collect(),
        }
    }

    /// Redacts a query (without its `?`): the value of each named parameter becomes `***`.
    ///
    /// Parameters are separated by `&` or `;`. A part after a redacted value and a `;` that has no `=` may
    /// belong to that value, and is redacted too.
    pub fn redact<'q>(&self, query: &'q str) -> Cow<'q, str> {
        if self.names.is_empty() {
            return Cow::Borrowed(query);
        }
        let mut redacted: Option<String> = None;
        let mut in_value = false;
        let mut start = 0;
        for parameter in query.split_inclusive(['&', ';']) {
            let (body, separator) = match parameter.as_bytes().last() {
                Some(b'&' | b';') => parameter.split_at(parameter.len() - 1),
                _ => (parameter, ""),
            };
            let kept = if let Some((name, _)) = body.split_once('=') {
                in_value = self.names(name);
                if in_value { Some(name.len() + 1) } else { None }
            } else {
                in_value.then_some(0)
            };
            match kept {
                Some(kept) => {
                    let out = redacted.get_or_insert_with(|| query[..start].to_owned());
                    out.push_str(&body[..kept]);
                    out.push_str(REDACTED);
                    out.push_str(separator);
                }
                None => {
                    if let Some(out) = &mut redacted {
                        out.push_str(parameter);
                    }
                }
            }
            in_value &= separator == ";";
            start += parameter.len();
        }
        redacted.map_or(Cow::Borrowed(query), Cow::Owned)
    }

    fn names(&self, encoded: &str) -> bool {
        self.names.iter().any(|name| {
            let plain = Decoded(encoded.as_bytes()).map(|byte| byte.to_ascii_lowercase());
            name.len() <= encoded.len() && plain.eq(name.iter().copied())
        })
    }
}

/// Redacts the userinfo of an authority: everything before its last `@` (RFC 3986, 3.2.1).
pub fn redact_userinfo(authority: &[u8]) -> Cow<'_, [u8]> {
    match memchr::memrchr(b'@', authority) {
        None => Cow::Borrowed(authority),
        Some(at) => Cow::Owned([REDACTED.as_bytes(), &authority[at..]].concat()),
    }
}

/// Percent-decodes a text. A malformed escape stands for itself.
struct Decoded<'t>(&'t [u8]);

impl Iterator for Decoded<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        let (&first, rest) = self.0.split_first()?;
        self.0 = rest;
        match (first, rest) {
            (b'%', [high, low, rest @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    self.0 = rest;
                    Some(high << 4 | low)
                }
                _ => Some(first),
            },
            (b'+', _) => Some(b' '),
            _ => Some(first),
        }
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(query: &str, expected: &str) {
        let redaction = QueryRedaction::new(["token", "Password", "access_token"]);
        assert_eq!(redaction.redact(query), expected);
    }

    #[test]
    fn values_of_named_parameters_are_redacted_and_others_kept() {
        check("token=abc", "token=***");
        check("a=1&token=abc&b=2", "a=1&token=***&b=2");
        check("a=1;token=abc;b=2", "a=1;token=***;b=2");
        check("token=a&token=b", "token=***&token=***");
        check("token=a=b==&x=1", "token=***&x=1");
        check("token=", "token=***");
        check("mytoken=1&token2=2&tok=3", "mytoken=1&token2=2&tok=3");
        check("token&a=1", "token&a=1");
        check("", "");
        check("&&;=&=x", "&&;=&=x");
        check("q=令牌&token=密", "q=令牌&token=***");
    }

    #[test]
    fn a_name_is_recognised_in_any_case_and_encoding() {
        check("TOKEN=a&PassWord=b", "TOKEN=***&PassWord=***");
        check("%74oken=a&to%6Ben=b&access%5ftoken=c", "%74oken=***&to%6Ben=***&access%5ftoken=***");
        check("%5=1&%=2&%zz=3", "%5=1&%=2&%zz=3");
    }

    #[test]
    fn a_semicolon_inside_a_value_does_not_leak_its_rest() {
        check("token=ab;cd&x=1", "token=***;***&x=1");
        check("token=ab;cd;e=1", "token=***;***;e=1");
        check("token=ab&cd", "token=***&cd");
    }

    #[test]
    fn nothing_named_nothing_copied() {
        assert!(matches!(QueryRedaction::default().redact("token=1"), Cow::Borrowed(_)));
        assert!(matches!(QueryRedaction::new(["token"]).redact("a=1&b=2"), Cow::Borrowed(_)));
    }
}
