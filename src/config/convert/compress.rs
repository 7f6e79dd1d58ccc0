//! `compress`, of the whole and of a site.

use super::{Value, or};
use crate::config::{Site, schema};
use crate::rewrite::{CompressMode, CompressSettings, Encoding};

/// The section of the whole.
pub(super) fn settings(value: &Value<'_>, default: CompressSettings) -> Option<CompressSettings> {
    let fields = value.fields(schema::COMPRESS)?;
    let words = Encoding::ALL.map(|encoding| (encoding.name(), encoding));
    let encodings = or(fields.get("encodings"), default.encodings, |list| {
        list.distinct(|encoding| encoding.word(&words))
    });
    let min_bytes = or(fields.get("min_bytes"), default.min_bytes, |size| size.size(0, 1 << 30));
    let types = or(fields.get("types"), default.types, |list| list.distinct(media_type));
    Some(CompressSettings { encodings: encodings?, min_bytes: min_bytes?, types: types? })
}

/// A media type without parameters, in lower case.
fn media_type(value: &Value<'_>) -> Option<Box<str>> {
    value.parsed("a media type", "text/css or application/json", |text| {
        let is_token = |part: &str| {
            let is_of_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte);
            !part.is_empty() && part.bytes().all(is_of_token)
        };
        match text.split_once('/') {
            Some((_, "*")) => Err("it stands for many; name each of them"),
            Some((kind, rest)) if is_token(kind) && is_token(rest) => {
                let text = text.to_ascii_lowercase();
                // gRPC compresses its messages itself, and its clients name no codings.
                let is_grpc = text.starts_with("application/grpc");
                if is_grpc { Err("gRPC compresses each message by itself") } else { Ok(text.into()) }
            }
            _ => Err("it has the form type/subtype, without parameters"),
        }
    })
}

/// A site's mode.
pub(super) fn mode(value: &Value<'_>) -> Option<CompressMode> {
    value.word(&[("auto", CompressMode::Auto), ("on", CompressMode::On), ("off", CompressMode::Off)])
}

/// Warns of settings that no site uses.
pub(super) fn warn_of_useless(section: &Value<'_>, sites: &[Option<Site>]) {
    let Some(sites) = sites.iter().map(Option::as_ref).collect::<Option<Vec<_>>>() else { return };
    let has = |mode| sites.iter().any(|site| site.compress == mode);
    if !has(CompressMode::On) {
        for key in ["min_bytes", "types"] {
            if let Some(value) = section.own(key) {
                value.warn(
                    format_args!("{key} has no effect: no site compresses what came plain"),
                    "give a site compress: on".to_owned(),
                );
            }
        }
        if !has(CompressMode::Auto) {
            section.warn("no site compresses", "give a site compress: on or auto".to_owned());
        }
    }
}
