//! The edge cache: how full it is, and how much of each site is answered from it.

use super::super::cache_state::{CacheState, SiteCache, Space};
use super::listing::{Listing, Search};

/// Sites that are shown.
const SHOWN: usize = 100;

#[derive(Debug)]
pub(crate) struct CachePart {
    pub(crate) memory: SpaceCell,
    pub(crate) disk: Option<SpaceCell>,
    pub(crate) sites: Listing<CacheRow>,
}

/// Such as 12.5 MiB of 256 MiB, 5 %, 1200 answers.
#[derive(Debug)]
pub(crate) struct SpaceCell {
    pub(crate) bytes: String,
    pub(crate) limit: String,
    pub(crate) percent: u64,
    pub(crate) responses: usize,
}

#[derive(Debug)]
pub(crate) struct CacheRow {
    pub(crate) site: String,
    pub(crate) requests: u64,
    pub(crate) hits: u64,
    /// `None` before the first request.
    pub(crate) hit_rate: Option<String>,
}

/// The cache, with the sites that are asked for most first.
pub(crate) fn cache(state: CacheState<'_>, search: &Search) -> CachePart {
    CachePart {
        memory: SpaceCell::of(state.memory),
        disk: state.disk.map(SpaceCell::of),
        sites: Listing::first(
            SHOWN,
            state.sites.into_iter(),
            |site| search.is_in([site.site]),
            |site| std::cmp::Reverse(site.total()),
            |site: SiteCache<'_>| CacheRow {
                site: site.site.to_owned(),
                requests: site.total(),
                hits: site.hits(),
                hit_rate: site.hit_rate().map(|rate| format!("{:.1} %", rate * 100.0)),
            },
        ),
    }
}

impl SpaceCell {
    fn of(space: Space) -> Self {
        let bytes = space.bytes as u64;
        Self {
            bytes: size(bytes),
            limit: size(space.limit),
            percent: bytes.saturating_mul(100).checked_div(space.limit).unwrap_or_default(),
            responses: space.responses,
        }
    }
}

/// Bytes in the largest unit of which there is at least one.
fn size(bytes: u64) -> String {
    let (mut value, mut unit) = (bytes as f64, "B");
    for larger in ["KiB", "MiB", "GiB", "TiB"] {
        if value < 1024.0 {
            break;
        }
        (value, unit) = (value / 1024.0, larger);
    }
    let decimals = usize::from(value < 10.0 && unit != "B");
    format!("{value:.decimals$} {unit}")
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_are_in_the_unit_that_fits() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1536, "1.5 KiB"),
            (256 << 20, "256 MiB"),
            (10 << 30, "10 GiB"),
            (1 << 50, "1024 TiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
    }
}
