//! Paths in one spelling, so that a request cannot leave a route by the way it writes its path.
//!
//! As servers do: percent-encoding is decoded once, dot segments are removed (RFC 3986, 5.2.4) and empty segments are merged. Only
//! matching uses this; what is sent to a server stays as it came.

use std::borrow::Cow;

/// The one spelling of a path, which has no query.
pub fn normal(path: &str) -> Cow<'_, str> {
    let is_normal = !path.contains('%') && !path.contains("//") && !path.contains("/.");
    if is_normal || !path.starts_with('/') {
        return Cow::Borrowed(path);
    }
    let decoded = String::from_utf8_lossy(&decoded(path.as_bytes())).into_owned();
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
    Cow::Owned(normal)
}

/// Whether the dot segments of a path lead above its beginning.
pub(super) fn climbs(path: &[u8]) -> bool {
    if !path.contains(&b'.') && !path.contains(&b'%') {
        return false;
    }
    let mut depth = 0_usize;
    for segment in decoded(path).split(|byte| *byte == b'/') {
        match segment {
            b"" | b"." => {}
            b".." => match depth.checked_sub(1) {
                Some(above) => depth = above,
                None => return true,
            },
            _ => depth += 1,
        }
    }
    false
}

/// Decodes percent-encoding once; what only looks like it stays.
fn decoded(path: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(path.len());
    let mut rest = path;
    while let [first, after @ ..] = rest {
        let digit = |place: usize| char::from(*after.get(place)?).to_digit(16);
        let byte = if *first == b'%' { digit(0).zip(digit(1)) } else { None };
        rest = match byte.and_then(|(high, low)| u8::try_from(high << 4 | low).ok()) {
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
            ("/pay%2fx", "/pay/x"),
            ("/%2Fpay", "/pay"),
            ("/%E4%BE%8B", "/例"),
            ("/a%zz%2", "/a%zz%2"),
            ("/a%2541", "/a%41"),
            ("/.well-known/x", "/.well-known/x"),
            ("/a...b/", "/a...b/"),
        ] {
            assert_eq!(normal(sent), expected, "{sent}");
        }
    }
}
