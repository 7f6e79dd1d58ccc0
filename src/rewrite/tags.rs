//! The tags that matter to the footer, and what they say of the page.

/// A tag that matters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Tag {
    /// A doctype, or a tag of `html` or `head`.
    Root,
    Body,
    BodyEnd,
    Frameset,
    /// The start tag of `meta`, which may name the charset.
    Meta,
    Template,
    TemplateEnd,
}

/// What the tags so far say of the page.
#[derive(Debug, Default)]
pub(super) struct Outline {
    /// It has a doctype, or an `html`, `head` or `body` tag.
    pub(super) document: bool,
    body: bool,
    /// It has a frameset, and no body before it.
    pub(super) frameset: bool,
    /// Open templates.
    pub(super) templates: usize,
}

impl Outline {
    pub(super) fn take(&mut self, tag: Tag) {
        match tag {
            Tag::Root => self.document = true,
            Tag::Body | Tag::BodyEnd => {
                self.document = true;
                self.body = true;
            }
            Tag::Frameset => self.frameset |= !self.body,
            Tag::Template => self.templates += 1,
            Tag::TemplateEnd => self.templates = self.templates.saturating_sub(1),
            Tag::Meta => {}
        }
    }
}
