//! Counts what pages load from hosts that are blocked or slow in the mainland, or were taken over.

use super::foreign_hosts::{ForeignHost, foreign_host};
use super::references::{Reference, ReferenceReader, host};

/// Bytes that are held of a page: a tag with an image of some 190 KB in it is still read.
const HELD: usize = 256 << 10;

/// Counts the foreign assets of one page as it comes.
#[derive(Debug)]
pub struct AssetReport {
    reader: ReferenceReader,
    resolver: Resolver,
    counts: AssetCounts,
}

/// References by domain of the list.
pub type AssetCounts = Vec<(&'static str, u64)>;

impl Default for AssetReport {
    fn default() -> Self {
        Self { reader: ReferenceReader::new(HELD), resolver: Resolver::default(), counts: Vec::new() }
    }
}

impl AssetReport {
    /// Takes the page's next bytes, decoded.
    pub fn read(&mut self, bytes: &[u8]) {
        let found = self.reader.read(bytes);
        add(&mut self.counts, &mut self.resolver, &found);
    }

    /// Ends the page. A page that broke off counts for what came of it.
    pub fn finish(mut self) -> AssetCounts {
        let found = self.reader.finish();
        add(&mut self.counts, &mut self.resolver, &found);
        self.counts
    }
}

fn add(counts: &mut AssetCounts, resolver: &mut Resolver, found: &[Reference]) {
    for (_, ForeignHost { domain, .. }) in found.iter().filter_map(|reference| resolver.foreign(reference)) {
        match counts.iter_mut().find(|(known, _)| *known == domain) {
            Some((_, count)) => *count += 1,
            None => counts.push((domain, 1)),
        }
    }
}

/// Finds the hosts of references.
#[derive(Debug, Default)]
pub(super) struct Resolver {
    /// The host of the first `base`, once there is one (HTML Standard, 4.2.3).
    base: Option<Option<String>>,
}

impl Resolver {
    /// The host that a reference is loaded from, if it is of the list.
    pub(super) fn foreign(&mut self, reference: &Reference) -> Option<(String, ForeignHost)> {
        match reference {
            Reference::Link(_) => None,
            Reference::Base(url) => {
                self.base.get_or_insert_with(|| host(url));
                None
            }
            Reference::Loaded(url) => {
                let is_relative = !url.contains(':');
                let host = host(url).or_else(|| self.base.clone().flatten().filter(|_| is_relative))?;
                let found = foreign_host(&host)?;
                Some((host, found))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_counted_by_domain_at_every_cut() {
        let page = "<!doctype html><link rel=stylesheet href='https://fonts.googleapis.com/css'>\
                    <style>@import '//ajax.googleapis.com/x';</style><script src='https://cdn.polyfill.io/x'></script>\
                    <body>\u{4e2d}<img src='/own.png'><a href='https://unpkg.com/'>x</a>";
        for place in 0..page.len() {
            let (first, second) = page.as_bytes().split_at(place);
            let mut report = AssetReport::default();
            report.read(first);
            report.read(second);
            assert_eq!(report.finish(), [("googleapis.com", 2), ("polyfill.io", 1)], "cut at {place}");
        }
    }
}
