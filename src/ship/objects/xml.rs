//! The few texts that are read out of a service's XML: error codes, keys, settings.
//!
//! The answers are flat lists of elements without attributes. What is looked for holds no markup, so a parser of all of
//! XML would add nothing. An answer of another form gives no text.

/// The text of the first element of that name.
pub(super) fn text(xml: &[u8], name: &str) -> Option<String> {
    texts(xml, name).into_iter().next()
}

/// The texts of all elements of that name, in order.
pub(super) fn texts(xml: &[u8], name: &str) -> Vec<String> {
    let (opening, closing) = (format!("<{name}>"), format!("</{name}>"));
    let Ok(mut rest) = std::str::from_utf8(xml) else { return Vec::new() };
    let mut texts = Vec::new();
    while let Some((_, after)) = rest.split_once(&opening) {
        let Some((text, after)) = after.split_once(&closing) else { break };
        texts.push(unescaped(text));
        rest = after;
    }
    texts
}

fn unescaped(text: &str) -> String {
    text.replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'")
        .replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_found_by_the_name_of_their_element() {
        let xml =
            b"<?xml version=\"1.0\"?><L><Key>a/b</Key><Size>1</Size><Key>c&amp;d</Key><Keys>e</Keys></L>";
        assert_eq!(texts(xml, "Key"), ["a/b", "c&d"]);
        assert_eq!(text(xml, "Code"), None);
        for broken in [&b"<Key>a"[..], b"Key", b"\xff<Key>a</Key>", b"</Key><Key>"] {
            assert_eq!(text(broken, "Key"), None, "{broken:?}");
        }
    }
}
