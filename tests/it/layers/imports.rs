//! Imports between files, and the circles among them.
//!
//! A re-exported name counts for the file that defines it. A re-export by itself is no import: the file that
//! uses the name imports it.

use std::collections::{BTreeMap, BTreeSet};

use super::modules::{Modules, Segments};

/// Per file: the other files that it imports from, and the names.
pub(super) type Imports = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// The imports of every file.
pub(super) fn imports(modules: &Modules) -> Imports {
    let mut imports = Imports::new();
    for (path, module) in modules {
        let used = module.imports.iter().filter(|(name, _)| !module.reexports.contains(*name));
        for written in used.map(|(_, written)| written).chain(&module.paths) {
            let Some(named) = from_root(modules, path, written, 0) else { continue };
            let Some((file, name)) = definition(modules, &named, 0) else { continue };
            if file != module.file {
                imports.entry(module.file.clone()).or_default().entry(file).or_default().insert(name);
            }
        }
    }
    imports
}

/// The top-level modules that each top-level module names, re-exports included.
pub(super) fn top_level_imports(modules: &Modules) -> BTreeMap<String, BTreeSet<String>> {
    let mut imports = BTreeMap::<String, BTreeSet<String>>::new();
    for (path, module) in modules {
        let Some(top) = path.first() else { continue };
        let known = imports.entry(top.clone()).or_default();
        for written in module.imports.values().chain(&module.globs).chain(&module.paths) {
            let named = from_root(modules, path, written, 0);
            known.extend(named.and_then(|named| named.into_iter().next()).filter(|other| other != top));
        }
    }
    imports
}

/// Longer than any chain of re-exports: the chain is circular.
const DEPTH: usize = 32;

/// A path as it is written in the module `at`, from the root; `None` where it leads to another crate.
fn from_root(modules: &Modules, at: &[String], written: &[String], depth: usize) -> Option<Segments> {
    let (first, rest) = written.split_first()?;
    if depth > DEPTH {
        return None;
    }
    let module = &modules[at];
    match first.as_str() {
        "crate" => Some(rest.to_vec()),
        "self" => Some([at, rest].concat()),
        "super" => {
            let (_, parent) = at.split_last()?;
            let above = [&["self".to_owned()], rest].concat();
            // Each further `super` goes up by one.
            let above = if rest.first().is_some_and(|next| next == "super") { rest } else { &above };
            from_root(modules, parent, above, depth + 1)
        }
        name if module.children.contains(name) || module.items.contains(name) => Some([at, written].concat()),
        name => match module.imports.get(name) {
            Some(import) if import.first() == Some(first) => None,
            Some(import) => from_root(modules, at, &[import, rest].concat(), depth + 1),
            None => module.globs.iter().find_map(|glob| {
                let inside = from_root(modules, at, glob, depth + 1)?;
                let known = modules.get(&inside)?;
                let is_there = known.children.contains(name)
                    || known.items.contains(name)
                    || known.imports.contains_key(name);
                is_there.then(|| [inside.as_slice(), written].concat())
            }),
        },
    }
}

/// The defining file and the name of the item at a path from the root. `None` for a module itself:
/// only items are imports.
fn definition(modules: &Modules, path: &[String], depth: usize) -> Option<(String, String)> {
    let mut at = Segments::new();
    for (index, name) in path.iter().enumerate() {
        let module = &modules[&at];
        let is_last = index + 1 == path.len();
        if module.children.contains(name) && !(is_last && module.items.contains(name)) {
            at.push(name.clone());
            continue;
        }
        if !module.items.contains(name) && depth <= DEPTH {
            if let Some(import) = module.imports.get(name) {
                let path = [import, &path[index + 1..]].concat();
                return definition(modules, &from_root(modules, &at, &path, 0)?, depth + 1);
            }
            let inside = module.globs.iter().filter_map(|glob| from_root(modules, &at, glob, 0));
            let found =
                inside.filter(|inside| modules.get(inside).is_some_and(|known| known.items.contains(name)));
            if let Some(inside) = found.into_iter().next() {
                return definition(modules, &[&inside, &path[index..]].concat(), depth + 1);
            }
        }
        // An item of this module, or one that a macro defines.
        return Some((module.file.clone(), name.clone()));
    }
    None
}

/// Sets of files that reach each other.
pub(super) fn circles(imports: &Imports) -> Vec<BTreeSet<String>> {
    let reached: BTreeMap<&String, BTreeSet<&String>> =
        imports.keys().map(|file| (file, reached(imports, file))).collect();
    let mut circles = Vec::<BTreeSet<String>>::new();
    for (file, from) in &reached {
        let is_back = |other: &&&String| reached.get(**other).is_some_and(|back| back.contains(file));
        let circle: BTreeSet<String> = from.iter().filter(is_back).map(|&other| other.clone()).collect();
        if !circle.is_empty() && !circles.contains(&circle) {
            circles.push(circle);
        }
    }
    circles
}

fn reached<'i>(imports: &'i Imports, from: &'i String) -> BTreeSet<&'i String> {
    let mut reached = BTreeSet::new();
    let mut waiting = vec![from];
    while let Some(file) = waiting.pop() {
        let next = imports.get(file).into_iter().flat_map(BTreeMap::keys);
        waiting.extend(next.filter(|next| reached.insert(*next)));
    }
    reached
}

/// The imports between the files of a circle, as text.
pub(super) fn described(circle: &BTreeSet<String>, imports: &Imports) -> String {
    let mut lines = Vec::new();
    for file in circle {
        for (other, names) in imports[file].iter().filter(|(other, _)| circle.contains(*other)) {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            lines.push(format!("  {file} names {} of {other}", names.join(", ")));
        }
    }
    lines.join("\n")
}
