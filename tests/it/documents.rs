//! The documents name only files that exist, and link only to headings that exist.

use std::path::{Path, PathBuf};

/// Folders that are no part of the documents.
const LEFT_OUT: [&str; 4] = ["target", "vendor", "results", "node_modules"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Markdown file of the repository, with its text.
fn documents() -> Vec<(PathBuf, String)> {
    let (mut folders, mut documents) = (vec![root().to_owned()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs_err::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if path.is_dir() && !name.starts_with('.') && !LEFT_OUT.contains(&name) {
                folders.push(path);
            } else if name.ends_with(".md") {
                documents.push((path.clone(), fs_err::read_to_string(path).expect("UTF-8")));
            }
        }
    }
    documents
}

/// What stands between `open` and `close`, wherever it does on one line.
fn between<'t>(text: &'t str, open: &str, close: &str) -> Vec<&'t str> {
    let parts = text.lines().flat_map(|line| line.split(open).skip(1));
    parts.filter_map(|part| part.split_once(close).map(|(inner, _)| inner)).collect()
}

/// The anchors of a document's headings, as GitHub makes them.
fn anchors(text: &str) -> Vec<String> {
    let headings = text.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#'));
    headings
        .map(|heading| {
            let kept = heading.trim().chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c));
            kept.collect::<String>().to_lowercase().replace(' ', "-")
        })
        .collect()
}

#[test]
fn links_lead_to_files_and_headings() {
    let documents = documents();
    assert!(documents.len() > 10, "only {} documents were found", documents.len());
    for (document, text) in &documents {
        for link in between(text, "](", ")") {
            if link.contains("://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() {
                document.clone()
            } else {
                document.parent().expect("a folder").join(file)
            };
            assert!(target.exists(), "{}: {link} does not exist", document.display());
            let headings = || anchors(&fs_err::read_to_string(&target).expect("UTF-8"));
            assert!(
                anchor.is_empty() || headings().iter().any(|heading| heading == anchor),
                "{}: {link} has no such heading",
                document.display()
            );
        }
    }
}

#[test]
fn the_map_of_the_code_names_files_that_exist() {
    let map = fs_err::read_to_string(root().join("ARCHITECTURE.md")).expect("UTF-8");
    // Odd parts of a line stand in backquotes.
    let quoted = map.lines().flat_map(|line| line.split('`').skip(1).step_by(2));
    let is_path = |word: &&str| {
        (word.ends_with(".rs") || word.ends_with('/')) && !word.starts_with('/') && !word.contains(' ')
    };
    let paths: Vec<&str> = quoted.filter(is_path).collect();
    assert!(paths.len() > 100, "only {} paths were found", paths.len());
    for path in paths {
        let exists = root().join("src").join(path).exists() || root().join(path).exists();
        assert!(exists, "ARCHITECTURE.md names {path}, which does not exist");
    }
}

/// Every test file below `folder`, as one text.
fn tests_below(folder: &Path) -> String {
    let entries = fs_err::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let text = |path: PathBuf| match path.extension() {
        _ if path.is_dir() => tests_below(&path),
        Some(end) if end == "rs" => fs_err::read_to_string(path).expect("UTF-8"),
        _ => String::new(),
    };
    entries.map(text).collect()
}

#[test]
fn every_promise_of_security_md_has_a_test() {
    let tests = tests_below(&root().join("tests/it"));
    let security = fs_err::read_to_string(root().join("SECURITY.md")).expect("UTF-8");
    let (_, promises) = security.split_once("## Promises and their tests").expect("the section");
    let (promises, _) = promises.split_once("\n## ").expect("another section");
    let rows: Vec<&str> = promises.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() > 20, "{} promises", rows.len());
    for row in rows {
        let column = row.rsplit(" | ").next().expect("a last column");
        let names: Vec<&str> = column.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "no test is named: {row}");
        for name in names {
            assert!(tests.contains(&format!("fn {name}(")), "there is no test {name}");
        }
    }
}
