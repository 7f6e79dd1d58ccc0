//! The architecture: which modules and files may import which, and which module may name a crate.

mod circles;
mod imports;
mod modules;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use imports::top_level_imports;

/// From top to bottom. Imports point down, or sideways without a circle.
const LAYERS: &[&[&str]] = &[
    &["cli"],
    &["app"],
    &["admin"],
    &["acme"],
    &["serve"],
    &["exchange"],
    &["downstream", "upstream"],
    &["listen", "ship", "cache"],
    &["edge"],
    &["retention", "background"],
    &["snapshot"],
    &["fleet"],
    &["remote"],
    &["tls"],
    &["config"],
    &["gate", "origin", "rate", "route", "rewrite", "access"],
    &["net"],
    &["message"],
    &["encryption"],
    &["hostname", "clock", "regular_file", "metrics"],
];

/// Policy modules: they know no socket, disk, clock or runtime.
const PURE: [&str; 9] =
    ["gate", "origin", "rate", "route", "rewrite", "access", "message", "hostname", "clock"];

/// Code and the only places that may contain it.
const DOORS: &[(&[&str], &[&str])] = &[
    (&["age::"], &["encryption.rs"]),
    (&["pingora::"], &["cache/"]),
    (&["httpdate::"], &["cache/freshness.rs"]),
    (&["serde_yaml::"], &["config/file.rs"]),
    (&["minisign_verify::"], &["fleet/signature.rs"]),
    (
        &["lol_html::"],
        &[
            "rewrite/template.rs",
            "rewrite/references.rs",
            "rewrite/scan/oracle.rs",
            "rewrite/asset_map/page.rs",
        ],
    ),
    (&["use url::{"], &["rewrite/asset_map/names.rs"]),
    (&["maxminddb::"], &["config/regions.rs"]),
    (&["pingora_ketama::"], &["origin/ring.rs"]),
    (&["zlib_rs::"], &["rewrite/decode.rs", "rewrite/encode.rs"]),
    (&["brotli_decompressor::"], &["rewrite/decode.rs"]),
    (&["brotli::enc"], &["rewrite/encode.rs"]),
    // The snapshot holds TLS configurations; it does no handshake.
    (
        &["rustls::"],
        &[
            "main.rs",
            "tls/",
            "listen/handshake.rs",
            "net/tls_stream.rs",
            "remote/connect.rs",
            "remote/http.rs",
            "snapshot.rs",
            "snapshot/",
        ],
    ),
    (&["tokio_rustls::"], &["net/transport.rs", "remote/connect.rs", "upstream/connect/establish.rs"]),
    // Only `listen/set.rs` binds listeners, with a permit; the others bind the admin pages and the demonstration.
    (&["TcpListener::bind", ".listen("], &["listen/set.rs", "app.rs", "cli/demo.rs"]),
    // Only HTTP/2 framing, so that it can be replaced.
    (
        &["h2::"],
        &[
            "serve/http2.rs",
            "downstream/http2.rs",
            "net/outflow.rs",
            "upstream/http2.rs",
            "upstream/http2/",
            "upstream/probe_request.rs",
        ],
    ),
    (
        &["hickory_resolver::"],
        &["upstream/authorities.rs", "upstream/names/lookup.rs", "upstream/names/records.rs"],
    ),
    (&["hickory_proto::"], &["acme/dns.rs", "acme/rfc2136.rs"]),
    (&["instant_acme::"], &["acme/account.rs", "acme/authority.rs", "acme/order.rs"]),
    (&["axum::"], &["admin.rs", "admin/events.rs", "admin/hosts.rs", "cli/demo.rs"]),
    (&["askama::"], &["admin/page.rs"]),
    (&["prometheus::"], &["metrics.rs", "metrics/"]),
    (&["notify::"], &["app/file_watch.rs"]),
    (&["tokio::signal"], &["app/"]),
    (&["Clock::system"], &["cli/"]),
];

/// A file of the program, without its tests and comments.
struct Source {
    /// Below `src`.
    path: PathBuf,
    code: String,
}

impl Source {
    /// The module of the top level that it belongs to; `None` for the roots themselves.
    fn module(&self) -> Option<&str> {
        let first = self.path.iter().next()?.to_str()?;
        let module = first.strip_suffix(".rs").unwrap_or(first);
        (!["lib", "main"].contains(&module)).then_some(module)
    }

    fn is_in(&self, place: &str) -> bool {
        let path = self.path.to_str().expect("UTF-8");
        path == place || (place.ends_with('/') && path.starts_with(place))
    }
}

/// The text of every file below `src`.
fn files() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = BTreeMap::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs_err::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs_err::read_to_string(&path).expect("UTF-8");
                let name = path.strip_prefix(&root).expect("below src").to_str().expect("UTF-8");
                files.insert(name.to_owned(), text);
            }
        }
    }
    files
}

/// Every file of the program, its tests apart.
fn sources() -> Vec<Source> {
    let is_test = |name: &str| name.ends_with("tests.rs") || name.contains("/tests/");
    let sources: Vec<Source> = files()
        .into_iter()
        .filter(|(name, _)| !is_test(name))
        .map(|(name, text)| {
            let code = text.split("#[cfg(test)]\nmod tests {").next().expect("a beginning");
            let code: Vec<&str> =
                code.lines().map(|line| line.split("//").next().unwrap_or_default()).collect();
            Source { path: name.into(), code: code.join("\n") }
        })
        .collect();
    assert!(sources.len() > 50, "the program has more files than {}", sources.len());
    sources
}

/// The top-level modules that each top-level module names.
fn edges() -> BTreeMap<String, BTreeSet<String>> {
    top_level_imports(&modules::modules(&files(), "lib.rs"))
}

fn layer(module: &str) -> usize {
    let found = LAYERS.iter().position(|layer| layer.contains(&module));
    found.unwrap_or_else(|| panic!("{module} is in no layer"))
}

#[test]
fn imports_point_downwards() {
    for (module, known) in edges() {
        for other in known {
            assert!(layer(&module) <= layer(&other), "{module} knows {other}, which is above it");
        }
    }
}

#[test]
fn modules_of_one_layer_do_not_import_each_other_in_a_circle() {
    let edges = edges();
    for (module, known) in &edges {
        for other in known.iter().filter(|other| layer(module) == layer(other)) {
            assert!(!reaches(&edges, other, module), "{module} and {other} know each other");
        }
    }
}

fn reaches(edges: &BTreeMap<String, BTreeSet<String>>, from: &str, to: &str) -> bool {
    edges.get(from).is_some_and(|known| known.iter().any(|next| next == to || reaches(edges, next, to)))
}

#[test]
fn crates_are_named_only_in_their_modules() {
    let sources = sources();
    for &(words, places) in DOORS {
        for source in &sources {
            for word in words {
                let found = source.code.match_indices(word).any(|(place, _)| is_whole(&source.code, place));
                let allowed = places.iter().any(|place| source.is_in(place));
                assert!(
                    !found || allowed,
                    "{} holds {word}, which belongs in {places:?}",
                    source.path.display()
                );
            }
        }
        for place in places {
            let held = sources
                .iter()
                .filter(|source| source.is_in(place))
                .any(|source| words.iter().any(|word| source.code.contains(word)));
            assert!(held, "{place} does not need {words:?} any more");
        }
    }
}

/// Whether an identifier begins at `place`.
fn is_whole(code: &str, place: usize) -> bool {
    !code[..place].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
}

#[test]
fn policy_modules_do_no_io() {
    let world = [
        "tokio::",
        "tokio_rustls::",
        "h2::",
        "rustls::",
        "axum::",
        "std::fs",
        "fs_err::",
        "std::thread",
        "TcpStream",
        "UdpSocket",
        "tracing::",
        "notify::",
        "async fn",
    ];
    for source in sources() {
        if source.module().is_some_and(|module| PURE.contains(&module)) {
            for word in world {
                assert!(!source.code.contains(word), "{} holds {word}", source.path.display());
            }
        }
    }
}

#[test]
fn every_file_begins_with_its_role() {
    let files = files();
    for source in sources() {
        let name = source.path.to_str().expect("UTF-8");
        assert!(
            files[name].starts_with("//! "),
            "{name} does not begin with a `//!` line that says its role"
        );
    }
}
