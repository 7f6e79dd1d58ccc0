//! No circle of imports between files, parent and child included.

use std::collections::{BTreeMap, BTreeSet};

use super::imports::{circles, described, imports};
use super::modules::modules;

#[test]
fn no_files_import_each_other_in_a_circle() {
    let imports = imports(&modules(&super::files(), "lib.rs"));
    assert!(imports.len() > 100, "only {} files import anything", imports.len());
    let found: Vec<String> = circles(&imports).iter().map(|circle| described(circle, &imports)).collect();
    assert!(found.is_empty(), "files that import each other in a circle:\n{}", found.join("\nand\n"));
}

/// The circles in a crate of these files.
fn circles_of(files: &[(&str, &str)]) -> Vec<Vec<String>> {
    let files: BTreeMap<String, String> =
        files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
    let found = circles(&imports(&modules(&files, "lib.rs")));
    found.into_iter().map(|circle: BTreeSet<String>| circle.into_iter().collect()).collect()
}

#[track_caller]
fn assert_one_circle(files: &[(&str, &str)], circle: &[&str]) {
    assert_eq!(circles_of(files), [circle]);
}

#[track_caller]
fn assert_no_circle(files: &[(&str, &str)]) {
    assert_eq!(circles_of(files), Vec::<Vec<String>>::new());
}

#[test]
fn two_files_that_name_each_other_are_a_circle() {
    assert_one_circle(
        &[
            ("lib.rs", "mod a; mod b; mod c;"),
            ("a.rs", "use crate::b::Bee; pub struct Ay;"),
            ("b.rs", "use crate::a::Ay; pub struct Bee;"),
            ("c.rs", "use crate::{a::Ay, b::Bee};"),
        ],
        &["a.rs", "b.rs"],
    );
}

#[test]
fn a_parent_and_its_child_that_name_each_other_are_a_circle() {
    assert_one_circle(
        &[
            ("lib.rs", "mod a;"),
            ("a.rs", "mod child; pub struct Word; fn all() { child::serve() }"),
            ("a/child.rs", "use super::Word; pub(super) fn serve() {}"),
        ],
        &["a.rs", "a/child.rs"],
    );
}

#[test]
fn a_parent_may_re_export_its_children_and_hold_what_they_share() {
    assert_no_circle(&[
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "mod child; pub use child::Child; pub struct Word;"),
        ("a/child.rs", "use super::Word; pub struct Child(Word);"),
        ("b.rs", "use crate::a::{Child, Word};"),
    ]);
}

#[test]
fn a_circle_through_a_re_export_is_that_of_the_files_that_define_the_names() {
    assert_one_circle(
        &[
            ("lib.rs", "mod a; mod b; mod front;"),
            ("front.rs", "pub use crate::a::Ay; pub use crate::b::inner::*;"),
            ("a.rs", "use crate::front::Bee; pub struct Ay;"),
            ("b.rs", "pub mod inner;"),
            ("b/inner.rs", "pub struct Bee(crate::front::Ay);"),
        ],
        &["a.rs", "b/inner.rs"],
    );
}

#[test]
fn three_files_in_a_row_are_a_circle_if_the_last_names_the_first() {
    assert_one_circle(
        &[
            ("lib.rs", "mod a; mod b; mod c; mod d;"),
            ("a.rs", "use super::b::{self as bee}; pub fn a() { bee::b() }"),
            ("b.rs", "use crate::c; pub fn b() { self::c::C::new(); }"),
            ("c.rs", "pub struct C; impl C { pub fn new() { println!(\"{}\", crate::d::d()) } }"),
            ("d.rs", "pub fn d() -> u8 { match 1 { crate::a::ONE => 1, _ => 2 } }"),
        ],
        &["a.rs", "b.rs", "c.rs", "d.rs"],
    );
}

#[test]
fn an_unused_import_of_a_module_is_no_import() {
    assert_no_circle(&[
        ("lib.rs", "mod a; mod b;"),
        ("a.rs", "use crate::b; pub struct Ay;"),
        ("b.rs", "use crate::a::Ay;"),
    ]);
}

#[test]
fn paths_in_tests_comments_and_text_are_no_imports() {
    assert_no_circle(&[
        ("lib.rs", "mod a; mod b;"),
        (
            "a.rs",
            "//! See `crate::b::Bee`.
             pub struct Ay;
             const TEXT: &str = \"crate::b::Bee\";
             impl Ay { #[cfg(test)] fn bee() { crate::b::Bee; } }
             #[cfg(test)] mod tests { use crate::b::Bee; }
             #[cfg(test)] mod more;",
        ),
        ("b.rs", "use crate::a::Ay; pub struct Bee;"),
    ]);
}

#[test]
fn the_imports_of_a_circle_are_listed() {
    let files =
        [("lib.rs", "mod a; mod b;"), ("a.rs", "use crate::b::{Bee, bees};"), ("b.rs", "use crate::a::Ay;")];
    let files = files.map(|(name, text)| (name.to_owned(), text.to_owned())).into();
    let imports = imports(&modules(&files, "lib.rs"));
    let circle = &circles(&imports)[0];
    assert_eq!(described(circle, &imports), "  a.rs names Bee, bees of b.rs\n  b.rs names Ay of a.rs");
}
