//! The footer: which pages get it, what it looks like, and how it is put into a body that streams.
//!
//! Pure and synchronous: heads are judged by [`plan`], bodies go through an [`Injector`], those that are
//! compressed through a [`Decoder`] before it, and nothing here knows a socket. Every byte of a page comes
//! out in its order, whatever becomes of the footer.

mod charset;
mod decode;
mod footer;
mod inject;
mod plan;
mod scan;
mod shown;
mod tags;

pub use charset::Charset;
pub use decode::{BadCoding, Coding, Decoder, PIECE};
pub use footer::{Footer, Footers};
pub use inject::Injector;
pub use plan::{Ask, Rewrite, apply_to_head, ask, plan};
pub use scan::Scanner;

/// Which pages get the footer.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum FooterPages {
    /// Every HTML document.
    #[default]
    All,
    /// Only the path `/`.
    Home,
    /// None.
    Off,
}

/// What became of the footer of one page.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FooterResult {
    /// It was put in.
    Injected,
    /// The page carries the filing's number already, and was left as it is.
    Present,
    /// It was put in, and the page shows the number of another filing besides.
    WrongNumber,
    /// The page passed unchanged.
    Skipped(SkipReason),
    /// The page could not be read to its end as HTML, and passed unchanged.
    Failed,
}

impl FooterResult {
    /// Every label, in the order of the variants.
    pub const ALL_LABELS: [&'static str; 5] = ["injected", "present", "wrong_number", "skipped", "failed"];

    /// The word used in metrics and records.
    pub fn label(self) -> &'static str {
        match self {
            Self::Injected => "injected",
            Self::Present => "present",
            Self::WrongNumber => "wrong_number",
            Self::Skipped(_) => "skipped",
            Self::Failed => "failed",
        }
    }
}

/// Why a page gets no footer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SkipReason {
    /// It stays in its content coding: one that is not known, or more than one, or the client takes no page
    /// without.
    Encoded,
    /// It is a part of a page.
    Partial,
    /// The origin forbids changes: `cache-control: no-transform`.
    NoTransform,
    /// It is to be saved, not shown: `content-disposition: attachment`.
    Attachment,
    /// Its charset is no superset of ASCII, as UTF-16.
    Charset,
    /// It has no doctype, html, head or body tag.
    Fragment,
    /// It has frames in place of a body.
    Frameset,
    /// It ends within a tag, a comment, a script or a template.
    Unfinished,
}

impl SkipReason {
    /// Every reason.
    pub const ALL: [Self; 8] = [
        Self::Encoded,
        Self::Partial,
        Self::NoTransform,
        Self::Attachment,
        Self::Charset,
        Self::Fragment,
        Self::Frameset,
        Self::Unfinished,
    ];

    /// The word used in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Encoded => "encoded",
            Self::Partial => "partial",
            Self::NoTransform => "no_transform",
            Self::Attachment => "attachment",
            Self::Charset => "charset",
            Self::Fragment => "fragment",
            Self::Frameset => "frameset",
            Self::Unfinished => "unfinished",
        }
    }
}
