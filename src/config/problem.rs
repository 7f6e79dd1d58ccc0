//! Problems of an operator's input: what is wrong, where, and what to do.
//!
//! All problems are collected before any is reported.

use std::fmt;
use std::path::PathBuf;

/// A problem of a file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// Its severity.
    pub severity: Severity,
    /// The file.
    pub file: PathBuf,
    /// The place in it, such as `sites[0].routes[1].origins[0]`; empty for the whole file.
    pub place: String,
    /// What is wrong, with the value.
    pub message: String,
    /// How to mend it.
    pub hint: Option<String>,
}

/// The severity of a problem.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Severity {
    /// A warning: it changes neither exit code nor behaviour.
    Warning,
    /// A problem in `check`. `run` goes on without the part, such as a certificate.
    Degraded,
    /// A problem in `check`. `run` does not start, and a reload is rejected.
    Fatal,
}

/// The result of reading a file.
#[derive(Clone, Debug)]
pub struct LoadResult<T> {
    /// The value; `None` if a problem is fatal.
    pub value: Option<T>,
    /// Problems and warnings, in the order of the conversion.
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
