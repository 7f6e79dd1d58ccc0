//! What became of a page or a style sheet on a site with copied assets.

/// The result for one page or style sheet.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum MapResult {
    /// References were mapped.
    Mapped,
    /// It has no reference to a copied file.
    Unchanged,
    /// Behind a tag that is too long it passed unchanged.
    Cut,
    /// It passed unchanged.
    Unmapped(Unmapped),
}

/// Why nothing is mapped.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unmapped {
    /// Its charset is not a superset of ASCII.
    Charset,
    /// It stays in its content coding.
    Encoded,
    /// The origin forbids changes.
    NoTransform,
}

impl MapResult {
    /// Every label.
    pub const ALL_LABELS: [&'static str; 6] =
        ["mapped", "unchanged", "cut", "charset", "encoded", "no_transform"];

    /// The word in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Mapped => "mapped",
            Self::Unchanged => "unchanged",
            Self::Cut => "cut",
            Self::Unmapped(Unmapped::Charset) => "charset",
            Self::Unmapped(Unmapped::Encoded) => "encoded",
            Self::Unmapped(Unmapped::NoTransform) => "no_transform",
        }
    }
}
