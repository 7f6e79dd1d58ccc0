//! The number of a public security filing (公安联网备案).

use std::sync::Arc;

use super::{Cursor, PROVINCES, is_placeholder, normalise};

/// The number of a public security filing.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PublicSecurityNumber {
    text: Arc<str>,
    code: Arc<str>,
}

/// Why a text is not a public security number.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidPublicSecurityNumber {
    /// No province at the start.
    #[error("a 公安备案 number begins with a province's character, such as 京")]
    Province,
    /// No `公网安备` after the province.
    #[error("in a 公安备案 number 公网安备 follows the province")]
    Kind,
    /// The wrong count of digits.
    #[error("a 公安备案 number has 14 digits, an old one 12 or 13")]
    Digits,
    /// A template's number.
    #[error("it is a placeholder")]
    Placeholder,
    /// No `号` after 14 digits.
    #[error("号 is missing after the digits")]
    Unclosed,
    /// Something behind the number.
    #[error("something follows the 公安备案 number")]
    Trailing,
    /// The area code belongs to another province.
    #[error("its first two digits are not the area code of the province it begins with")]
    Area,
}

impl PublicSecurityNumber {
    /// Parses and normalises `京公网安备11010502030143号`; the area code must be the province's.
    ///
    /// An old number has 12 or 13 digits (`京公网安备110105000585号`, `深公网安备4403101910665`). It may
    /// begin with a city's character and may lack the `号`; its area code may be any province's.
    pub fn parse(text: &str) -> Result<Self, InvalidPublicSecurityNumber> {
        use InvalidPublicSecurityNumber as Invalid;
        let normal = normalise(text);
        let mut rest = Cursor(&normal);
        let area = rest.province();
        if area.is_none() {
            rest = Cursor(normal.strip_prefix(is_han).ok_or(Invalid::Province)?);
        }
        if !rest.take("公网安备") {
            return Err(Invalid::Kind);
        }
        let code = rest.digits();
        let closed = rest.take("号");
        match (code.len(), area) {
            (12 | 13, _) if !has_area(code) => return Err(Invalid::Area),
            (12 | 13, _) => {}
            (14, None) => return Err(Invalid::Province),
            (14, Some(area)) if !code.starts_with(area) => return Err(Invalid::Area),
            (14, Some(_)) if !closed => return Err(Invalid::Unclosed),
            (14, Some(_)) => {}
            _ => return Err(Invalid::Digits),
        }
        if !rest.0.is_empty() {
            return Err(Invalid::Trailing);
        }
        if is_placeholder(code) {
            return Err(Invalid::Placeholder);
        }
        Ok(Self { code: code.into(), text: normal.as_str().into() })
    }

    /// As it is printed.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The digits, which are the `code` of the ministry's page.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// Whether it has a form that is no longer given out: 12 or 13 digits.
    pub fn is_legacy(&self) -> bool {
        self.code.len() < 14
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
    use super::InvalidPublicSecurityNumber as Invalid;
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<(&str, &str, bool), Invalid>) {
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
        check("沪公网安备11010502030143号", Err(Invalid::Area));
        check("深公网安备11010502030143号", Err(Invalid::Province));
    }

    #[test]
    fn an_old_number_has_fewer_digits_and_may_begin_with_a_city() {
        check("京公网安备110105000585号", Ok(("京公网安备110105000585号", "110105000585", true)));
        check("京公网安备110105000585", Ok(("京公网安备110105000585", "110105000585", true)));
        check("京公网安备 1101050200585 号", Ok(("京公网安备1101050200585号", "1101050200585", true)));
        check("京公网安备990105000585号", Err(Invalid::Area));
        check("深公网安备4403101910665", Ok(("深公网安备4403101910665", "4403101910665", true)));
        check("深公网安备4403101910665号", Ok(("深公网安备4403101910665号", "4403101910665", true)));
        check("粤公网安备4403101910665号", Ok(("粤公网安备4403101910665号", "4403101910665", true)));
        check("深公网安备9903101910665", Err(Invalid::Area));
    }

    #[test]
    fn what_is_no_number_is_told_apart() {
        check("", Err(Invalid::Province));
        check("X公网安备4403101910665号", Err(Invalid::Province));
        check("京ICP备2024012345号-1", Err(Invalid::Kind));
        check("京公网安备1101号", Err(Invalid::Digits));
        check("京公网安备11010500058号", Err(Invalid::Digits));
        check("京公网安备110105020301430号", Err(Invalid::Digits));
        check("京公网安备11010502030143", Err(Invalid::Unclosed));
        check("京公网安备11010502030143号-1", Err(Invalid::Trailing));
        check("京公网安备11111111111111号", Err(Invalid::Placeholder));
    }

    #[test]
    fn messages_speak_of_the_public_security_filing() {
        for text in ["", "京ICP备2024012345号-1", "京公网安备1101号", "京公网安备11010502030143号-1"]
        {
            let message = PublicSecurityNumber::parse(text).unwrap_err().to_string();
            assert!(message.contains("公安备案") && !message.contains("ICP"), "{text}: {message}");
        }
    }

    #[test]
    fn no_prefix_of_a_number_panics() {
        let whole = "京公网安备11010502030143号";
        for (end, _) in whole.char_indices() {
            let _ = PublicSecurityNumber::parse(&whole[..end]);
        }
    }
}
