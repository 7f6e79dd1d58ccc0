//! YAML as plain data: what a file says, before the program knows what it means.

use std::borrow::Cow;
use std::fmt;

use super::lookalike::Lookalike;

#[derive(Debug)]
pub(super) enum Node<'i> {
    Null,
    Bool(bool),
    Number(Number),
    Text(Cow<'i, str>),
    List(Vec<Self>),
    /// In the order of the file. A repeated key is kept as often as it occurs, so that the reader can report it.
    Map(Vec<(Cow<'i, str>, Self)>),
}

/// A number, in the form the file gives it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Number {
    Unsigned(u64),
    Negative(i64),
    Fraction(f64),
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsigned(number) => number.fmt(f),
            Self::Negative(number) => number.fmt(f),
            Self::Fraction(number) => number.fmt(f),
        }
    }
}

/// Why bytes are not one usable YAML document.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum Malformed {
    #[error("it is empty")]
    Empty,
    #[error("it is larger than {0} MiB")]
    TooLarge(u64),
    #[error("it is not UTF-8: byte {0} of line {1}")]
    NotUtf8(usize, usize),
    #[error("it is nested too deeply")]
    TooDeep,
    #[error("it has too many parts")]
    TooManyParts,
    #[error("it is not valid YAML: {0}")]
    Syntax(String),
    /// The likely cause of a syntax error.
    #[error("it is not valid YAML: {0}")]
    Lookalike(Lookalike),
}
