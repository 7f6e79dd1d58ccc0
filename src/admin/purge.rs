//! `POST /purge`: drops what the edge cache has stored for a URL or a site.
//!
//! A browser's request is refused: a page that somebody opens must not empty the cache of an edge that it can reach.

use http::header::ORIGIN;
use http::{HeaderMap, StatusCode, Uri};

use crate::cache::{Cache, Key};
use crate::config::Config;
use crate::hostname::Hostname;

/// The answer to a request with this query and these fields.
pub(super) fn purge(
    cache: Option<&Cache>,
    config: &Config,
    query: &str,
    headers: &HeaderMap,
) -> (StatusCode, &'static str) {
    if headers.contains_key(ORIGIN) {
        return (StatusCode::FORBIDDEN, "a browser sent it (it has an origin field)\n");
    }
    let wanted = match query.split_once('=') {
        // A URL as it is, or encoded as forms do.
        Some(("url", url)) if url.contains("://") => keys(config, url).map(Wanted::Url),
        Some(("url", url)) => percent_decoded(url).and_then(|url| keys(config, &url)).map(Wanted::Url),
        Some(("site", name)) => percent_decoded(&name.replace('+', " ")).map(Wanted::Site),
        _ => None,
    };
    match wanted {
        None => (StatusCode::BAD_REQUEST, "say which: /purge?url=https://HOST/PATH or /purge?site=NAME\n"),
        Some(wanted) if wanted.is_unknown(config) => (StatusCode::NOT_FOUND, "no such site\n"),
        Some(wanted) => {
            if let Some(cache) = cache {
                wanted.purge(cache);
            }
            (StatusCode::NO_CONTENT, "")
        }
    }
}

enum Wanted {
    /// The URL, once for each site that serves its host.
    Url(Vec<Key>),
    Site(String),
}

impl Wanted {
    fn is_unknown(&self, config: &Config) -> bool {
        match self {
            Self::Url(keys) => keys.is_empty(),
            Self::Site(name) => !config.sites.iter().any(|site| *site.name == **name),
        }
    }

    fn purge(&self, cache: &Cache) {
        match self {
            Self::Url(keys) => keys.iter().for_each(|key| cache.purge(key)),
            Self::Site(name) => cache.purge_site(name),
        }
    }
}

/// `None` for what is no URL with a host.
fn keys(config: &Config, url: &str) -> Option<Vec<Key>> {
    let url: Uri = url.split('#').next()?.parse().ok()?;
    let host = Hostname::from_unicode(url.host()?).ok()?;
    let target = url.path_and_query().map_or("/", |target| target.as_str());
    let serves = config.sites.iter().filter(|site| site.hosts.iter().any(|pattern| pattern.matches(&host)));
    Some(serves.map(|site| Key::new(&site.name, &host.shared(), target.as_bytes())).collect())
}

/// A value of a query. `None` if it is not UTF-8, or a percent sign has no digits.
fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        bytes.push(match first {
            b'%' => {
                let (digits, after) = rest.split_at_checked(2)?;
                rest = after;
                u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?
            }
            byte => *byte,
        });
    }
    String::from_utf8(bytes).ok()
}
