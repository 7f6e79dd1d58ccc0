//! A finding of `doctor`: what was looked at, how it is, and what to do about it.
//!
//! A finding that is not ok always says what to do.

use serde::Serialize;

/// One thing that a check found.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Finding {
    pub(super) check: Check,
    pub(super) level: Level,
    /// The host, listener, file or setting.
    pub(super) subject: String,
    pub(super) message: String,
    /// What to do; `None` if all is well.
    pub(super) hint: Option<String>,
}

/// How it is, the worst first.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// It costs the address, the evidence or the service.
    Fail,
    /// It may.
    Warn,
    Ok,
}

/// What was looked at.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Check {
    Configuration,
    TopLevelDomain,
    Address,
    Dns,
    Caa,
    Certificate,
    Key,
    Sink,
    Disk,
    Clock,
    Port,
    Page,
    Descriptors,
    Kernel,
}

impl Check {
    /// The word for it.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::TopLevelDomain => "top_level_domain",
            Self::Address => "address",
            Self::Dns => "dns",
            Self::Caa => "caa",
            Self::Certificate => "certificate",
            Self::Key => "key",
            Self::Sink => "sink",
            Self::Disk => "disk",
            Self::Clock => "clock",
            Self::Port => "port",
            Self::Page => "page",
            Self::Descriptors => "descriptors",
            Self::Kernel => "kernel",
        }
    }
}

impl Finding {
    pub(super) fn ok(check: Check, subject: impl ToString, message: impl Into<String>) -> Self {
        Self { check, level: Level::Ok, subject: subject.to_string(), message: message.into(), hint: None }
    }

    pub(super) fn warn(
        check: Check,
        subject: impl ToString,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self { level: Level::Warn, hint: Some(hint.into()), ..Self::ok(check, subject, message) }
    }

    pub(super) fn fail(
        check: Check,
        subject: impl ToString,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) -> Self {
        Self { level: Level::Fail, hint: Some(hint.into()), ..Self::ok(check, subject, message) }
    }
}

/// `items` with commas.
pub(super) fn listed<T: ToString>(items: &[T]) -> String {
    items.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
