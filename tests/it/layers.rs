//! The shape of the code: which module may know which, and which crates stay behind which door.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// From the top to the bottom; imports point downwards, or sideways without coming back.
const LAYERS: [&[&str]; 12] = [
    &["cli"],
    &["app"],
    &["admin"],
    &["proxy"],
    &["listen"],
    &["retention", "metrics", "background"],
    &["snapshot"],
    &["tls"],
    &["config"],
    &["gate", "origin", "route", "rewrite", "access"],
    &["message"],
    &["hostname", "clock", "regular_file"],
];

/// What decides knows no socket, no disk, no engine and no runtime.
const PURE: [&str; 8] = ["gate", "origin", "route", "rewrite", "access", "message", "hostname", "clock"];

/// Words of code and the only places that may hold them.
const DOORS: [(&[&str], &[&str]); 13] = [
    (&["serde_yaml::"], &["config/file.rs"]),
    (&["maxminddb::"], &["config/regions.rs"]),
    (&["flate2::", "brotli_decompressor::"], &["rewrite/decode.rs"]),
    // The snapshot holds what TLS needs ready made; it negotiates nothing.
    (&["rustls::"], &["main.rs", "tls/", "listen/tls.rs", "listen/tls/", "snapshot.rs", "snapshot/"]),
    (&["tokio_rustls::"], &["listen/", "proxy/connect/establish.rs"]),
    // A listener's socket takes a permit; the others are the admin pages' and the demonstration's own.
    (&["TcpListener::bind", ".listen("], &["listen/set.rs", "app.rs", "cli/demo.rs"]),
    // HTTP/2's framing alone, so that it can be replaced.
    (
        &["h2::"],
        &[
            "proxy/http2.rs",
            "proxy/http2/",
            "proxy/outflow.rs",
            "proxy/upstream/http2.rs",
            "proxy/upstream/http2/",
            "proxy/upstream/once.rs",
        ],
    ),
    (&["hickory_resolver::"], &["proxy/connect/names/lookup.rs"]),
    (&["axum::"], &["admin.rs", "cli/demo.rs"]),
    (&["prometheus::"], &["metrics.rs", "metrics/", "listen/limits.rs"]),
    (&["notify::"], &["app/watch.rs"]),
    (&["tokio::signal"], &["app.rs", "app/"]),
    (&["Clock::system"], &["cli.rs", "cli/"]),
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

    /// The modules of the top level that it names by their path.
    fn edges(&self) -> BTreeSet<String> {
        let mut edges = BTreeSet::new();
        for (place, _) in self.code.match_indices("crate::") {
            let rest = &self.code[place + "crate::".len()..];
            match rest.strip_prefix('{') {
                None => edges.extend(identifier(rest)),
                Some(group) => edges.extend(group_members(group)),
            }
        }
        edges
    }

    fn is_in(&self, place: &str) -> bool {
        let path = self.path.to_str().expect("UTF-8");
        path == place || (place.ends_with('/') && path.starts_with(place))
    }
}

fn identifier(text: &str) -> Option<String> {
    let end = text.find(|c: char| !(c.is_ascii_lowercase() || c == '_' || c.is_ascii_digit()));
    let word = &text[..end.unwrap_or(text.len())];
    (!word.is_empty()).then(|| word.to_owned())
}

/// The first words of the members of `a::b, c::{d, e}}`, up to the brace that closes them.
fn group_members(group: &str) -> Vec<String> {
    let (mut depth, mut begins, mut members) = (0, true, Vec::new());
    for (place, character) in group.char_indices() {
        match character {
            '}' if depth == 0 => break,
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => begins = true,
            _ if begins && !character.is_whitespace() => {
                begins = false;
                members.extend(identifier(&group[place..]));
            }
            _ => {}
        }
    }
    members
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs_err::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && !path.ends_with("tests.rs")
                && !path.parent().is_some_and(|folder| folder.ends_with("tests"))
            {
                let text = fs_err::read_to_string(&path).expect("UTF-8");
                let code = text.split("#[cfg(test)]\nmod tests {").next().expect("a beginning");
                let code = code.lines().map(|line| line.split("//").next().unwrap_or_default());
                let code = code.collect::<Vec<_>>().join("\n");
                let path = path.strip_prefix(&root).expect("below src").to_owned();
                sources.push(Source { path, code });
            }
        }
    }
    assert!(sources.len() > 50, "the program has more files than {}", sources.len());
    sources
}

/// Which modules each module of the top level names.
fn edges() -> BTreeMap<String, BTreeSet<String>> {
    let mut edges = BTreeMap::<String, BTreeSet<String>>::new();
    for source in sources() {
        if let Some(module) = source.module() {
            let known = edges.entry(module.to_owned()).or_default();
            known.extend(source.edges().into_iter().filter(|edge| edge != module));
        }
    }
    edges
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
fn neighbours_do_not_know_each_other() {
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
fn no_path_climbs_around_the_layers() {
    for source in sources().iter().filter(|source| source.module().is_some()) {
        let out = "super::".repeat(source.path.iter().count());
        let climbs = source.code.lines().find(|line| line.contains(&out) && !line.contains("use super::*"));
        assert_eq!(climbs, None, "{} leaves its module by {out}", source.path.display());
    }
}

#[test]
fn crates_stay_behind_their_doors() {
    let sources = sources();
    for (words, places) in DOORS {
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

/// Whether a word begins there, rather than going on.
fn is_whole(code: &str, place: usize) -> bool {
    !code[..place].ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
}

#[test]
fn what_decides_touches_nothing() {
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
fn every_file_says_what_it_is_for() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for source in sources() {
        let text = fs_err::read_to_string(root.join("src").join(&source.path)).expect("UTF-8");
        let begins = text.lines().next().unwrap_or_default();
        assert!(begins.starts_with("//! "), "{} does not say what it is for", source.path.display());
    }
}
