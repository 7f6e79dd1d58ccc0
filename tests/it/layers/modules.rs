//! The module tree of a crate: what each module defines, imports and names.
//!
//! Items and files under `#[cfg(test)]` are left out.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, Item, UseTree};

/// The names of a path, such as `crate`, `gate`, `Permit`.
pub(super) type Segments = Vec<String>;

/// One module: a file, or an inline module.
#[derive(Debug, Default)]
pub(super) struct Module {
    /// The file that holds it, below `src`.
    pub(super) file: String,
    /// Names of its items.
    pub(super) items: BTreeSet<String>,
    /// Names of the modules that it declares.
    pub(super) children: BTreeSet<String>,
    /// Imported names and their paths, as written.
    pub(super) imports: BTreeMap<String, Segments>,
    /// Paths of glob imports (`use path::*`), as written.
    pub(super) globs: Vec<Segments>,
    /// Other paths with several segments, as written.
    pub(super) paths: Vec<Segments>,
    /// Names of `pub use`.
    pub(super) reexports: BTreeSet<String>,
}

/// All modules of the crate by their path; the root's path is empty.
pub(super) type Modules = BTreeMap<Segments, Module>;

/// Reads the modules of a crate from the text of its files; `root` is one of them.
pub(super) fn modules(files: &BTreeMap<String, String>, root: &str) -> Modules {
    let mut modules = Modules::new();
    let mut waiting = vec![(Segments::new(), root.to_owned())];
    while let Some((path, file)) = waiting.pop() {
        let text = files.get(&file).unwrap_or_else(|| panic!("{file} is declared, but not there"));
        let parsed = syn::parse_file(text).unwrap_or_else(|error| panic!("{file}: {error}"));
        let mut reader = Reader { file, at: path.clone(), modules: Modules::new(), declared: Vec::new() };
        reader.module(path, &parsed.items);
        modules.append(&mut reader.modules);
        for child in reader.declared {
            let stem = child.join("/");
            let beside = format!("{stem}.rs");
            let file = if files.contains_key(&beside) { beside } else { format!("{stem}/mod.rs") };
            waiting.push((child, file));
        }
    }
    modules
}

/// Reads one file.
struct Reader {
    file: String,
    /// The module that is being read.
    at: Segments,
    modules: Modules,
    /// Modules that are in files of their own.
    declared: Vec<Segments>,
}

impl Reader {
    fn module(&mut self, path: Segments, items: &[Item]) {
        let module = Module { file: self.file.clone(), ..Module::default() };
        self.modules.insert(path.clone(), module);
        let outside = std::mem::replace(&mut self.at, path);
        for item in items.iter().filter(|item| !is_test(attributes(item))) {
            let name = defined(item);
            self.here().items.extend(name);
            self.visit_item(item);
        }
        self.at = outside;
    }

    fn here(&mut self) -> &mut Module {
        self.modules.get_mut(&self.at).expect("it is being read")
    }

    fn imports(&mut self, tree: &UseTree, before: &[String], public: bool) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.imports(&path.tree, &with(&path.ident), public),
            UseTree::Group(group) => {
                for tree in &group.items {
                    self.imports(tree, before, public);
                }
            }
            UseTree::Glob(_) => self.here().globs.push(before.to_vec()),
            UseTree::Name(name) if name.ident == "self" => {
                let name = before.last().expect("`self` is part of a group").clone();
                self.import(name, before.to_vec(), public);
            }
            UseTree::Name(name) => self.import(name.ident.to_string(), with(&name.ident), public),
            UseTree::Rename(rename) => {
                let path = if rename.ident == "self" { before.to_vec() } else { with(&rename.ident) };
                // `use Trait as _` imports no name, and may occur several times.
                let name = rename.rename.to_string();
                let name = if name == "_" { format!("_{}", path.join("::")) } else { name };
                self.import(name, path, public);
            }
        }
    }

    fn import(&mut self, name: String, path: Segments, public: bool) {
        let here = self.here();
        if public {
            here.reexports.insert(name.clone());
        }
        here.imports.insert(name, path);
    }

    /// Paths among the tokens of a macro call.
    fn tokens(&mut self, tokens: TokenStream) {
        let mut path = Segments::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(name) if path.is_empty() || colons == 2 => {
                    path.push(name.to_string());
                    colons = 0;
                    continue;
                }
                TokenTree::Punct(mark) if mark.as_char() == ':' && !path.is_empty() && colons < 2 => {
                    colons += 1;
                    continue;
                }
                token => {
                    self.path(std::mem::take(&mut path));
                    colons = 0;
                    match token {
                        TokenTree::Ident(name) => path.push(name.to_string()),
                        TokenTree::Group(group) => self.tokens(group.stream()),
                        TokenTree::Punct(_) | TokenTree::Literal(_) => {}
                    }
                }
            }
        }
        self.path(path);
    }

    fn path(&mut self, path: Segments) {
        if path.len() > 1 {
            self.here().paths.push(path);
        }
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if is_test(&item.attrs) {
            return;
        }
        let name = item.ident.to_string();
        self.here().children.insert(name.clone());
        let path = [self.at.as_slice(), &[name]].concat();
        match &item.content {
            Some((_, items)) => self.module(path, items),
            None => self.declared.push(path),
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if !is_test(&item.attrs) {
            let public = !matches!(item.vis, syn::Visibility::Inherited);
            self.imports(&item.tree, &[], public);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        if path.leading_colon.is_none() {
            self.path(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.tokens(call.tokens.clone());
        visit::visit_macro(self, call);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        if !is_test(&function.attrs) {
            visit::visit_impl_item_fn(self, function);
        }
    }
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Path>().is_ok_and(|condition| condition.is_ident("test"))
    })
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// The name that an item defines. Modules and imports are handled separately.
fn defined(item: &Item) -> Option<String> {
    let name = match item {
        Item::Const(item) => &item.ident,
        Item::Enum(item) => &item.ident,
        Item::Fn(item) => &item.sig.ident,
        Item::Macro(item) => item.ident.as_ref()?,
        Item::Static(item) => &item.ident,
        Item::Struct(item) => &item.ident,
        Item::Trait(item) => &item.ident,
        Item::Type(item) => &item.ident,
        _ => return None,
    };
    Some(name.to_string())
}
