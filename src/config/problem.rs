//! Problems: what is wrong with an operator's input, where, and what to do about it.
//!
//! Problems are collected, never thrown at the first; a text that shows one names the file, the
//! place in it, the value and a hint.

use std::fmt;
use std::path::PathBuf;

/// One thing that is wrong with a file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// The file.
    pub file: PathBuf,
    /// The place in it, such as `sites[0].routes[1].origins[0]`; empty for the whole file.
    pub place: String,
    /// What is wrong, with the value.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// What a problem means for `check` and for `run`.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Severity {
    /// Worth a look; nothing is refused for it.
    Warning,
    /// A problem in `check`; `run` goes on without the part concerned, such as a certificate.
    Degraded,
    /// A problem in `check`; `run` does not start, and a reload changes nothing.
    Fatal,
}

/// What a file was found to hold.
#[derive(Clone, Debug)]
pub struct Loaded<T> {
    /// The value; `None` when a problem is fatal.
    pub value: Option<T>,
    /// Everything that is wrong, and what is worth a warning, in the order of the conversion.
    pub problems: Vec<Problem>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.file.display())?;
        if !self.place.is_empty() {
            write!(f, "{}: ", self.place)?;
        }
        f.write_str(&self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, " (hint: {hint})")?;
        }
        Ok(())
    }
}
