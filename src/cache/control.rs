//! `cache-control` of responses (RFC 9111, 5.2.2), read conservatively.
//!
//! Repeated directives: the smallest time holds. A time that is no number of seconds counts as none at all. A
//! directive limited to fields (`no-cache="set-cookie"`) counts as unlimited.

use http::HeaderMap;
use http::header::CACHE_CONTROL;

/// The longest time, in seconds: 2³¹ (RFC 9111, 1.2.2).
pub(super) const FOREVER: u64 = 1 << 31;

/// The directives of a response.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Control {
    pub(super) no_store: bool,
    pub(super) no_cache: bool,
    pub(super) private: bool,
    pub(super) public: bool,
    pub(super) must_revalidate: bool,
    pub(super) proxy_revalidate: bool,
    /// In seconds; zero if it is malformed.
    pub(super) max_age: Option<u64>,
    /// In seconds; zero if it is malformed.
    pub(super) s_maxage: Option<u64>,
    /// RFC 5861, 3.
    pub(super) stale_while_revalidate: Option<u64>,
    /// RFC 5861, 4.
    pub(super) stale_if_error: Option<u64>,
}

impl Control {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let mut control = Self::default();
        for value in headers.get_all(CACHE_CONTROL) {
            for directive in split(value.as_bytes()) {
                control.add(directive);
            }
        }
        control
    }

    fn add(&mut self, directive: &[u8]) {
        let (name, argument) = match directive.iter().position(|byte| *byte == b'=') {
            Some(at) => (&directive[..at], Some(&directive[at + 1..])),
            None => (directive, None),
        };
        let seconds = || argument.map_or(0, seconds);
        let least = |known: Option<u64>| Some(known.map_or(seconds(), |known| known.min(seconds())));
        // A name with a blank before `=` is malformed; it still says what was meant.
        match name.trim_ascii().to_ascii_lowercase().as_slice() {
            b"no-store" => self.no_store = true,
            b"no-cache" => self.no_cache = true,
            b"private" => self.private = true,
            b"public" => self.public = true,
            b"must-revalidate" => self.must_revalidate = true,
            b"proxy-revalidate" => self.proxy_revalidate = true,
            b"max-age" => self.max_age = least(self.max_age),
            b"s-maxage" => self.s_maxage = least(self.s_maxage),
            b"stale-while-revalidate" => self.stale_while_revalidate = least(self.stale_while_revalidate),
            b"stale-if-error" => self.stale_if_error = least(self.stale_if_error),
            _ => {}
        }
    }
}

/// Seconds, in quotes or not; zero for what is no number.
fn seconds(argument: &[u8]) -> u64 {
    let quoted = argument.strip_prefix(b"\"").and_then(|argument| argument.strip_suffix(b"\""));
    delta_seconds(quoted.unwrap_or(argument)).unwrap_or(0)
}

/// Digits, [`FOREVER`] at most.
pub(super) fn delta_seconds(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits
        .iter()
        .fold(0_u64, |number, digit| number.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
    Some(number.min(FOREVER))
}

/// The elements of a list, none of them empty; a comma in a quoted string separates nothing.
fn split(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    let parts = value.split(move |byte| {
        if std::mem::take(&mut escaped) {
            return false;
        }
        match byte {
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' => return !quoted,
            _ => {}
        }
        false
    });
    parts.map(<[u8]>::trim_ascii).filter(|part| !part.is_empty())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn control(values: &[&'static str]) -> Control {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(CACHE_CONTROL, HeaderValue::from_static(value));
        }
        Control::of(&headers)
    }

    #[test]
    fn times_are_read_conservatively() {
        for (value, max_age) in [
            ("max-age=60", 60),
            ("MAX-AGE=60", 60),
            ("max-age=\"60\"", 60),
            ("max-age=99999999999999999999", FOREVER),
            ("max-age=60, max-age=10", 10),
            ("max-age", 0),
            ("max-age=", 0),
            ("max-age=-1", 0),
            ("max-age=1.5", 0),
            ("max-age=60s", 0),
            ("max-age= 60", 0),
            ("a=\"max-age=5, \\\" no-store\", max-age=60", 60),
        ] {
            let control = control(&[value]);
            assert_eq!((control.max_age, control.no_store), (Some(max_age), false), "{value}");
        }
    }

    #[test]
    fn directives_of_several_fields_all_hold() {
        let control = control(&["public, max-age=60", "No-Cache=\"set-cookie\"", "private=x, s-maxage=5"]);
        assert!(control.public && control.no_cache && control.private && !control.no_store);
        assert_eq!((control.max_age, control.s_maxage), (Some(60), Some(5)));
    }
}
