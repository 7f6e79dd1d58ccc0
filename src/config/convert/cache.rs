//! The edge cache: its section, and where sites and routes turn it on.

use std::path::Path;

use super::values::or;
use crate::config::reader::{Fields, Value};
use crate::config::schema;
use crate::config::{CacheSettings, DiskCache, Site};
use crate::route::CacheUse;

const MEMORY: u64 = 256 << 20;
const MAX_OBJECT: u64 = 64 << 20;

pub(super) fn cache(value: &Value<'_>, folder: &Path) -> Option<CacheSettings> {
    let fields = value.fields(schema::CACHE)?;
    let memory = or(fields.get("memory"), MEMORY, |v| v.size(1 << 20, 1 << 44));
    let default = MAX_OBJECT.min(memory.unwrap_or(MEMORY));
    let max_object = or(fields.get("max_object"), default, |v| {
        let size = v.size(1, 1 << 40)?;
        if memory.is_some_and(|memory| size > memory) {
            v.fatal(
                "it is more than cache.memory: such an object would never stay",
                "give cache.memory more".to_owned(),
            );
            return None;
        }
        Some(size)
    });
    let disk = or(fields.get("disk"), None, |value| disk(value, folder).map(Some));
    Some(CacheSettings { memory: memory?, max_object: max_object?, disk: disk? })
}

fn disk(value: &Value<'_>, folder: &Path) -> Option<DiskCache> {
    let fields = value.fields(schema::CACHE_DISK)?;
    let directory = fields.required("directory").and_then(|path| path.path(folder));
    let size = fields.required("size").and_then(|value| value.size(1 << 20, 1 << 50));
    Some(DiskCache { directory: directory?, size: size? })
}

/// Warns of a cache that no site uses.
pub(super) fn warn_of_unused(section: Option<&Value<'_>>, sites: &[Option<Site>]) {
    let is_used = |site: &Site| site.routes.use_cache();
    if let Some(section) = section
        && !sites.iter().any(|site| site.as_ref().is_none_or(is_used))
    {
        section.warn("no site uses the cache", "cache: on in the site".to_owned());
    }
}

/// Whether a site uses the cache.
pub(super) fn of_site(fields: &Fields<'_>, has_cache: bool) -> Option<CacheUse> {
    switch(fields, has_cache, CacheUse::Absent, CacheUse::Absent)
}

/// Whether a route does; as its site, unless it says otherwise.
pub(super) fn of_route(fields: &Fields<'_>, has_cache: bool, site: CacheUse) -> Option<CacheUse> {
    let off = if site == CacheUse::Used { CacheUse::Bypassed } else { CacheUse::Absent };
    switch(fields, has_cache, site, off)
}

fn switch(fields: &Fields<'_>, has_cache: bool, default: CacheUse, off: CacheUse) -> Option<CacheUse> {
    or(fields.get("cache"), default, |value| {
        let switched = value.word(&[("on", CacheUse::Used), ("off", off)])?;
        if switched == CacheUse::Used && !has_cache {
            let hint = "cache: {memory: 256MiB} on the top level".to_owned();
            value.fatal("the section cache is missing: there is nothing to keep answers in", hint);
            return None;
        }
        Some(switched)
    })
}
