//! Routes: what is done with which requests of a site.
//!
//! The first match wins. Paths are compared on segment bounds, both sides in one spelling.

mod action;
mod field_edits;
mod matcher;
mod normal;
mod path_rewrite;
pub mod region;
mod table;
mod template;

pub use action::{Action, CacheUse, FixedAnswer, Forward, Redirect, Residency};
pub use field_edits::{FieldEdits, Heading, ReadyEdits, why_fixed};
pub use matcher::{Asked, Matcher, PathMatch};
pub use normal::normal;
pub use path_rewrite::PathRewrite;
pub use region::ClientRegions;
pub use table::{Routes, Unrouted};
pub use template::{Piece, Placeholder, RequestValues, Template};

/// One rule of a site.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Route {
    /// Which requests it is for.
    pub matcher: Matcher,
    /// What is done with them.
    pub action: Action,
    /// Edits of the answer's fields. They do not apply to failures of this edge.
    pub response_fields: Option<FieldEdits>,
}
