//! Hosts that pages must not load from: unreachable or slow from the mainland, or taken over.
//!
//! As of 2026. Only what many pages use is listed. Sources: the projects' issue trackers (jsdelivr/jsdelivr#18392 and
//! #18397, google/recaptcha#501); for hosts that were taken over, Sansec's reports of 2024 on polyfill.io and those who run it.

/// What is wrong with a host.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// It cannot be reached from the mainland, or only at times.
    Blocked,
    /// It is reached slowly.
    Slow,
    /// It has served malicious scripts.
    Poisoned,
}

impl Verdict {
    /// The word for it.
    pub fn label(self) -> &'static str {
        match self {
            Self::Blocked => "blocked",
            Self::Slow => "slow",
            Self::Poisoned => "poisoned",
        }
    }
}

/// A domain that pages must not load from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct ForeignHost {
    /// The domain; names below it are meant too.
    pub(super) domain: &'static str,
    /// What is wrong with it.
    pub(super) verdict: Verdict,
}

/// Every domain of the list.
pub fn foreign_domains() -> impl Iterator<Item = &'static str> {
    DOMAINS.iter().map(|(domain, _)| *domain)
}

/// The domain of the list that `host`, a name in lower case, is or is below.
pub(super) fn foreign_host(host: &str) -> Option<ForeignHost> {
    let is_below = |domain: &str| {
        host.strip_suffix(domain).is_some_and(|front| front.is_empty() || front.ends_with('.'))
    };
    let found = DOMAINS.iter().find(|(domain, _)| is_below(domain));
    found.map(|(domain, verdict)| ForeignHost { domain, verdict: *verdict })
}

/// Each stands for itself and every name below it.
const DOMAINS: [(&str, Verdict); 27] = [
    ("googleapis.com", Verdict::Blocked),
    ("gstatic.com", Verdict::Blocked),
    ("google.com", Verdict::Blocked),
    ("googletagmanager.com", Verdict::Blocked),
    ("google-analytics.com", Verdict::Blocked),
    ("youtube.com", Verdict::Blocked),
    ("facebook.com", Verdict::Blocked),
    ("facebook.net", Verdict::Blocked),
    ("twitter.com", Verdict::Blocked),
    ("x.com", Verdict::Blocked),
    ("gravatar.com", Verdict::Blocked),
    ("cdn.jsdelivr.net", Verdict::Blocked),
    ("unpkg.com", Verdict::Blocked),
    ("cdnjs.cloudflare.com", Verdict::Slow),
    ("recaptcha.net", Verdict::Slow),
    ("polyfill.io", Verdict::Poisoned),
    ("polyfill.com", Verdict::Poisoned),
    ("bootcdn.net", Verdict::Poisoned),
    ("bootcss.com", Verdict::Poisoned),
    ("staticfile.net", Verdict::Poisoned),
    ("staticfile.org", Verdict::Poisoned),
    ("unionadjs.com", Verdict::Poisoned),
    ("xhsbpza.com", Verdict::Poisoned),
    ("union.macoms.la", Verdict::Poisoned),
    ("newcrbpc.com", Verdict::Poisoned),
    ("googie-anaiytics.com", Verdict::Poisoned),
    ("kuurza.com", Verdict::Poisoned),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_stands_for_the_names_below_it() {
        for (host, expected) in [
            ("fonts.googleapis.com", Some(Verdict::Blocked)),
            ("x.com", Some(Verdict::Blocked)),
            ("netflix.com", None),
            ("cdnjs.cloudflare.com", Some(Verdict::Slow)),
            ("www.cloudflare.com", None),
            ("cdn.polyfill.io", Some(Verdict::Poisoned)),
            ("cdn.bootcss.com", Some(Verdict::Poisoned)),
            ("fonts.googleapis.com.example.cn", None),
            ("www.example.cn", None),
            ("", None),
        ] {
            assert_eq!(foreign_host(host).map(|found| found.verdict), expected, "{host}");
        }
    }
}
