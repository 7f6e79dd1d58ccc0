//! References to copied assets in the response: which are mapped, and what that changes in its head.

use http::Method;

use super::Pump;
use crate::message::{RequestHead, ResponseHead};
use crate::rewrite::{self, AssetMapper, MapResult, Mapping};

impl Pump<'_, '_> {
    /// Which references of this response are mapped.
    pub(super) fn mapping(&mut self, head: &ResponseHead) -> Option<Mapping> {
        self.exchange.site.assets?;
        let RequestHead { method, headers: asked, .. } = self.down.head;
        let found = rewrite::mapping(method, asked, head.status, &head.headers, self.exchange.compress)?;
        if let Err(why) = found
            && method == Method::GET
        {
            self.context.count_mapped(MapResult::Unmapped(why));
        }
        found.ok()
    }

    /// Makes the entity tag of a mapped answer name the copied files.
    pub(super) fn mark(&self, mapping: Option<Mapping>, head: &mut ResponseHead) {
        if let (Some(_), Some(map)) = (mapping, self.exchange.site.assets) {
            Mapping::mark(&mut head.headers, map);
        }
    }

    /// Maps the body.
    pub(super) fn mapper(&self, mapping: Mapping) -> Option<AssetMapper> {
        let authority = self.down.head.authority().unwrap_or_default();
        let host = authority.split(|byte| *byte == b':').next().unwrap_or_default();
        let host = String::from_utf8_lossy(host).to_ascii_lowercase();
        Some(AssetMapper::new(mapping, self.exchange.site.assets?, &host))
    }
}
