//! What a command answers; the exit code follows from it.

/// What a command found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Answer {
    /// All is well.
    Yes,
    /// The answer is no.
    No,
}
