//! What changes in the tag of one element whose references are mapped.

use std::ops::Range;

use encoding_rs::{Encoding, X_USER_DEFINED};

use super::style::StyleMapper;
use super::table::AssetMap;
use crate::rewrite::references::{candidates, loaded_attributes, srcset_attribute, unescaped};

/// An attribute as it is in the page.
#[derive(Debug)]
pub(super) struct Attribute {
    /// In lower case.
    pub(super) name: String,
    /// With its character references.
    pub(super) value: String,
    /// Where its name begins in the page.
    pub(super) begins: usize,
    /// Where its value is in the page, without quotes; `None` if it has none.
    pub(super) value_range: Option<Range<usize>>,
}

/// Bytes of the page and what takes their place.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Edit {
    pub(super) range: Range<usize>,
    pub(super) with: Vec<u8>,
}

/// The edits of an element, in order.
pub(super) fn edits(
    name: &str,
    attributes: &[Attribute],
    map: &AssetMap,
    encoding: &'static Encoding,
) -> Vec<Edit> {
    let of = |name: &str| attributes.iter().find(|attribute| attribute.name == name);
    let value = |name: &str| of(name).map(|attribute| unescaped(&attribute.value));
    let mut edits = Vec::new();
    for attribute in loaded_attributes(name, value).iter().filter_map(|name| of(name)) {
        let Some(range) = attribute.value_range.clone() else { continue };
        if let Some((asset, url)) = map.find(&unescaped(&attribute.value)) {
            edits.push(Edit { range, with: escaped(&url).into() });
            edits.extend(integrity(name, attribute, of("integrity"), value, asset.integrity()));
        }
    }
    let set = srcset_attribute(name).and_then(of).and_then(|attribute| srcset(attribute, map));
    edits.extend(set);
    edits.extend(of("style").and_then(|attribute| style(attribute, map, encoding)));
    edits.sort_by_key(|edit| edit.range.start);
    edits
}

/// The `integrity` of an element, if it changes. Browsers check scripts and style sheets. A preload needs the same value as
/// the element that uses it, or the file is loaded twice. Fonts and images have none.
fn integrity(
    name: &str,
    reference: &Attribute,
    old: Option<&Attribute>,
    value: impl Fn(&str) -> Option<String>,
    integrity: &str,
) -> Option<Edit> {
    let has = |attribute: &str, words: &[&str]| {
        value(attribute).is_some_and(|value| {
            value
                .split_ascii_whitespace()
                .any(|word| words.iter().any(|known| word.eq_ignore_ascii_case(known)))
        })
    };
    let is_checked = match name {
        "script" => true,
        "link" if has("rel", &["stylesheet", "modulepreload"]) => true,
        "link" if has("rel", &["preload"]) => has("as", &["script", "style"]),
        _ => false,
    };
    let integrity = if is_checked { integrity } else { "" };
    match old {
        Some(Attribute { value_range: Some(range), .. }) => {
            Some(Edit { range: range.clone(), with: integrity.into() })
        }
        Some(_) => None,
        None if integrity.is_empty() => None,
        // In front of the reference: of two attributes with one name, browsers take the first.
        None => {
            let begins = reference.begins;
            Some(Edit { range: begins..begins, with: format!("integrity=\"{integrity}\" ").into() })
        }
    }
}

fn srcset(attribute: &Attribute, map: &AssetMap) -> Option<Edit> {
    let (mut with, mut copied) = (String::new(), 0);
    for url in candidates(&attribute.value) {
        if let Some(local) = map.local(&unescaped(&attribute.value[url.clone()])) {
            with.push_str(&attribute.value[copied..url.start]);
            with.push_str(&escaped(&local));
            copied = url.end;
        }
    }
    with.push_str(&attribute.value[copied..]);
    Some(Edit { range: attribute.value_range.clone().filter(|_| copied > 0)?, with: in_bytes(&with) })
}

fn style(attribute: &Attribute, map: &AssetMap, encoding: &'static Encoding) -> Option<Edit> {
    // Its quotes may be character references, which to the style sheet are part of the URL.
    let local = |url: &str| map.local(unescaped(url).trim().trim_matches(['"', '\'']));
    let (mut mapper, mut with) = (StyleMapper::new(encoding), Vec::new());
    mapper.push(&in_bytes(&attribute.value), &local, &mut with);
    let has_mapped = mapper.has_mapped();
    with.extend(mapper.finish());
    has_mapped.then_some(Edit { range: attribute.value_range.clone()?, with })
}

/// A URL as the value of an attribute, with quotes or without.
fn escaped(url: &str) -> String {
    let mut escaped = String::with_capacity(url.len());
    for c in url.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            '>' => escaped.push_str("&gt;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Text as the page's own bytes: lol_html shows each of them as a character.
pub(super) fn in_bytes(text: &str) -> Vec<u8> {
    X_USER_DEFINED.encode(text).0.into_owned()
}
