//! The number of a public security filing.

use std::sync::Arc;

use super::{Cursor, InvalidNumber, PROVINCES, is_placeholder, normalise};

/// The number of a public security filing (公安联网备案).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PublicSecurityNumber {
    text: Arc<str>,
    code: Arc<str>,
}

impl PublicSecurityNumber {
    /// Parses and normalises `京公网安备11010502030143号`; the area code must be the province's.
    ///
    /// Old numbers, as `深公网安备4403101910665`, have 13 digits, begin with a city's character, and
    /// may lack the `号`; their area code is that of any province.
    pub fn parse(text: &str) -> Result<Self, InvalidNumber> {
        let normal = normalise(text);
        let mut rest = Cursor(&normal);
        let area = rest.province();
        if area.is_none() {
            rest = Cursor(normal.strip_prefix(is_han).ok_or(InvalidNumber::Province)?);
        }
        if !rest.take("公网安备") {
            return Err(InvalidNumber::Kind);
        }
        let code = rest.digits();
        let closed = rest.take("号");
        match (code.len(), area) {
            (13, _) if !has_area(code) => return Err(InvalidNumber::Area),
            (13, _) => {}
            (14, None) => return Err(InvalidNumber::Province),
            (14, Some(area)) if !code.starts_with(area) => return Err(InvalidNumber::Area),
            (14, Some(_)) if !closed => return Err(InvalidNumber::Unclosed),
            (14, Some(_)) => {}
            _ => return Err(InvalidNumber::PublicSecurityDigits),
        }
        if !rest.0.is_empty() {
            return Err(InvalidNumber::Service);
        }
        if is_placeholder(code) {
            return Err(InvalidNumber::Placeholder);
        }
        Ok(Self { code: code.into(), text: normal.as_str().into() })
    }

    /// As it is printed.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The digits that the ministry's page is asked with.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// Whether it has the form that is no longer given out.
    pub fn is_legacy(&self) -> bool {
        self.code.len() == 13
    }
}

fn is_han(c: char) -> bool {
    matches!(c, '\u{4e00}'..='\u{9fff}')
}

fn has_area(code: &str) -> bool {
    PROVINCES.iter().any(|(_, area)| code.starts_with(area))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<(&str, &str, bool), InvalidNumber>) {
        let parsed = PublicSecurityNumber::parse(text);
        let parsed = parsed.as_ref().map(|n| (n.as_str(), n.code(), n.is_legacy())).map_err(|e| *e);
        assert_eq!(parsed, expected, "{text}");
    }

    #[test]
    fn the_area_is_that_of_the_province() {
        let beijing = Ok(("京公网安备11010502030143号", "11010502030143", false));
        check("京公网安备11010502030143号", beijing);
        check(" 京公網安備 11010502030143 號", beijing);
        check("川公网安备51011202001113号", Ok(("川公网安备51011202001113号", "51011202001113", false)));
        check("沪公网安备11010502030143号", Err(InvalidNumber::Area));
        check("深公网安备11010502030143号", Err(InvalidNumber::Province));
    }

    #[test]
    fn an_old_number_begins_with_a_city() {
        check("深公网安备4403101910665", Ok(("深公网安备4403101910665", "4403101910665", true)));
        check("深公网安备4403101910665号", Ok(("深公网安备4403101910665号", "4403101910665", true)));
        check("粤公网安备4403101910665号", Ok(("粤公网安备4403101910665号", "4403101910665", true)));
        check("深公网安备9903101910665", Err(InvalidNumber::Area));
    }

    #[test]
    fn what_is_no_number_is_told_apart() {
        check("", Err(InvalidNumber::Province));
        check("X公网安备4403101910665号", Err(InvalidNumber::Province));
        check("京ICP备2024012345号-1", Err(InvalidNumber::Kind));
        check("京公网安备1101号", Err(InvalidNumber::PublicSecurityDigits));
        check("京公网安备11010502030143", Err(InvalidNumber::Unclosed));
        check("京公网安备11010502030143号-1", Err(InvalidNumber::Service));
        check("京公网安备11111111111111号", Err(InvalidNumber::Placeholder));
    }

    #[test]
    fn no_prefix_of_a_number_panics() {
        let whole = "京公网安备11010502030143号";
        for (end, _) in whole.char_indices() {
            let _ = PublicSecurityNumber::parse(&whole[..end]);
        }
    }
}
