//! `assets` of a site.

use std::path::Path;

use super::{Value, or};
use crate::config::{AssetFolder, schema};
use crate::hostname::{HostPattern, Hostname};
use crate::rewrite::FooterPages;

/// What becomes of the foreign assets of a site's pages.
#[derive(Debug, Default)]
pub(super) struct Assets {
    /// Whether they are counted, on the pages that get the footer.
    pub(super) is_reported: bool,
    pub(super) folders: Vec<AssetFolder>,
}

pub(super) fn assets(
    value: &Value<'_>,
    pages: Option<FooterPages>,
    own: &[HostPattern],
    folder: &Path,
) -> Option<Assets> {
    let fields = value.fields(schema::ASSETS)?;
    if pages == Some(FooterPages::Off) {
        fields.useless("report", "pages are read for the footer alone, and none gets it (footer.pages: off)");
    }
    let is_reported = or(fields.get("report"), false, |value| value.boolean());
    let folders = or(fields.get("map"), Vec::new(), |value| folders(value, own, folder));
    Some(Assets { is_reported: is_reported?, folders: folders? })
}

/// The most hosts of one site.
const MAX_HOSTS: usize = 64;

fn folders(value: &Value<'_>, own: &[HostPattern], folder: &Path) -> Option<Vec<AssetFolder>> {
    let entries = value.entries()?;
    if entries.len() > MAX_HOSTS {
        value.fatal(format_args!("there are more than {MAX_HOSTS} hosts"), None);
        return None;
    }
    let mut folders: Vec<AssetFolder> = Vec::new();
    for (name, value) in &entries {
        let Ok(host) = Hostname::from_unicode(name) else {
            value.fatal("its key is not a host name", "map: {fonts.googleapis.com: assets/fonts}".to_owned());
            continue;
        };
        if own.iter().any(|pattern| pattern.matches(&host)) {
            value.fatal(
                format_args!("{host} is one of the site's own hosts"),
                "map the hosts of others; a route serves the site's own".to_owned(),
            );
        }
        if folders.iter().any(|other| other.host == host) {
            value.fatal(format_args!("the host {host} is there twice"), "remove one of them".to_owned());
        }
        folders.extend(value.path(folder).map(|folder| AssetFolder { host, folder }));
    }
    (folders.len() == entries.len()).then_some(folders)
}
