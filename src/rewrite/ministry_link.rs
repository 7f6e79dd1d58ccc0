//! Links to the ministry's filing system, which must stand beside the number.
//!
//! The host changed twice. Reviewers reject links to the old hosts, which no longer answer.

/// The host of the filing system.
pub(super) const HOST: &str = "beian.miit.gov.cn";
/// Its hosts of former years; `www.beian.miit.gov.cn` served some months of 2019.
pub(super) const FORMER_HOSTS: [&str; 5] = [
    "www.beian.miit.gov.cn",
    "www.miitbeian.gov.cn",
    "miitbeian.gov.cn",
    "www.miibeian.gov.cn",
    "miibeian.gov.cn",
];

/// Whether the source of an `a` tag shows a link to [`HOST`] where `miit` stands: `before` ends in front of it, and `after`
/// begins with it.
pub(super) fn is_link(before: &[u8], after: &[u8]) -> bool {
    let Some(behind) = without_prefix(after, b"miit.gov.cn") else { return false };
    let ends = behind.first().is_some_and(|byte| {
        byte.is_ascii_whitespace() || matches!(byte, b'/' | b':' | b'?' | b'#' | b'\\' | b'"' | b'\'' | b'>')
    });
    ends && without_suffix(before, b"beian.").is_some_and(begins_a_link)
}

/// Whether `before` ends with `href="https://`, in one of its spellings.
fn begins_a_link(before: &[u8]) -> bool {
    let Some(scheme) = before.strip_suffix(b"//") else { return false };
    let value = without_suffix(scheme, b"https:").or(without_suffix(scheme, b"http:")).unwrap_or(scheme);
    let value = value.trim_ascii_end();
    let sign = value.strip_suffix(b"\"").or(value.strip_suffix(b"'")).unwrap_or(value);
    let name = sign.trim_ascii_end().strip_suffix(b"=").map(<[u8]>::trim_ascii_end);
    let Some(rest) = name.and_then(|name| without_suffix(name, b"href")) else { return false };
    rest.last().is_some_and(|byte| byte.is_ascii_whitespace() || matches!(byte, b'/' | b'"' | b'\''))
}

fn without_prefix<'b>(bytes: &'b [u8], prefix: &[u8]) -> Option<&'b [u8]> {
    let (start, rest) = bytes.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

fn without_suffix<'b>(bytes: &'b [u8], suffix: &[u8]) -> Option<&'b [u8]> {
    let (rest, end) = bytes.split_at_checked(bytes.len().checked_sub(suffix.len())?)?;
    end.eq_ignore_ascii_case(suffix).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a tag has such a link at its first `miit`.
    fn links(tag: &str) -> bool {
        let place = tag.to_ascii_lowercase().find("miit").unwrap();
        is_link(&tag.as_bytes()[..place], &tag.as_bytes()[place..])
    }

    #[test]
    fn every_spelling_of_the_link_is_known() {
        for tag in [
            "<a href=\"https://beian.miit.gov.cn/\">",
            "<a href=\"https://beian.miit.gov.cn\">",
            "<a href='http://beian.miit.gov.cn/#/Integrated/index'>",
            "<a href=https://beian.miit.gov.cn>",
            "<a\nHREF = \" HTTPS://BEIAN.MIIT.GOV.CN/\">",
            "<a target=\"_blank\"href=\"//beian.miit.gov.cn?x\">",
            "<a/href=https://beian.miit.gov.cn:443/ >",
        ] {
            assert!(links(tag), "{tag}");
        }
    }

    #[test]
    fn other_hosts_and_other_attributes_are_no_link() {
        for host in FORMER_HOSTS.iter().filter(|host| host.contains("miit")) {
            assert!(!links(&format!("<a href=\"http://{host}/\">")), "{host}");
        }
        for tag in [
            "<a href=\"https://beian.miit.gov.cn.example.com/\">",
            "<a href=\"https://xbeian.miit.gov.cn/\">",
            "<a href=\"https://example.com/?https://beian.miit.gov.cn/\">",
            "<a href=\"ftp://beian.miit.gov.cn/\">",
            "<a href=\"beian.miit.gov.cn/\">",
            "<a data-href=\"https://beian.miit.gov.cn/\">",
            "<a title=\"https://beian.miit.gov.cn/\">",
            "<a href=\"https://beian.miit.gov.cn",
            "<a href=\"https://beian.miit",
        ] {
            assert!(!links(tag), "{tag}");
        }
    }
}
