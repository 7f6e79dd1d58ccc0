//! Local copies of what pages load from other hosts: served by the site itself, and referred to in its pages and style
//! sheets.
//!
//! Only references to files that are there change. Every other byte of a page stays, in any charset that is a superset
//! of ASCII.

mod answer;
mod element;
mod media;
mod names;
mod page;
mod result;
mod style;
mod table;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use encoding_rs::UTF_8;

pub use answer::{Mapped, Mapping, conditions, mapping};
pub use media::media_type;
pub use names::AssetName;
pub use result::{MapResult, Unmapped};
pub use table::{AssetFile, AssetMap, Found};

use super::Charset;
use page::PageMapper;
use style::StyleMapper;

/// Maps the references of one body as it comes.
#[derive(Debug)]
pub struct AssetMapper(Kind);

#[derive(Debug)]
enum Kind {
    /// Of a page.
    Page(Box<PageMapper>),
    /// Of a style sheet.
    Style(Box<StyleMapper>, Arc<AssetMap>),
}

impl AssetMapper {
    /// Of a body of this kind, in an answer of `host`, without a port.
    pub fn new(mapping: Mapping, map: &Arc<AssetMap>, host: &str) -> Self {
        let declared = match mapping.charset {
            Charset::Declared(encoding) => Some(encoding),
            Charset::Undeclared => None,
        };
        Self(match mapping.kind {
            Mapped::Page => Kind::Page(Box::new(PageMapper::new(Arc::clone(map), host, declared))),
            Mapped::Style => {
                let style = StyleMapper::new(declared.unwrap_or(UTF_8));
                Kind::Style(Box::new(style), Arc::clone(map))
            }
        })
    }

    /// Takes the next bytes, decoded; returns what is settled.
    pub fn push(&mut self, bytes: Bytes) -> Bytes {
        match &mut self.0 {
            Kind::Page(page) => page.push(bytes),
            Kind::Style(style, map) => {
                let mut out = Vec::with_capacity(bytes.len() + 64);
                style.push(&bytes, &|url| map.local(url), &mut out);
                out.into()
            }
        }
    }

    /// What it takes in memory, in bytes, at most.
    pub fn bytes(&self) -> usize {
        match &self.0 {
            Kind::Page(page) => page.bytes(),
            Kind::Style(..) => style::LONGEST,
        }
    }

    /// Ends the body; returns the rest, and what was done.
    pub fn finish(self) -> (Bytes, MapResult) {
        match self.0 {
            Kind::Page(page) => page.finish(),
            Kind::Style(style, _) => {
                let result = if style.has_mapped() { MapResult::Mapped } else { MapResult::Unchanged };
                (style.finish().into(), result)
            }
        }
    }
}
