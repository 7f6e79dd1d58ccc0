//! Filing numbers: the ICP number of a domain and the public security number of a site.
//!
//! A number is normalised when it is parsed, so that two spellings of one number compare equal and
//! the footer shows it as the ministry prints it. Forms: MIIT's own records and Order 33 (2005).

use std::fmt;
use std::sync::Arc;

/// The number that a filing got from the ministry.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FilingNumber {
    text: Arc<str>,
    kind: NumberKind,
    service: Option<Service>,
}

/// What a filing number speaks of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NumberKind {
    /// 备: the record of a subject or, with `-N`, of one of its services.
    Record,
    /// 证 or A/B class: a licence; with `-N`, the ministry's record of a service under it.
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

impl FilingNumber {
    /// Parses and normalises a number; `this_year` bounds the year that it carries.
    pub fn parse(text: &str, this_year: i16) -> Result<Self, InvalidNumber> {
        let normal = normalise(text);
        let mut rest = Cursor(&normal);
        let kind = if rest.province() { rest.record_or_licence()? } else { rest.national_licence()? };
        let digits = rest.digits();
        let year = match kind {
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
        let closed = rest.take("号");
        if kind == Form::Record && !closed {
            return Err(InvalidNumber::Unclosed);
        }
        let service = rest.service()?;
        let kind = if kind == Form::Record { NumberKind::Record } else { NumberKind::Licence };
        Ok(Self { text: normal.as_str().into(), kind, service })
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
        let province = self.text.chars().next()?;
        PROVINCES.iter().find(|(names, _)| names.contains(province)).map(|(_, area)| *area)
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

/// Why a text is no filing number.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidNumber {
    /// It begins with no province.
    #[error("it does not begin with a province's character, such as 京")]
    Province,
    /// Neither `ICP备`, `ICP证` nor a licence class follows.
    #[error("neither ICP备, ICP证 nor a licence class such as B2 follows the province")]
    Kind,
    /// A count of digits that the form does not have.
    #[error("its digits are not of this form: 6, 8 or 10 for 备, 6 to 8 for 证, 8 for a licence class")]
    Digits,
    /// A number that only stands for one.
    #[error("it is a placeholder")]
    Placeholder,
    /// A year before filings began, or one to come.
    #[error("the year in it cannot be")]
    Year,
    /// `号` is missing.
    #[error("号 is missing after the digits")]
    Unclosed,
    /// Something else follows.
    #[error("what follows the number is not -N")]
    Service,
    /// The area code belongs to another province.
    #[error("its first two digits are not the area code of the province it begins with")]
    Area,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Form {
    Record,
    Certificate,
    Class,
}

struct Cursor<'t>(&'t str);

impl<'t> Cursor<'t> {
    fn take(&mut self, prefix: &str) -> bool {
        match self.0.strip_prefix(prefix) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    fn province(&mut self) -> bool {
        let Some(first) = self.0.chars().next() else { return false };
        let known = PROVINCES.iter().any(|(names, _)| names.contains(first));
        if known {
            self.0 = &self.0[first.len_utf8()..];
        }
        known
    }

    fn record_or_licence(&mut self) -> Result<Form, InvalidNumber> {
        if self.take("ICP备") {
            Ok(Form::Record)
        } else if self.take("ICP证") {
            if self.classes() && !self.take("-") {
                return Err(InvalidNumber::Kind);
            }
            Ok(Form::Certificate)
        } else if self.classes() && self.take("-") {
            Ok(Form::Class)
        } else {
            Err(InvalidNumber::Kind)
        }
    }

    fn national_licence(&mut self) -> Result<Form, InvalidNumber> {
        if !self.take("合字") {
            return Err(InvalidNumber::Province);
        }
        if self.classes() && self.take("-") { Ok(Form::Class) } else { Err(InvalidNumber::Kind) }
    }

    /// `B2`, `A1.B1.B2`: telecom licence classes.
    fn classes(&mut self) -> bool {
        let mut rest = self.0;
        loop {
            let mut chars = rest.chars();
            if !matches!(chars.next(), Some('A' | 'B')) || !chars.next().is_some_and(|c| c.is_ascii_digit()) {
                return false;
            }
            rest = chars.as_str();
            match rest.strip_prefix('.') {
                Some(more) => rest = more,
                None => break,
            }
        }
        self.0 = rest;
        true
    }

    fn digits(&mut self) -> &'t str {
        let end = self.0.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(self.0.len());
        let (digits, rest) = self.0.split_at(end);
        self.0 = rest;
        digits
    }

    fn service(mut self) -> Result<Option<Service>, InvalidNumber> {
        if self.0.is_empty() {
            return Ok(None);
        }
        if !self.take("-") {
            return Err(InvalidNumber::Service);
        }
        let digits = self.digits();
        if digits.is_empty() || digits.len() > 5 || digits.starts_with('0') {
            return Err(InvalidNumber::Service);
        }
        match self.0 {
            "" => Ok(Some(Service::Website)),
            "A" => Ok(Some(Service::App)),
            "X" => Ok(Some(Service::MiniProgram)),
            "K" => Ok(Some(Service::QuickApp)),
            _ => Err(InvalidNumber::Service),
        }
    }
}

/// Ten digits begin with a year, eight with its last two digits, six with none.
fn record_year(digits: &str) -> Result<Option<i16>, InvalidNumber> {
    let leading = |count: usize| digits[..count].parse::<i16>().ok();
    match digits.len() {
        10 => Ok(leading(4)),
        8 => Ok(leading(2).map(|year| 2000 + year)),
        6 => Ok(None),
        _ => Err(InvalidNumber::Digits),
    }
}

/// Numbers that templates print where a real one belongs.
fn is_placeholder(digits: &str) -> bool {
    let bytes = digits.as_bytes();
    let all_same = bytes.windows(2).all(|pair| pair[0] == pair[1]);
    let counting =
        |step: i16| bytes.windows(2).all(|p| (i16::from(p[1]) - i16::from(p[0])).rem_euclid(10) == step);
    let serial = &digits[digits.len().saturating_sub(6)..];
    all_same || counting(1) || counting(9) || (digits.len() == 10 && serial == "000000")
}

/// Drops white space and invisible characters, folds full width and traditional forms, unifies
/// dashes, and writes letters in upper case.
fn normalise(text: &str) -> String {
    text.chars()
        .filter(|c| !c.is_whitespace() && !matches!(c, '\u{200b}'..='\u{200d}' | '\u{feff}' | '\u{ad}'))
        .map(|c| match c {
            '\u{2010}'..='\u{2015}' | '\u{2212}' => '-',
            '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c),
            '備' => '备',
            '證' => '证',
            '號' => '号',
            '網' => '网',
            other => other,
        })
        .map(|c| c.to_ascii_uppercase())
        .collect()
}

/// The short names of provinces, and the first two digits of their area codes (GB/T 2260).
const PROVINCES: &[(&str, &str)] = &[
    ("京", "11"),
    ("津", "12"),
    ("冀", "13"),
    ("晋", "14"),
    ("蒙", "15"),
    ("辽", "21"),
    ("吉", "22"),
    ("黑", "23"),
    ("沪", "31"),
    ("苏", "32"),
    ("浙", "33"),
    ("皖", "34"),
    ("闽", "35"),
    ("赣", "36"),
    ("鲁", "37"),
    ("豫", "41"),
    ("鄂", "42"),
    ("湘", "43"),
    ("粤", "44"),
    ("桂", "45"),
    ("琼", "46"),
    ("渝", "50"),
    ("川蜀", "51"),
    ("贵黔", "52"),
    ("云滇", "53"),
    ("藏", "54"),
    ("陕秦", "61"),
    ("甘陇", "62"),
    ("青", "63"),
    ("宁", "64"),
    ("新", "65"),
];

/// The number of a public security filing (公安联网备案).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PublicSecurityNumber {
    text: Arc<str>,
    code: Arc<str>,
}

impl PublicSecurityNumber {
    /// Parses and normalises `京公网安备11010502030143号`; the area code must be the province's.
    pub fn parse(text: &str) -> Result<Self, InvalidNumber> {
        let normal = normalise(text);
        let mut rest = Cursor(&normal);
        let province = normal.chars().next().unwrap_or_default();
        if !rest.province() {
            return Err(InvalidNumber::Province);
        }
        if !rest.take("公网安备") {
            return Err(InvalidNumber::Kind);
        }
        let code = rest.digits();
        if code.len() != 14 {
            return Err(InvalidNumber::Digits);
        }
        if !rest.take("号") {
            return Err(InvalidNumber::Unclosed);
        }
        if !rest.0.is_empty() {
            return Err(InvalidNumber::Service);
        }
        if is_placeholder(code) {
            return Err(InvalidNumber::Placeholder);
        }
        if !PROVINCES.iter().any(|(names, area)| names.contains(province) && code.starts_with(area)) {
            return Err(InvalidNumber::Area);
        }
        Ok(Self { code: code.into(), text: normal.as_str().into() })
    }

    /// As the ministry prints it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The 14 digits that the ministry's page is asked with.
    pub fn code(&self) -> &str {
        &self.code
    }
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
        check("京ICP证B2-20190051", Ok(("京ICP证B2-20190051", Licence, None)));
        check("浙B2-20080101-4", Ok(("浙B2-20080101-4", Licence, Some(Service::Website))));
        check("合字B2-20190051", Ok(("合字B2-20190051", Licence, None)));
        check("合字A1.B1.B2-20180017-2", Ok(("合字A1.B1.B2-20180017-2", Licence, Some(Service::Website))));
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
        for whole in ["合字A1.B1.B2-20180017-2", "京ICP证030173号-1", "京公网安备11010502030143号"]
        {
            for (end, _) in whole.char_indices() {
                let _ = FilingNumber::parse(&whole[..end], 2026);
                let _ = PublicSecurityNumber::parse(&whole[..end]);
            }
        }
    }

    #[test]
    fn public_security_numbers_belong_to_their_province() {
        let number = PublicSecurityNumber::parse("京公网安备 11010502030143 号").expect("valid");
        assert_eq!((number.as_str(), number.code()), ("京公网安备11010502030143号", "11010502030143"));
        assert!(PublicSecurityNumber::parse("川公网安备51011202001113号").is_ok());
        assert!(PublicSecurityNumber::parse("京公网安备11000002000001号").is_ok());
        assert_eq!(PublicSecurityNumber::parse("沪公网安备11010502030143号"), Err(InvalidNumber::Area));
        assert_eq!(PublicSecurityNumber::parse("深公网安备4403101910665号"), Err(InvalidNumber::Province));
        assert_eq!(PublicSecurityNumber::parse("京公网安备1101号"), Err(InvalidNumber::Digits));
        assert_eq!(
            PublicSecurityNumber::parse("京公网安备11111111111111号"),
            Err(InvalidNumber::Placeholder)
        );
    }
}
