//! (merged later)

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
