//! What happens to an answer on its way to the client: references to copied assets are mapped, the footer is put in, and
//! the body compressed.
//!
//! [`plan`] judges heads for the footer, [`mapping`] for assets, [`Compress`] for compression. A [`Conversion`] decodes a
//! body, maps it, gives it the footer and encodes it, as far as each applies. All of it is pure and synchronous. Every byte of a page comes out, in
//! order, whatever the result.

mod accept;
mod asset_map;
mod asset_report;
mod audit;
mod charset;
mod compress;
mod conversion;
mod decode;
mod destination;
mod encode;
mod existing_number;
mod fields;
mod footer;
mod foreign_hosts;
mod head;
mod inject;
mod ministry_link;
mod plan;
mod references;
mod scan;
mod sniff;
mod tags;
mod template;

pub use accept::for_origin as accepted_from_origin;
pub use asset_map::{
    AssetFile, AssetMap, AssetMapper, AssetName, Found, MapResult, Mapped, Mapping, Unmapped, conditions,
    mapping, media_type,
};
pub use asset_report::{AssetCounts, AssetReport};
pub use audit::{Audit, ForeignAsset, LinkFound, NumberFound, audit};
pub use charset::Charset;
pub use compress::{Choice, Compress, CompressMode, CompressSettings, is_event_stream, unwanted_coding};
pub use conversion::{Broken, Conversion};
pub use decode::{BadCoding, Coding, Decoder, PIECE};
pub use encode::{EncodedBytes, Encoder, EncoderFailed, Encoding};
pub use footer::{Footer, FooterDisplay, FooterSettings, Footers, ICON, ICON_PATH, OWN_PATHS};
pub use foreign_hosts::{Verdict, foreign_domains};
pub use head::{apply_to_head, vary_by_destination};
pub use inject::{Injector, shows_number_and_link};
pub use plan::{Ask, Rewrite, ask, declared_charset, plan};
pub use scan::Scanner;
pub use template::{FooterTemplate, InvalidTemplate};

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

/// The result for one page.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FooterResult {
    /// The footer was inserted.
    Injected,
    /// The page shows the filing's number and a link to the ministry already, and passed unchanged.
    Present,
    /// The page shows the filing's number without a link to the ministry, and passed unchanged.
    WrongLink,
    /// The footer was inserted, and the page also shows another filing's number.
    WrongNumber,
    /// The page passed unchanged.
    Skipped(SkipReason),
    /// The page could not be followed to its end, and passed unchanged.
    Failed,
}

impl FooterResult {
    /// Every label, in the order of variants.
    pub const ALL_LABELS: [&'static str; 6] =
        ["injected", "present", "wrong_link", "wrong_number", "skipped", "failed"];

    /// The word in metrics and records.
    pub fn label(self) -> &'static str {
        match self {
            Self::Injected => "injected",
            Self::Present => "present",
            Self::WrongLink => "wrong_link",
            Self::WrongNumber => "wrong_number",
            Self::Skipped(_) => "skipped",
            Self::Failed => "failed",
        }
    }
}

/// Why a page gets no footer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SkipReason {
    /// It is data by its first characters: JSON, a script, a feed.
    Data,
    /// A script, an image or the like asked for it.
    Subresource,
    /// An `iframe` asked for it.
    Frame,
    /// It stays in its content coding: an unknown one, several, or the client takes nothing else.
    Encoded,
    /// It is a part of a page.
    Partial,
    /// The origin forbids changes: `cache-control: no-transform`.
    NoTransform,
    /// It is for saving: `content-disposition: attachment`.
    Attachment,
    /// Its charset is not a superset of ASCII, such as UTF-16.
    Charset,
    /// It has no doctype, html, head or body tag.
    Fragment,
    /// It has a frameset in place of a body.
    Frameset,
    /// It ends in a tag, a comment, a script or a template.
    Unfinished,
}

impl SkipReason {
    /// Every reason.
    pub const ALL: [Self; 11] = [
        Self::Data,
        Self::Subresource,
        Self::Frame,
        Self::Encoded,
        Self::Partial,
        Self::NoTransform,
        Self::Attachment,
        Self::Charset,
        Self::Fragment,
        Self::Frameset,
        Self::Unfinished,
    ];

    /// The word in metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Subresource => "subresource",
            Self::Frame => "frame",
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
