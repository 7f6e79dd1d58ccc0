//! What is due for a filing, until when, and what happens if it is missed.
//!
//! The ministry's SMS verification must be answered within 24 hours. The public security filing is due within 30 days of
//! going live (计算机信息网络国际联网安全保护管理办法, article 12). A term of days ends with its last day in Shanghai.

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp, ToSpan as _};

use super::filing::{Filing, FilingStatus};
use super::filings::Filings;
use crate::clock::end_of_day;

/// From the ministry's text message to its answer.
const SMS_TERM: SignedDuration = SignedDuration::from_hours(24);
/// Days from going live to the public security filing.
const PUBLIC_SECURITY_DAYS: i64 = 30;

/// The kinds of deadline, by the words of metrics and of `icpgate filings`.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum DeadlineKind {
    /// The text message must be answered.
    SmsVerification,
    /// The public security filing must be made.
    PublicSecurity,
    /// The approval ends.
    ValidUntil,
}

impl DeadlineKind {
    /// Every kind.
    pub const ALL: &[Self] = &[Self::SmsVerification, Self::PublicSecurity, Self::ValidUntil];

    /// The word for it.
    pub fn label(self) -> &'static str {
        match self {
            Self::SmsVerification => "sms_verification",
            Self::PublicSecurity => "public_security",
            Self::ValidUntil => "valid_until",
        }
    }

    /// What happens if it is missed.
    pub fn consequence(self) -> &'static str {
        match self {
            Self::SmsVerification => {
                "the application is returned, and starts again with the provider's review"
            }
            Self::PublicSecurity => "the public security bureau may warn, fine, or have the site shut down",
            Self::ValidUntil => {
                "the filing ends: its hosts are refused, and ports without another host close"
            }
        }
    }
}

/// One thing that is due.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Deadline {
    /// What is due.
    pub kind: DeadlineKind,
    /// The first instant at which it is missed.
    pub at: Timestamp,
}

impl Deadline {
    /// Hours until it is missed, to a tenth; not above zero once it is.
    pub fn hours_left(&self, now: Timestamp) -> f64 {
        (self.at.duration_since(now).as_secs_f64() / 360.0).floor() / 10.0
    }
}

impl Filings {
    /// What is due for every filing, the most urgent first.
    pub fn deadlines(&self) -> Vec<(&Filing, Deadline)> {
        let of_filing = |filing| Filing::deadlines(filing).map(move |deadline| (filing, deadline));
        let mut all: Vec<(&Filing, Deadline)> =
            self.iter().map(std::sync::Arc::as_ref).flat_map(of_filing).collect();
        all.sort_by_key(|(_, deadline)| deadline.at);
        all
    }
}

impl Filing {
    /// What is due for this filing in its present status.
    pub fn deadlines(&self) -> impl Iterator<Item = Deadline> {
        // A filing that is not in force has no end to watch.
        let ends = self.ends.filter(|_| self.status == FilingStatus::Approved);
        [
            (DeadlineKind::SmsVerification, self.sms_verification_due),
            (DeadlineKind::PublicSecurity, self.public_security_due),
            (DeadlineKind::ValidUntil, ends),
        ]
        .into_iter()
        .filter_map(|(kind, at)| Some(Deadline { kind, at: at? }))
    }
}

/// When the SMS verification is missed that began with a message `sent` then.
pub fn sms_verification_due(sent: Timestamp) -> Option<Timestamp> {
    sent.checked_add(SMS_TERM).ok()
}

/// When the public security filing of a site is missed that went live on that day.
pub fn public_security_due(live_on: Date) -> Option<Timestamp> {
    end_of_day(live_on.checked_add(PUBLIC_SECURITY_DAYS.days()).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_term_of_days_ends_with_its_last_day_in_shanghai() {
        let due = public_security_due(jiff::civil::date(2026, 3, 5));
        assert_eq!(due, Some("2026-04-05T00:00:00+08:00".parse().expect("a time")));
        assert_eq!(public_security_due(Date::MAX), None);
    }

    #[test]
    fn a_term_of_hours_ends_to_the_second() {
        let sent = "2026-02-20T10:00:00+08:00".parse().expect("a time");
        assert_eq!(sms_verification_due(sent), Some("2026-02-21T10:00:00+08:00".parse().expect("a time")));
    }
}
