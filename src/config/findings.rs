//! Collects the problems of one file, with their places. Past a limit, problems are only counted.

use std::cell::{Cell, RefCell};
use std::fmt::{self, Display};
use std::path::{Path, PathBuf};

use super::node::Malformed;
use super::problem::{LoadResult, Problem, Severity};

#[derive(Debug)]
pub(super) struct Findings {
    file: PathBuf,
    kept: RefCell<Vec<Problem>>,
    fatal: Cell<usize>,
    warnings: Cell<usize>,
}

const MAX_KEPT: usize = 500;

impl Findings {
    pub(super) fn new(file: &Path) -> Self {
        let (kept, fatal, warnings) = Default::default();
        Self { file: file.to_owned(), kept, fatal, warnings }
    }

    pub(super) fn add(
        &self,
        severity: Severity,
        place: Place<'_>,
        message: impl Display,
        hint: Option<String>,
    ) {
        let count = if severity == Severity::Warning { &self.warnings } else { &self.fatal };
        count.set(count.get() + 1);
        if count.get() <= MAX_KEPT {
            let (place, message) = (place.to_string(), message.to_string());
            let problem = Problem { severity, file: self.file.clone(), place, message, hint };
            self.kept.borrow_mut().push(problem);
        }
    }

    /// Whether nothing fatal has been found so far.
    pub(super) fn is_sound(&self) -> bool {
        self.fatal.get() == 0
    }

    pub(super) fn malformed<T>(self, error: &Malformed, hint: Option<String>) -> LoadResult<T> {
        self.add(Severity::Fatal, Place::File, error, hint);
        self.loaded(None)
    }

    /// The result: `value`, unless a fatal problem was found.
    pub(super) fn loaded<T>(self, value: Option<T>) -> LoadResult<T> {
        let value = value.filter(|_| self.fatal.get() == 0);
        let mut problems = self.kept.into_inner();
        for (severity, count) in [(Severity::Fatal, &self.fatal), (Severity::Warning, &self.warnings)] {
            if let Some(more @ 1..) = count.get().checked_sub(MAX_KEPT) {
                let (file, place) = (self.file.clone(), String::new());
                let message = format!("{more} more like the above are not shown");
                problems.push(Problem { severity, file, place, message, hint: None });
            }
        }
        LoadResult { value, problems }
    }
}

/// A place in a file, written as `sites[0].routes[1]`.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place<'p> {
    File,
    /// A line of a file without structure, counted from 1.
    Line(usize),
    Key(&'p Self, &'p str),
    Item(&'p Self, usize),
}

impl Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File => Ok(()),
            Self::Line(number) => write!(f, "line {number}"),
            Self::Item(list, index) => write!(f, "{list}[{index}]"),
            Self::Key(map, key) => {
                if !matches!(map, Self::File) {
                    write!(f, "{map}.")?;
                }
                let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
                if key.len() <= 64 && !key.is_empty() && key.chars().all(plain) {
                    f.write_str(key)
                } else {
                    f.write_str(&quote(key))
                }
            }
        }
    }
}

/// A text for messages: quoted, control characters escaped, cut to one line.
pub(super) fn quote(text: &str) -> String {
    match text.char_indices().nth(80) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}…", &text[..end]),
    }
}
