//! Filing numbers: the ICP number of a domain and the public security number of a site.
//!
//! Parsing normalises, so two spellings of one number compare equal. The forms come from MIIT's records
//! and Order 33 (2005).

mod filing;
mod public_security;

pub use filing::{FilingNumber, InvalidNumber, NumberKind, Service};
pub use public_security::{InvalidPublicSecurityNumber, PublicSecurityNumber};

/// The unread rest of a number. One space may precede each part.
#[derive(Clone, Copy, Debug)]
struct Cursor<'t>(&'t str);

impl<'t> Cursor<'t> {
    fn skip_space(&mut self) {
        self.0 = self.0.strip_prefix(' ').unwrap_or(self.0);
    }

    fn take(&mut self, prefix: &str) -> bool {
        self.skip_space();
        let rest = self.0.strip_prefix(prefix);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    /// Takes a province's short name, and returns the first two digits of its area codes.
    fn province(&mut self) -> Option<&'static str> {
        let first = self.0.chars().next()?;
        let area = area(first)?;
        self.0 = &self.0[first.len_utf8()..];
        Some(area)
    }

    fn digits(&mut self) -> &'t str {
        self.skip_space();
        let end = self.0.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(self.0.len());
        let (digits, rest) = self.0.split_at(end);
        self.0 = rest;
        digits
    }
}

/// Whether the digits are a template's placeholder, such as 12345678.
fn is_placeholder(digits: &str) -> bool {
    let bytes = digits.as_bytes();
    let all_same = bytes.windows(2).all(|pair| pair[0] == pair[1]);
    let counting =
        |step: i16| bytes.windows(2).all(|p| (i16::from(p[1]) - i16::from(p[0])).rem_euclid(10) == step);
    let serial = &digits[digits.len().saturating_sub(6)..];
    all_same || counting(1) || counting(9) || (digits.len() == 10 && serial == "000000")
}

/// Drops white space and [folds](fold) the rest.
fn normalise(text: &str) -> String {
    text.chars().filter(|c| !c.is_whitespace()).filter_map(fold).collect()
}

/// Folds full width, traditional characters, dashes and lower case; `None` for an invisible character.
fn fold(c: char) -> Option<char> {
    let folded = match c {
        '\u{200b}'..='\u{200d}' | '\u{feff}' | '\u{ad}' => return None,
        '\u{2010}'..='\u{2015}' | '\u{2212}' => '-',
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c),
        '備' => '备',
        '證' => '证',
        '號' => '号',
        '網' => '网',
        other => other,
    };
    Some(folded.to_ascii_uppercase())
}

/// The first two digits of a province's area codes, by its short name.
fn area(short_name: char) -> Option<&'static str> {
    PROVINCES.iter().find(|(names, _)| names.contains(short_name)).map(|(_, area)| *area)
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
