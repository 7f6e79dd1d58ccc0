//! The files that a configuration names, found even if the configuration is invalid, so that `check` can report
//! the problems of all files at once.

use std::path::{Path, PathBuf};

use super::findings::Findings;
use super::reader::{Fields, Value};
use super::{CertificateFiles, file, schema};

/// Files, by their place in the configuration.
#[derive(Debug, Default)]
pub struct NamedFiles {
    /// The allowlist.
    pub filings: Option<PathBuf>,
    /// Certificates and keys, by the index of the site.
    pub certificates: Vec<(usize, CertificateFiles)>,
    /// Roots of origins, by the index of the origin.
    pub trust: Vec<(usize, PathBuf)>,
    /// Client regions.
    pub client_regions: Option<PathBuf>,
}

impl NamedFiles {
    /// The files that the configuration `path` names; none if it is not valid YAML.
    pub fn of(path: &Path) -> Self {
        let findings = Findings::new(path);
        let Ok(bytes) = file::read(path, super::load::MAX_BYTES) else { return Self::default() };
        let Ok(node) = file::parse(&bytes, super::load::MAX_BYTES) else { return Self::default() };
        let folder = path.parent().unwrap_or(Path::new(""));
        let root = Value::root(&node, &findings);
        let Some(fields) = root.fields(schema::ICPGATE) else { return Self::default() };
        let path_of = |fields: &Fields<'_>, key: &str| fields.get(key)?.path(folder);
        let mut named = Self {
            filings: path_of(&fields, "filings"),
            client_regions: path_of(&fields, "client_regions"),
            ..Self::default()
        };
        for (place, site) in items(&fields, "sites").iter().enumerate() {
            let site = site.fields(schema::SITE);
            let pair = site.as_ref().and_then(|site| site.get("certificate")?.fields(schema::CERTIFICATE));
            let files = pair.and_then(|pair| Some((path_of(&pair, "chain")?, path_of(&pair, "key")?)));
            named.certificates.extend(files.map(|(chain, key)| (place, CertificateFiles { chain, key })));
        }
        for (place, origin) in items(&fields, "origins").iter().enumerate() {
            let trust = origin.fields(schema::ORIGIN).and_then(|origin| path_of(&origin, "trust"));
            named.trust.extend(trust.map(|trust| (place, trust)));
        }
        named
    }
}

fn items<'f>(fields: &'f Fields<'_>, key: &str) -> Vec<Value<'f>> {
    fields.get(key).and_then(Value::items_or_none).unwrap_or_default()
}
