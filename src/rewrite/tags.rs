//! The tags that matter to a footer, and what they tell of a page.

/// A tag that matters.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Tag {
    /// A doctype, or a tag of `html` or `head`.
    Root,
    Body,
    BodyEnd,
    Frameset,
    Template,
    TemplateEnd,
}

/// What the tags told of the page.
#[derive(Debug, Default)]
pub(super) struct Outline {
    /// It has a doctype, or an html, head or body tag.
    pub(super) document: bool,
    body: bool,
    /// It has frames and no body before them.
    pub(super) frameset: bool,
    /// Templates that are open.
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
        }
    }
}
