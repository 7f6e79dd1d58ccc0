//! The ICP number of a filing: a subject's record, a service's record, or a telecom licence.

use std::fmt;
use std::sync::Arc;

use super::{Cursor, area, fold, is_placeholder, normalise};

/// The number that the ministry gave a filing, as the ministry prints it.
///
/// A licence of a class has two spellings, `浙B2-20080101-4` and `浙ICP证B2-20080101-4号`; it is kept as
/// the first, which is the ministry's.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FilingNumber {
    text: Arc<str>,
    kind: NumberKind,
    service: Option<Service>,
}

/// Whether a number is a record or a licence.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NumberKind {
    /// 备: a subject's record; with `-N`, the record of one of its services.
    Record,
    /// 证, or a class such as B2: a licence; with `-N`, the record of a service under it.
    Licence,
}

/// What `-N` stands for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Service {
    /// `-N`: a web site.
    Website,
    /// `-NA`: an App.
    App,
    /// `-NX`: a mini-program.
    MiniProgram,
    /// `-NK`: a quick app.
    QuickApp,
}

/// Why a text is not an ICP filing number.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidNumber {
    /// No province at the start.
    #[error("it does not begin with a province's character, such as 京")]
    Province,
    /// Neither `ICP备`, `ICP证` nor a licence class after the province.
    #[error("neither ICP备, ICP证 nor a licence class such as B2 follows the province")]
    Kind,
    /// The wrong count of digits.
    #[error("its digits are not of this form: 6, 8 or 10 for 备, 6 to 8 for 证, 8 for a licence class")]
    Digits,
    /// A template's number.
    #[error("it is a placeholder")]
    Placeholder,
    /// A year before filings existed, or in the future.
    #[error("the year in it cannot be")]
    Year,
    /// No `号` after the digits.
    #[error("号 is missing after the digits")]
    Unclosed,
    /// Something other than `-N` at the end.
    #[error("what follows the number is not -N")]
    Service,
}

/// Characters of running text searched for one number. A number has at most 40, and may be spaced.
const LONGEST: usize = 64;

impl FilingNumber {
    /// Parses and normalises a number; `this_year` bounds the year that it carries.
    pub fn parse(text: &str, this_year: i16) -> Result<Self, InvalidNumber> {
        let normal = normalise(text);
        let mut rest = Cursor(&normal);
        let (number, rest) = read(&mut rest, this_year)?;
        if rest.is_empty() { Ok(number) } else { Err(InvalidNumber::Service) }
    }

    /// The number at the start of running text. Its parts may be spaced, and text may follow.
    pub fn at_start_of(text: &str) -> Option<Self> {
        if !text.starts_with(|c| c == '合' || area(c).is_some()) {
            return None;
        }
        let mut folded = String::new();
        for c in text.chars().take(LONGEST) {
            match c.is_whitespace() {
                true if folded.ends_with(' ') => {}
                true => folded.push(' '),
                false => folded.extend(fold(c)),
            }
        }
        read(&mut Cursor(&folded), i16::MAX).ok().map(|(number, _)| number)
    }

    /// As the ministry prints it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// As a shared string, for records.
    pub fn shared(&self) -> Arc<str> {
        Arc::clone(&self.text)
    }

    /// Record or licence.
    pub fn kind(&self) -> NumberKind {
        self.kind
    }

    /// The first two digits of the province's area codes (GB/T 2260); `None` for a national licence.
    pub fn area(&self) -> Option<&'static str> {
        area(self.text.chars().next()?)
    }

    /// The number of its subject: the same without `-N`. `None` for a licence, which says nothing of a domain without it.
    pub fn subject(&self) -> Option<Self> {
        let (before, _) = self.text.rsplit_once('号').filter(|_| self.kind == NumberKind::Record)?;
        Some(Self { text: format!("{before}号").into(), kind: self.kind, service: None })
    }

    /// The service that `-N` names; `None` for a subject's own number.
    pub fn service(&self) -> Option<Service> {
        self.service
    }
}

impl fmt::Display for FilingNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What stands before the digits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Form {
    /// `ICP备`
    Record,
    /// `ICP证`
    Certificate,
    /// `B2-`, or `ICP证B2-`
    Class,
}

/// Reads a number; also returns the text behind it.
fn read<'t>(rest: &mut Cursor<'t>, this_year: i16) -> Result<(FilingNumber, &'t str), InvalidNumber> {
    let start = rest.0;
    let form = form(rest)?;
    let prefix = &start[..start.len() - rest.0.len()];
    let digits = rest.digits();
    let year = match form {
        Form::Record => record_year(digits)?,
        Form::Certificate if (6..=8).contains(&digits.len()) => None,
        Form::Class if digits.len() == 8 => None,
        Form::Certificate | Form::Class => return Err(InvalidNumber::Digits),
    };
    if is_placeholder(digits) {
        return Err(InvalidNumber::Placeholder);
    }
    if year.is_some_and(|year| year < 1999 || year > this_year) {
        return Err(InvalidNumber::Year);
    }
    let mut closed = rest.take("号");
    if form == Form::Record && !closed {
        return Err(InvalidNumber::Unclosed);
    }
    let before = rest.0;
    let service = service(rest);
    let suffix = &before[..before.len() - rest.0.len()];
    if form != Form::Record && !closed {
        closed = rest.take("号");
    }
    let text = match form {
        Form::Class => format!("{}{digits}{suffix}", prefix.replace("ICP证", "")),
        Form::Record | Form::Certificate => {
            format!("{prefix}{digits}{}{suffix}", if closed { "号" } else { "" })
        }
    };
    let kind = if form == Form::Record { NumberKind::Record } else { NumberKind::Licence };
    Ok((FilingNumber { text: text.replace(' ', "").into(), kind, service }, rest.0))
}

fn form(rest: &mut Cursor<'_>) -> Result<Form, InvalidNumber> {
    let provincial = rest.province().is_some();
    if !provincial && !rest.take("合字") {
        return Err(InvalidNumber::Province);
    }
    if provincial && rest.take("ICP") {
        if rest.take("备") {
            return Ok(Form::Record);
        }
        if !rest.take("证") {
            return Err(InvalidNumber::Kind);
        }
        if !classes(rest) {
            return Ok(Form::Certificate);
        }
    } else if !classes(rest) {
        return Err(InvalidNumber::Kind);
    }
    if rest.take("-") { Ok(Form::Class) } else { Err(InvalidNumber::Kind) }
}

/// `B2`, `A1.B1.B2`: telecom licence classes.
fn classes(rest: &mut Cursor<'_>) -> bool {
    let mut after = *rest;
    loop {
        if !after.take("A") && !after.take("B") {
            return false;
        }
        let Some(more) = after.0.strip_prefix(|c: char| c.is_ascii_digit()) else { return false };
        after = Cursor(more);
        if !after.take(".") {
            *rest = after;
            return true;
        }
    }
}

/// The year in the digits: the first four of ten, the first two of eight, none of six.
fn record_year(digits: &str) -> Result<Option<i16>, InvalidNumber> {
    let leading = |count: usize| digits[..count].parse::<i16>().ok();
    match digits.len() {
        10 => Ok(leading(4)),
        8 => Ok(leading(2).map(|year| 2000 + year)),
        6 => Ok(None),
        _ => Err(InvalidNumber::Digits),
    }
}

/// Takes `-N`. A letter behind it belongs to the number only if no word goes on there.
fn service(rest: &mut Cursor<'_>) -> Option<Service> {
    let mut after = *rest;
    if !after.take("-") {
        return None;
    }
    let digits = after.digits();
    if digits.is_empty() || digits.len() > 5 || digits.starts_with('0') {
        return None;
    }
    *rest = after;
    let mut letters = after.0.chars();
    let service = match letters.next() {
        Some('A') => Service::App,
        Some('X') => Service::MiniProgram,
        Some('K') => Service::QuickApp,
        _ => return Some(Service::Website),
    };
    if letters.clone().next().is_some_and(|next| next.is_ascii_alphanumeric()) {
        return Some(Service::Website);
    }
    *rest = Cursor(letters.as_str());
    Some(service)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<(&str, NumberKind, Option<Service>), InvalidNumber>) {
        let parsed = FilingNumber::parse(text, 2026);
        assert_eq!(
            parsed.as_ref().map(|n| (n.as_str(), n.kind(), n.service())).map_err(|e| *e),
            expected,
            "{text}"
        );
    }

    #[test]
    fn every_form_in_use_is_taken() {
        use NumberKind::{Licence, Record};
        check("京ICP备2024012345号-1", Ok(("京ICP备2024012345号-1", Record, Some(Service::Website))));
        check("京ICP备11018762号", Ok(("京ICP备11018762号", Record, None)));
        check("京ICP备030173号-12", Ok(("京ICP备030173号-12", Record, Some(Service::Website))));
        check("陕ICP备2024026116号-1A", Ok(("陕ICP备2024026116号-1A", Record, Some(Service::App))));
        check("粤B2-20090059-1626X", Ok(("粤B2-20090059-1626X", Licence, Some(Service::MiniProgram))));
        check("京ICP证030173号", Ok(("京ICP证030173号", Licence, None)));
        check("京ICP证030173号-1", Ok(("京ICP证030173号-1", Licence, Some(Service::Website))));
        check("京ICP证B2-20190051", Ok(("京B2-20190051", Licence, None)));
        check("浙B2-20080101-4", Ok(("浙B2-20080101-4", Licence, Some(Service::Website))));
        check("合字B2-20190051", Ok(("合字B2-20190051", Licence, None)));
        check("合字A1.B1.B2-20180017-2", Ok(("合字A1.B1.B2-20180017-2", Licence, Some(Service::Website))));
    }

    #[test]
    fn a_record_has_a_subject_and_a_licence_has_none() {
        let subject = |text: &str| FilingNumber::parse(text, 2026).unwrap().subject();
        for text in ["京ICP备2024012345号-1", "京ICP备2024012345号-12A", "京ICP备2024012345号"] {
            let expected = FilingNumber::parse("京ICP备2024012345号", 2026).unwrap();
            assert_eq!(subject(text), Some(expected), "{text}");
        }
        for text in ["粤B2-20090059-5", "京ICP证030173号-1", "京ICP证030173号"] {
            assert_eq!(subject(text), None, "{text}");
        }
    }

    #[test]
    fn spellings_of_one_number_are_one() {
        use NumberKind::Record;
        for text in [
            "京 icp備 2024012345 號—1",
            "京ＩＣＰ备２０２４０１２３４５号－１",
            "\u{feff}京ICP备2024012345号-1\n",
        ] {
            check(text, Ok(("京ICP备2024012345号-1", Record, Some(Service::Website))));
        }
    }

    #[test]
    fn a_licence_of_a_class_is_kept_in_the_ministrys_spelling() {
        for text in [
            "浙B2-20080101-4",
            "浙Ｂ２－２００８０１０１－４",
            "浙 b2 — 20080101 — 4",
            "浙ICP证B2-20080101-4号",
            "浙ICP证B2-20080101号-4",
            "浙icp證b2-20080101-4號",
        ] {
            check(text, Ok(("浙B2-20080101-4", NumberKind::Licence, Some(Service::Website))));
        }
        check("京ICP证030173-1号", Ok(("京ICP证030173号-1", NumberKind::Licence, Some(Service::Website))));
    }

    #[test]
    fn what_is_no_number_is_told_apart() {
        check("", Err(InvalidNumber::Province));
        check("港ICP备2024012345号-1", Err(InvalidNumber::Province));
        check("萌ICP备20240123号", Err(InvalidNumber::Province));
        check("京ICP2024012345号-1", Err(InvalidNumber::Kind));
        check("浙D3-20210002", Err(InvalidNumber::Kind));
        check("京ICP备2024012345", Err(InvalidNumber::Unclosed));
        check("京ICP备12345号", Err(InvalidNumber::Digits));
        check("京ICP备202401234号", Err(InvalidNumber::Digits));
        check("京ICP备12345678号-1", Err(InvalidNumber::Placeholder));
        check("京ICP备00000000号-1", Err(InvalidNumber::Placeholder));
        check("京ICP备2024000000号-1", Err(InvalidNumber::Placeholder));
        check("京ICP备2099012345号-1", Err(InvalidNumber::Year));
        check("京ICP备99012345号-1", Err(InvalidNumber::Year));
        check("京ICP备2024012345号-0", Err(InvalidNumber::Service));
        check("京ICP备2024012345号-1Z", Err(InvalidNumber::Service));
        check("京ICP备2024012345号1", Err(InvalidNumber::Service));
    }

    #[test]
    fn no_prefix_of_a_number_panics() {
        for whole in ["合字A1.B1.B2-20180017-2", "京ICP证030173号-1"] {
            for (end, _) in whole.char_indices() {
                let _ = FilingNumber::parse(&whole[..end], 2026);
                let _ = FilingNumber::at_start_of(&whole[..end]);
            }
        }
    }

    #[test]
    fn running_text_begins_with_the_longest_number_that_it_has() {
        #[track_caller]
        fn check(text: &str, expected: Option<&str>) {
            let number = FilingNumber::at_start_of(text);
            assert_eq!(number.as_ref().map(FilingNumber::as_str), expected, "{text}");
        }
        check("京ICP备2024012345号-1", Some("京ICP备2024012345号-1"));
        check("京 ICP 备 2024012345 号 - 1 2026 ©", Some("京ICP备2024012345号-1"));
        check("京ICP备2024012345号-1All rights", Some("京ICP备2024012345号-1"));
        check("京ICP备2024012345号-1A All rights", Some("京ICP备2024012345号-1A"));
        check("京ICP备2024012345号-1 A", Some("京ICP备2024012345号-1"));
        check("京ICP备2024012345号 | 京公网安备11010502030143号", Some("京ICP备2024012345号"));
        check("京ICP备2024012345号-2024010101", Some("京ICP备2024012345号"));
        check("合字B2-20190051。", Some("合字B2-20190051"));
        check("京ICP证030173 号", Some("京ICP证030173号"));
        check("浙ICP证 B2 - 20080101 - 4 号。", Some("浙B2-20080101-4"));
        check("京ICP备 20240 12345号", None);
        check("ICP备2024012345号-1", None);
        check("", None);
    }
}
