//! Paths in one spelling, so that a request cannot leave a route by the way it writes its path.
//!
//! As servers do: percent-encoding is decoded once, dot segments are removed (RFC 3986, 5.2.4) and empty segments are merged. Only
//! matching uses this; what is sent to a server stays as it came.
//!
//! Servers differ in one point. To RFC 3986 (2.2) and to Express, `%2F` is a character of a segment; nginx and PHP's own server decode
//! it first and take it for a separator. So a path with `%2F` has two readings.

use std::borrow::Cow;

/// What `%2F` means.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum EncodedSlash {
    /// It stays, as `%2F`.
    Character,
    Separator,
}

/// The one spelling of a path, which has no query. `%2F` is not a separator.
pub fn normal(path: &str) -> Cow<'_, str> {
    let is_normal = !path.contains('%') && !path.contains("//") && !path.contains("/.");
    if is_normal || !path.starts_with('/') {
        return Cow::Borrowed(path);
    }
    Cow::Owned(spelled(path, EncodedSlash::Character))
}

/// The path as a server reads it to which `%2F` is a separator; `None` if there is none in it.
pub(super) fn with_slashes_decoded(path: &str) -> Option<String> {
    let has_encoded_slash = path.contains("%2F") || path.contains("%2f");
    (has_encoded_slash && path.starts_with('/')).then(|| spelled(path, EncodedSlash::Separator))
}

/// The one spelling with `%2F` as a separator.
pub(super) fn decoded_throughout(path: &str) -> Cow<'_, str> {
    with_slashes_decoded(path).map_or_else(|| normal(path), Cow::Owned)
}

fn spelled(path: &str, slash: EncodedSlash) -> String {
    let decoded = String::from_utf8_lossy(&decoded(path.as_bytes(), slash)).into_owned();
    let mut segments: Vec<&str> = Vec::new();
    // An empty or a dot segment at the end leaves its slash.
    let mut ends_in_slash = false;
    for segment in decoded.split('/').skip(1) {
        ends_in_slash = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            segment => segments.push(segment),
        }
    }
    let mut normal = String::with_capacity(decoded.len());
    for segment in &segments {
        normal.push('/');
        normal.push_str(segment);
    }
    if ends_in_slash || segments.is_empty() {
        normal.push('/');
    }
    normal
}

/// Whether the dot segments of a path lead above its beginning, in either reading of `%2F`.
pub(super) fn climbs(path: &[u8]) -> bool {
    if !path.contains(&b'.') && !path.contains(&b'%') {
        return false;
    }
    [EncodedSlash::Character, EncodedSlash::Separator].into_iter().any(|slash| {
        let mut depth = 0_usize;
        decoded(path, slash).split(|byte| *byte == b'/').any(|segment| {
            let is_above = segment == b".." && depth == 0;
            match segment {
                b"" | b"." => {}
                b".." => depth = depth.saturating_sub(1),
                _ => depth += 1,
            }
            is_above
        })
    })
}

/// Decodes percent-encoding once; what only looks like it stays.
fn decoded(path: &[u8], slash: EncodedSlash) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let [first, after @ ..] = rest {
        let digit = |place: usize| char::from(*after.get(place)?).to_digit(16);
        let byte = if *first == b'%' { digit(0).zip(digit(1)) } else { None };
        rest = match byte.and_then(|(high, low)| u8::try_from(high << 4 | low).ok()) {
            Some(b'/') if slash == EncodedSlash::Character => {
                decoded.extend_from_slice(b"%2F");
                &after[2..]
            }
            Some(byte) => {
                decoded.push(byte);
                &after[2..]
            }
            None => {
                decoded.push(*first);
                after
            }
        };
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_climbs_is_noticed() {
        for (path, expected) in [
            ("/..", true),
            ("/a/../..", true),
            ("/%2e%2E/a", true),
            ("/a%2f../..%2Fb", true),
            ("/a%2Fb/../..", true),
            ("/a/..", false),
            ("/./a//..", false),
            ("/...", false),
            ("", false),
        ] {
            assert_eq!(climbs(path.as_bytes()), expected, "{path}");
        }
    }

    #[test]
    fn every_spelling_of_a_path_is_one() {
        for (sent, expected) in [
            ("/pay", "/pay"),
            ("/pay/", "/pay/"),
            ("/", "/"),
            ("*", "*"),
            ("//pay", "/pay"),
            ("/%70ay", "/pay"),
            ("/./pay", "/pay"),
            ("/x/../pay", "/pay"),
            ("/x/%2e%2E/pay", "/pay"),
            ("/../../pay//x/.", "/pay/x/"),
            ("/pay/..", "/"),
            ("/pay%2fx", "/pay%2Fx"),
            ("/%2F%70ay", "/%2Fpay"),
            ("/pay/..%2Fx", "/pay/..%2Fx"),
            ("/x%2F../pay", "/x%2F../pay"),
            ("/%E4%BE%8B", "/例"),
            ("/a%zz%2", "/a%zz%2"),
            ("/a%2541", "/a%41"),
            ("/.well-known/x", "/.well-known/x"),
            ("/a...b/", "/a...b/"),
        ] {
            assert_eq!(normal(sent), expected, "{sent}");
        }
    }

    #[test]
    fn an_encoded_slash_may_be_a_separator() {
        for (sent, expected) in [
            ("/pay", None),
            ("/%70ay", None),
            ("%2Fpay", None),
            ("/pay%2fx", Some("/pay/x")),
            ("/%2Fpay", Some("/pay")),
            ("/pay/..%2Fx", Some("/x")),
            ("/x%2F%2e%2e%2Fpay", Some("/pay")),
        ] {
            assert_eq!(with_slashes_decoded(sent).as_deref(), expected, "{sent}");
        }
    }
}
