//! Skips what most of a page is: text, and whole tags of common forms that do not matter. It keeps no state; everything
//! else is left to the automaton.
//!
//! Bytes are mostly found nearby, so the first few are compared one by one: the processor predicts the end of such a loop,
//! but not the result of a vector search.

use memchr::memchr;

use super::element::{Element, ends_name};

/// Skips text and the whole tags in it that do not matter, outside of SVG and MathML. The rest begins with the `<` of
/// another tag, or is empty.
pub(super) fn pass(mut text: &[u8]) -> &[u8] {
    while let Some(place) = find(text, b'<') {
        let tag = &text[place..];
        match behind_tag(tag) {
            Some(behind) => text = behind,
            None => return tag,
        }
    }
    &[]
}

/// The bytes behind the tag at the start of `tag`.
#[inline(always)]
fn behind_tag(tag: &[u8]) -> Option<&[u8]> {
    let name = match tag {
        [_, b'/', name @ ..] => name,
        [_, name @ ..] => name,
        [] => return None,
    };
    if !name.first()?.is_ascii_alphabetic() {
        return None;
    }
    let length = name_length(name)?;
    // No shorter name matters.
    if length > 2 && Element::named(name, length) != Element::Other {
        return None;
    }
    match &name[length..] {
        [b'>', behind @ ..] => Some(behind),
        attributes => Some(behind_attributes(attributes)?.0),
    }
}

/// The bytes behind the tag whose attributes `rest` begins with, and whether it ends in `/>`; `None` unless every
/// attribute is `name="value"` or has no value.
#[inline(always)]
pub(super) fn behind_attributes(mut rest: &[u8]) -> Option<(&[u8], bool)> {
    loop {
        // Only `=` begins a value, and only in a value `>` does not end the tag.
        let sign = position(rest, |byte| matches!(byte, b'=' | b'>'))?;
        let before = rest[..sign].last();
        if rest[sign] == b'>' {
            return Some((&rest[sign + 1..], before == Some(&b'/')));
        }
        // Without a name before it, `=` begins one.
        if !before.is_some_and(u8::is_ascii_alphabetic) {
            return None;
        }
        let (quote, value) = rest[sign + 1..].split_first()?;
        if *quote != b'"' && *quote != b'\'' {
            return None;
        }
        rest = &value[find(value, *quote)? + 1..];
        if let [b'>', behind @ ..] = rest {
            return Some((behind, false));
        }
    }
}

/// The index of the first `byte`.
#[inline(always)]
pub(super) fn find(bytes: &[u8], byte: u8) -> Option<usize> {
    match bytes.first_chunk::<NEAR>() {
        Some(near) => match position_near(near, |other| other == byte) {
            Some(place) => Some(place),
            None => Some(NEAR + memchr(byte, &bytes[NEAR..])?),
        },
        None => bytes.iter().position(|other| *other == byte),
    }
}

/// Bytes compared one by one.
const NEAR: usize = 16;

/// The length of the name at the start; `None` if it is cut.
#[inline(always)]
fn name_length(name: &[u8]) -> Option<usize> {
    // Letters have this bit; bytes that end a name do not.
    let length = position(name, |byte| byte & 0x40 == 0)?;
    match ends_name(name[length]) {
        true => Some(length),
        false => Some(length + name[length..].iter().position(|byte| ends_name(*byte))?),
    }
}

/// The index of the first byte of a kind.
#[inline(always)]
fn position(bytes: &[u8], is_kind: impl Fn(u8) -> bool) -> Option<usize> {
    match bytes.first_chunk().and_then(|near| position_near(near, &is_kind)) {
        Some(place) => Some(place),
        None => bytes.iter().position(|byte| is_kind(*byte)),
    }
}

/// The same for so few bytes that the loop is unrolled.
#[inline(always)]
fn position_near(near: &[u8; NEAR], is_kind: impl Fn(u8) -> bool) -> Option<usize> {
    for (place, byte) in near.iter().enumerate() {
        if is_kind(*byte) {
            return Some(place);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_found_wherever_they_stand() {
        for length in 0..60 {
            for place in 0..length {
                let mut bytes = vec![b'a'; length];
                bytes[place] = b'<';
                bytes.extend(b";=<");
                assert_eq!(find(&bytes, b'<'), Some(place));
                assert_eq!(find(&bytes[place + 1..], b'<'), Some(length - place + 1));
            }
            assert_eq!(find(&vec![b'a'; length], b'<'), None);
        }
    }

    #[test]
    fn only_whole_tags_of_a_common_form_are_passed_over() {
        for page in ["", "text", "a<b>c</b>", "<a b=\"<>\" c='\"'/><p>", "<input disabled><h1\n>"] {
            assert_eq!(pass(page.as_bytes()), b"", "{page}");
        }
        for (passed, left) in [
            ("x", "<"),
            ("<b>x", "<b"),
            ("", "<!-- -->"),
            ("</p>", "<body>"),
            ("", "</TITLE>"),
            ("<a>", "<a b=c>"),
            ("", "<a ==\">\">"),
            ("", "<a b=\">"),
        ] {
            assert_eq!(pass([passed, left].concat().as_bytes()), left.as_bytes());
        }
    }
}
