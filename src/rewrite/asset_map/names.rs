//! Names of files and the URLs that they stand for.
//!
//! A file's path below the folder of its host is the URL's path and query, with `%3F` or `?` before the query and `%2F`
//! for a `/` within it. Both are compared decoded, so `Open%20Sans` is `Open Sans`.

use std::fmt::Write as _;

use url::{Position, Url};

/// What identifies a file of a host: path and query without the first `/`, percent-decoded.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct AssetName(Box<[u8]>);

/// An absolute URL of another host, as browsers read it.
#[derive(Clone, Debug)]
pub(super) struct AssetUrl(Url);

/// The base for references without a host, which then have this one. No real host has this name (RFC 6761, 6.4).
const NOWHERE: &str = "https://nowhere.invalid/";

impl AssetName {
    /// Of a file, by its path below the folder, or of a URL, by what is behind its host.
    pub fn of_path(path: &[u8]) -> Self {
        Self(decoded(path).into())
    }

    /// The last segment of its path.
    pub(super) fn file_name(&self) -> &[u8] {
        let path = self.0.split(|byte| *byte == b'?').next().unwrap_or_default();
        path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
    }

    /// As the path of a URL. It needs no escaping in HTML, in CSS or in a `srcset`.
    pub(super) fn encoded(&self) -> String {
        let mut text = String::with_capacity(self.0.len() + 16);
        for &byte in &*self.0 {
            if byte.is_ascii_alphanumeric() || b"-._~/:=@+".contains(&byte) {
                text.push(char::from(byte));
            } else {
                // Writing to a string does not fail.
                let _ = write!(text, "%{byte:02X}");
            }
        }
        text
    }

    /// The bytes that identify it.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl AssetUrl {
    /// The URL of a file of `host`.
    pub(super) fn of(host: &str, name: &AssetName) -> Option<Self> {
        Url::parse(&format!("https://{host}/{}", name.encoded().replacen("%3F", "?", 1))).ok().map(Self)
    }

    /// A reference to a host on the usual port of http or https; relative to `base`, if there is one.
    pub(super) fn parse(reference: &str, base: Option<&Self>) -> Option<Self> {
        let url = match base {
            Some(base) => base.0.join(reference).ok()?,
            None => Url::parse(NOWHERE)
                .ok()?
                .join(reference)
                .ok()
                .filter(|url| !url.as_str().starts_with(NOWHERE))?,
        };
        let is_usual =
            matches!(url.scheme(), "http" | "https") && url.port().is_none() && url.username().is_empty();
        is_usual.then_some(Self(url))
    }

    /// The host, in lower case.
    pub(super) fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default().trim_end_matches('.')
    }

    /// The name of its file.
    pub(super) fn name(&self) -> AssetName {
        let target = &self.0[Position::BeforePath..Position::AfterQuery];
        let target = target.strip_prefix('/').unwrap_or(target);
        AssetName::of_path(target.strip_suffix('?').unwrap_or(target).as_bytes())
    }

    /// Its fragment with the `#`, or nothing.
    pub(super) fn fragment(&self) -> &str {
        let behind = &self.0[Position::AfterQuery..];
        if behind.len() > 1 { behind } else { "" }
    }
}

/// `%41` is `A`; a `%` without two digits stands for itself.
fn decoded(text: &[u8]) -> Vec<u8> {
    let digit = |at: usize| text.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let mut bytes = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        match (byte, digit(at + 1), digit(at + 2)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(u8::try_from(high * 16 + low).unwrap_or_default());
                at += 3;
            }
            _ => {
                bytes.push(byte);
                at += 1;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_found_by_every_spelling_of_its_url() {
        for (file, urls) in [
            (
                "css%3Ffamily=Roboto:400,700",
                &["https://a.cn/css?family=Roboto:400,700", "//A.cn/css?family=Roboto%3A400%2C700"][..],
            ),
            (
                "css?family=Open+Sans|A",
                &["http://a.cn/css?family=Open+Sans|A#x", "//a.cn:443/./css?family=Open%2BSans%7CA"],
            ),
            ("x/a b.png", &["//a.cn/x/a b.png", "https:\\\\a.cn\\x\\a%20b.png", "//a.cn/y/../x/a%20b.png?"]),
            ("%E4%B8%AD.svg", &["//a.cn/中.svg", "//a.cn./%e4%b8%ad.svg"]),
            ("q%3Fa=1%2F2", &["//a.cn/q?a=1/2"]),
            ("100%", &["//a.cn/100%"]),
        ] {
            for url in urls {
                let parsed = AssetUrl::parse(url, None).expect(url);
                assert_eq!(parsed.host(), "a.cn", "{url}");
                assert_eq!(parsed.name(), AssetName::of_path(file.as_bytes()), "{url}");
            }
        }
    }

    #[test]
    fn what_asks_no_other_host_is_no_url() {
        for reference in [
            "",
            "a.css",
            "/a.css",
            "?a",
            "#a",
            "data:text/css,a",
            "blob:x",
            "https://a.cn:8443/a",
            "https://me@a.cn/a",
            "https://",
        ] {
            assert!(AssetUrl::parse(reference, None).is_none(), "{reference}");
        }
        let base = AssetUrl::parse("https://a.cn/css/a.css", None);
        let of = |reference| {
            AssetUrl::parse(reference, base.as_ref()).map(|url| (url.host().to_owned(), url.name()))
        };
        assert_eq!(of("../f/a.woff2#iefix"), Some(("a.cn".to_owned(), AssetName::of_path(b"f/a.woff2"))));
        assert_eq!(of("data:font/woff2,x"), None);
    }

    #[test]
    fn an_encoded_name_is_read_back() {
        let name = AssetName::of_path(b"a b/\"'()<>&;,%25?x=\xff");
        assert!(name.encoded().bytes().all(|byte| !b" \"'()<>&;,?#\\".contains(&byte)), "{}", name.encoded());
        assert_eq!(AssetName::of_path(name.encoded().as_bytes()), name);
        assert_eq!(
            AssetUrl::of("a.cn", &AssetName::of_path(b"css%3Fa=b")).unwrap().name(),
            AssetName::of_path(b"css?a=b")
        );
    }
}
