//! Which top-level domains can be filed.
//!
//! A domain is filed only under a top-level domain that the ministry has approved (工信部信管〔2017〕264号;
//! the authority is domain.miit.gov.cn, which offers no list for machines). Domains filed before the
//! rule keep their filing, so nothing here refuses: the last two classes are worth a warning.
//! The lists are those that providers published, read in 2026-11.

/// What is known of a top-level domain.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TopLevel {
    /// The ministry approved it.
    Approved,
    /// The ministry did not approve it.
    NotApproved,
    /// Neither is known.
    Unknown,
}

/// Looks a top-level domain up, in A-label form.
pub fn top_level(domain: &str) -> TopLevel {
    if APPROVED.contains(&domain) {
        TopLevel::Approved
    } else if NOT_APPROVED.contains(&domain) {
        TopLevel::NotApproved
    } else {
        TopLevel::Unknown
    }
}

#[rustfmt::skip]
const APPROVED: &[&str] = &[
    "com", "net", "cn", "cc", "tv", "co", "info", "pro", "mobi", "tel", "wang", "ren", "citic", "sohu",
    "xin", "shop", "ltd", "vip", "ink", "club", "site", "biz", "fun", "online", "store", "tech", "work",
    "law", "beer", "design", "wiki", "art", "love", "xyz", "group", "center", "chat", "city", "company",
    "cool", "email", "fund", "gold", "guru", "pub", "run", "show", "social", "team", "today", "video",
    "world", "zone", "life", "live", "plus", "auto", "cloud", "fashion", "fit", "host", "link", "luxe",
    "press", "space", "top", "website", "yoga", "icu",
    "alibaba", "alipay", "baidu", "icbc", "taobao", "tmall", "unicom",
    "xn--fiqs8s", "xn--fiqz9s", "xn--zfr164b", "xn--55qw42g", "xn--55qx5d", "xn--io0a7i", "xn--ses554g",
    "xn--czru2d", "xn--hxt814e", "xn--fiq64b", "xn--czr694b", "xn--xhq521b", "xn--1qqw23a", "xn--vuq861b",
    "xn--kput3i", "xn--3ds443g", "xn--fiq228c5hs", "xn--3bst00m", "xn--6qq986b3xl", "xn--czrs0t",
    "xn--vhquv", "xn--fjq720a", "xn--unup4y", "xn--g2xx48c", "xn--imr513n", "xn--otu796d", "xn--9et52u",
    "xn--6frz82g", "xn--5tzm5g", "xn--8y0a063a", "xn--rhqv96g", "xn--nyqy26a",
];

#[rustfmt::skip]
const NOT_APPROVED: &[&str] = &[
    "org", "hk", "tw", "asia", "jp", "io", "win", "app", "dev", "us", "gg", "sh", "eu", "de", "uk", "ru",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_classes() {
        assert_eq!(top_level("cn"), TopLevel::Approved);
        assert_eq!(top_level("xn--fiqs8s"), TopLevel::Approved);
        assert_eq!(top_level("io"), TopLevel::NotApproved);
        assert_eq!(top_level("ai"), TopLevel::Unknown);
    }
}
