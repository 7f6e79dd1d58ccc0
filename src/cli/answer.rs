//! The answer of a command, which decides the exit code.

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Answer {
    /// Exit code 0.
    Yes,
    /// Exit code 1.
    No,
}
