//! The local copies of one site: by the URL that pages refer to, and by the path that they are served at.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use sha2::{Digest, Sha256, Sha384};

use super::media::media_type;
use super::names::{AssetName, AssetUrl};
use super::style::StyleMapper;
use crate::rewrite::references::host;
use crate::rewrite::{Compress, CompressSettings, Encoder, Encoding};

/// Where the copies are, on every site that has some: `HOST/PATH` follows.
pub(super) const OWN_ASSETS: &str = "/_icpgate/assets/";

/// A copied file.
#[derive(Debug)]
pub struct AssetFile {
    name: AssetName,
    content: Bytes,
    digest: [u8; 32],
}

impl AssetFile {
    /// A file by the name that it has below the folder of its host.
    pub fn new(name: AssetName, content: Bytes) -> Self {
        let digest = Sha256::digest(&content).into();
        Self { name, content, digest }
    }
}

/// The copies of one site.
#[derive(Debug)]
pub struct AssetMap {
    hosts: HashMap<Box<str>, HashMap<AssetName, Asset>>,
    digest: u64,
    compress: CompressSettings,
}

/// One file as it is served.
#[derive(Debug)]
pub(super) struct Asset {
    /// Its path and query on the site: another content has another query.
    url: Box<str>,
    version: Box<str>,
    /// The value of `integrity`.
    integrity: Box<str>,
    media_type: HeaderValue,
    plain: Body,
    encoded: Vec<(Encoding, Body)>,
}

/// A file in one coding.
#[derive(Debug)]
pub(super) struct Body {
    pub(super) bytes: Bytes,
    pub(super) etag: HeaderValue,
}

/// What is served at a path.
#[derive(Clone, Copy, Debug)]
pub struct Found<'m> {
    asset: &'m Asset,
    /// Whether the URL names this content: it never changes there.
    pub is_versioned: bool,
}

impl AssetMap {
    /// The files of each host. `compress` says which are compressed, and how.
    pub fn new(hosts: &[(Arc<str>, Arc<[AssetFile]>)], compress: &CompressSettings) -> Self {
        let digest = digest(hosts);
        let mut versions: HashMap<&str, HashMap<&AssetName, String>> = HashMap::new();
        for (host, files) in hosts {
            let versions = versions.entry(host).or_default();
            versions.extend(files.iter().map(|file| (&file.name, version(file, digest))));
        }
        let local = |url: &AssetUrl| {
            let version = versions.get(url.host())?.get(&url.name())?;
            Some(local_url(url.host(), &url.name(), version) + url.fragment())
        };
        let asset = |host: &str, file: &AssetFile| {
            let media_type = media_type(&file.name)?;
            let content = match (media_type, AssetUrl::of(host, &file.name)) {
                ("text/css", Some(base)) => mapped(&file.content, &base, &local),
                _ => file.content.clone(),
            };
            let version = version(file, digest);
            let url = local_url(host, &file.name, &version);
            Some((file.name.clone(), Asset::new(url, version, media_type, content, compress)))
        };
        let of_host = |(host, files): &(Arc<str>, Arc<[AssetFile]>)| {
            (Box::from(&**host), files.iter().filter_map(|file| asset(host, file)).collect())
        };
        let digest = digest.first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        Self { hosts: hosts.iter().map(of_host).collect(), digest, compress: compress.clone() }
    }

    /// Whether its files are compressed by these settings.
    pub fn is_compressed_by(&self, compress: &CompressSettings) -> bool {
        self.compress == *compress
    }

    /// Changes with every change of a file. Never 0.
    pub fn digest(&self) -> u64 {
        self.digest.max(1)
    }

    /// The copy of what a reference with a host names, and the URL to refer to it by.
    pub(super) fn find(&self, reference: &str) -> Option<(&Asset, String)> {
        // Most references are to the site itself, and need not be read in full.
        let files = self.hosts.get(&*host(reference)?)?;
        let url = AssetUrl::parse(reference, None)?;
        let asset = files.get(&url.name())?;
        Some((asset, format!("{}{}", asset.url, url.fragment())))
    }

    /// The URL to refer to a copy by, if there is one of what a reference with a host names.
    pub fn local(&self, reference: &str) -> Option<String> {
        self.find(reference).map(|(_, url)| url)
    }

    /// What is served at a path of the site, with its query.
    pub fn at(&self, path: &str, query: Option<&str>) -> Option<Found<'_>> {
        let (host, name) = path.strip_prefix(OWN_ASSETS)?.split_once('/')?;
        let asset = self.hosts.get(host)?.get(&AssetName::of_path(name.as_bytes()))?;
        let version = query.and_then(|query| query.strip_prefix("v="));
        Some(Found { asset, is_versioned: version == Some(&asset.version) })
    }
}

impl Asset {
    fn new(
        url: String,
        version: String,
        media_type: &'static str,
        content: Bytes,
        compress: &CompressSettings,
    ) -> Self {
        let digest = Sha384::digest(&content);
        let tag = hex(&digest[..12]);
        let encoded = match compress.types.iter().any(|known| **known == *media_type) {
            true => {
                compress.encodings.iter().filter_map(|encoding| encoded(*encoding, &content, &tag)).collect()
            }
            false => Vec::new(),
        };
        let is_text = matches!(media_type, "text/css" | "text/javascript" | "text/plain");
        let media_type = match is_text && std::str::from_utf8(&content).is_ok() {
            true => HeaderValue::try_from(format!("{media_type}; charset=utf-8")),
            false => Ok(HeaderValue::from_static(media_type)),
        };
        Self {
            url: url.into(),
            version: version.into(),
            integrity: format!("sha384-{}", STANDARD.encode(digest)).into(),
            media_type: media_type.unwrap_or(HeaderValue::from_static("application/octet-stream")),
            plain: Body { bytes: content, etag: etag(&tag, "") },
            encoded,
        }
    }

    /// The value of `integrity` for scripts and style sheets.
    pub(super) fn integrity(&self) -> &str {
        &self.integrity
    }
}

impl Found<'_> {
    /// Its media type.
    pub fn media_type(&self) -> HeaderValue {
        self.asset.media_type.clone()
    }

    /// Whether it is served in codings.
    pub fn is_encoded(&self) -> bool {
        !self.asset.encoded.is_empty()
    }

    /// The coding, entity tag and body for a client.
    pub fn body(&self, compress: Compress<'_>, asked: &HeaderMap) -> (Option<Encoding>, HeaderValue, Bytes) {
        let wanted = compress.encoding_for(asked).filter(|_| compress.can_encode(asked));
        let encoded = self.asset.encoded.iter().find(|(encoding, _)| Some(*encoding) == wanted);
        let (encoding, body) =
            encoded.map_or((None, &self.asset.plain), |(encoding, body)| (Some(*encoding), body));
        (encoding, body.etag.clone(), body.bytes.clone())
    }
}

fn digest(hosts: &[(Arc<str>, Arc<[AssetFile]>)]) -> [u8; 32] {
    let mut all = Sha256::new();
    for (host, files) in hosts {
        all.update((host.len() as u64).to_be_bytes());
        all.update(host.as_bytes());
        all.update((files.len() as u64).to_be_bytes());
        for file in &**files {
            all.update((file.name.bytes().len() as u64).to_be_bytes());
            all.update(file.name.bytes());
            all.update(file.digest);
        }
    }
    all.finalize().into()
}

/// A style sheet refers to other files, so it changes with any of them.
fn version(file: &AssetFile, of_all: [u8; 32]) -> String {
    let is_style = media_type(&file.name) == Some("text/css");
    let digest = if is_style {
        Sha256::new().chain_update(of_all).chain_update(file.digest).finalize().into()
    } else {
        file.digest
    };
    hex(&digest[..8])
}

fn local_url(host: &str, name: &AssetName, version: &str) -> String {
    format!("{OWN_ASSETS}{host}/{}?v={version}", name.encoded())
}

/// A copied style sheet with its own references mapped.
fn mapped(style: &[u8], base: &AssetUrl, local: &dyn Fn(&AssetUrl) -> Option<String>) -> Bytes {
    let mut mapper = StyleMapper::default();
    let mut out = Vec::with_capacity(style.len());
    mapper.push(style, &|reference| local(&AssetUrl::parse(reference, Some(base))?), &mut out);
    out.extend(mapper.finish());
    out.into()
}

/// The content in a coding, if that saves something.
fn encoded(encoding: Encoding, content: &[u8], tag: &str) -> Option<(Encoding, Body)> {
    let mut bytes = Vec::new();
    let mut put = |part: Bytes| bytes.extend_from_slice(&part);
    let mut encoder = Encoder::new(encoding).ok()?;
    encoder.push(content, &mut put).ok()?;
    encoder.finish(&mut put).ok()?;
    let body = Body { bytes: bytes.into(), etag: etag(tag, encoding.name()) };
    (body.bytes.len() < content.len()).then_some((encoding, body))
}

fn etag(tag: &str, coding: &str) -> HeaderValue {
    HeaderValue::try_from(format!("\"{tag}{coding}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(hosts: &[(&str, &[(&str, &str)])]) -> AssetMap {
        let file = |(name, content): &(&str, &str)| {
            AssetFile::new(AssetName::of_path(name.as_bytes()), Bytes::copy_from_slice(content.as_bytes()))
        };
        let hosts: Vec<_> =
            hosts.iter().map(|(host, files)| (Arc::from(*host), files.iter().map(file).collect())).collect();
        AssetMap::new(&hosts, &CompressSettings::default())
    }

    fn text(map: &AssetMap, url: &str) -> String {
        let (path, query) = url.split_once('?').expect("a version");
        let found = map.at(path, Some(query)).expect("served");
        assert!(found.is_versioned, "{url}");
        String::from_utf8(found.asset.plain.bytes.to_vec()).unwrap()
    }

    #[test]
    fn a_copied_style_sheet_refers_to_the_copies() {
        let style = "@import 'b.css';@font-face{src:url(https://f.cn/s/x.woff2) url(//f.cn/none.woff2) url(../s/y.png#z)}";
        let map = map(&[
            ("a.cn", &[("c/css?family=X", style), ("c/b.css", "@import 'css?family=X'"), ("s/y.png", "y")]),
            ("f.cn", &[("s/x.woff2", "x")]),
        ]);
        let of = |url| map.local(url).unwrap();
        let found = text(&map, &of("//a.cn/c/css?family=X"));
        let expected = style
            .replace("b.css", &of("//a.cn/c/b.css"))
            .replace("https://f.cn/s/x.woff2", &of("https://f.cn/s/x.woff2"))
            .replace("../s/y.png", &of("//a.cn/s/y.png"));
        assert_eq!(found, expected);
        assert_eq!(of("//a.cn/s/y.png#z").split('#').nth(1), Some("z"));
        assert_eq!(map.local("//f.cn/none.woff2"), None);
        assert_eq!(map.local("//g.cn/s/x.woff2"), None);
    }

    #[test]
    fn a_changed_file_has_another_url_and_so_have_the_style_sheets() {
        let of =
            |content| map(&[("a.cn", &[("a.css", "p{x:url(x.png)}"), ("x.png", content), ("y.png", "y")])]);
        let (before, after) = (of("1"), of("2"));
        assert_ne!(before.digest(), after.digest());
        for (url, changes) in [("//a.cn/a.css", true), ("//a.cn/x.png", true), ("//a.cn/y.png", false)] {
            assert_eq!(before.local(url) != after.local(url), changes, "{url}");
        }
        let old = before.local("//a.cn/x.png").unwrap();
        let (path, query) = old.split_once('?').unwrap();
        assert!(!after.at(path, Some(query)).unwrap().is_versioned);
        assert!(!after.at(path, None).unwrap().is_versioned);
    }

    #[test]
    fn only_what_is_a_copy_is_served() {
        let map = map(&[("a.cn", &[("a.css", ""), ("a.html", "")])]);
        assert!(map.at("/_icpgate/assets/a.cn/a.css", None).is_some());
        for path in
            ["a.cn/a.html", "a.cn/b.css", "b.cn/a.css", "a.cn", "a.cn/", "", "a.cn/x/../a.css", "a.cn//a.css"]
        {
            assert!(map.at(&format!("{OWN_ASSETS}{path}"), None).is_none(), "{path}");
        }
    }
}
