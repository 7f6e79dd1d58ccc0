//! The language of the page: `?lang=`, else `Accept-Language`, else English.

/// A language of the page.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Language {
    /// English.
    English,
    /// Simplified Chinese.
    Chinese,
}

impl Language {
    /// The language that `wanted` (the parameter `lang`) names, or else the one that `accepted` (the field
    /// `accept-language`, RFC 9110, 12.5.4) prefers.
    pub(crate) fn choose(wanted: Option<&str>, accepted: Option<&str>) -> Self {
        wanted.and_then(Self::of_tag).or_else(|| Self::preferred(accepted?)).unwrap_or(Self::English)
    }

    /// The tag for the attribute `lang`.
    pub(crate) fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Chinese => "zh-CN",
        }
    }

    fn of_tag(tag: &str) -> Option<Self> {
        let first = tag.trim().split(['-', '_']).next()?;
        match first.to_ascii_lowercase().as_str() {
            "zh" => Some(Self::Chinese),
            "en" | "*" => Some(Self::English),
            _ => None,
        }
    }

    /// The language with the highest weight; of equal weights the first.
    fn preferred(accepted: &str) -> Option<Self> {
        let mut best: Option<(f32, Self)> = None;
        for item in accepted.split(',') {
            let mut parts = item.split(';');
            let Some(language) = parts.next().and_then(Self::of_tag) else { continue };
            let weight = parts.find_map(|part| part.trim().strip_prefix("q=")?.trim().parse::<f32>().ok());
            let weight = weight.unwrap_or(1.0);
            if weight > 0.0 && best.is_none_or(|(known, _)| weight > known) {
                best = Some((weight, language));
            }
        }
        best.map(|(_, language)| language)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_weight_wins_and_the_parameter_before_it() {
        for (accepted, language) in [
            ("zh-CN,zh;q=0.9,en;q=0.8", Language::Chinese),
            ("en-GB, en;q=0.9, zh;q=0.1", Language::English),
            ("en;q=0.5, zh-TW;q=0.7", Language::Chinese),
            ("fr, zh;q=0.2", Language::Chinese),
            ("fr", Language::English),
            ("zh;q=0", Language::English),
            ("zh;q=0, *", Language::English),
            ("ZH-hans", Language::Chinese),
            (";;,q=,,\u{1}", Language::English),
            ("", Language::English),
        ] {
            assert_eq!(Language::choose(None, Some(accepted)), language, "{accepted:?}");
            assert_eq!(Language::choose(Some("zh"), Some(accepted)), Language::Chinese);
            assert_eq!(Language::choose(Some("fr"), Some(accepted)), language, "{accepted:?}");
        }
        assert_eq!(Language::choose(None, None), Language::English);
    }
}
