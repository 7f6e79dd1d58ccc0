//! Whether CAA records let a certification authority issue (RFC 8659).

use crate::upstream::names::records::CaaRecord;

/// Parts of authorities' names, in lower case, and the domains that they document for `issue`.
const KNOWN: [(&str, &[&str]); 12] = [
    ("let's encrypt", &["letsencrypt.org"]),
    (
        "digicert",
        &["digicert.com", "www.digicert.com", "geotrust.com", "rapidssl.com", "thawte.com", "digicert.cn"],
    ),
    ("globalsign", &["globalsign.com"]),
    ("sectigo", &["sectigo.com", "comodoca.com", "comodo.com", "usertrust.com", "trust-provider.com"]),
    ("zerossl", &["sectigo.com", "comodoca.com", "usertrust.com", "trust-provider.com"]),
    ("trustasia", &["trustasia.com", "digicert.com", "sectigo.com"]),
    ("china financial certification", &["cfca.com.cn"]),
    ("google trust services", &["pki.goog"]),
    ("amazon", &["amazon.com", "amazontrust.com", "awstrust.com", "amazonaws.com"]),
    ("godaddy", &["godaddy.com", "starfieldtech.com"]),
    ("entrust", &["entrust.net"]),
    ("buypass", &["buypass.com"]),
];

/// Whether an authority may issue.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    /// No record limits it.
    Open,
    Allowed,
    /// Others are named, and the authority's own domains are not known here. What is allowed.
    Unknown(String),
    /// What is allowed.
    Forbidden(String),
}

/// Judges `issuer`, the name of an authority, by the records of a host. Wildcards follow `issuewild` where there is one.
pub(super) fn judge(records: &[CaaRecord], is_wildcard: bool, issuer: &str) -> Verdict {
    let of = |tag: &str| -> Vec<&str> {
        let records = records.iter().filter(|record| record.tag.eq_ignore_ascii_case(tag));
        records.map(|record| domain(&record.value)).collect()
    };
    let wild = of("issuewild");
    let allowed = if is_wildcard && !wild.is_empty() { wild } else { of("issue") };
    if allowed.is_empty() {
        return Verdict::Open;
    }
    let named: Vec<&str> = allowed.into_iter().filter(|domain| !domain.is_empty()).collect();
    if named.is_empty() {
        return Verdict::Forbidden("nobody may issue".to_owned());
    }
    let shown = named.join(", ");
    let issuer = issuer.to_ascii_lowercase();
    match KNOWN.iter().find(|(part, _)| issuer.contains(part)) {
        None => Verdict::Unknown(shown),
        Some((_, own)) if named.iter().any(|name| own.contains(&name.to_ascii_lowercase().as_str())) => {
            Verdict::Allowed
        }
        Some(_) => Verdict::Forbidden(format!("only {shown} may issue")),
    }
}

/// The domain of a value such as `letsencrypt.org; accounturi=…`; empty for `;`, which stands for nobody.
fn domain(value: &str) -> &str {
    value.split(';').next().unwrap_or_default().trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(all: &[(&str, &str)]) -> Vec<CaaRecord> {
        let record =
            |(tag, value): &(&str, &str)| CaaRecord { tag: (*tag).to_owned(), value: (*value).to_owned() };
        all.iter().map(record).collect()
    }

    #[test]
    fn wildcards_follow_issuewild_and_nobody_is_a_semicolon() {
        let forbidden = |text: &str| Verdict::Forbidden(text.to_owned());
        let le = "Let's Encrypt";
        assert_eq!(judge(&records(&[("iodef", "mailto:a@example.cn")]), false, le), Verdict::Open);
        let both = records(&[("issue", "letsencrypt.org; validationmethods=dns-01"), ("issuewild", ";")]);
        assert_eq!(judge(&both, false, le), Verdict::Allowed);
        assert_eq!(judge(&both, true, le), forbidden("nobody may issue"));
        let other = records(&[("ISSUE", "DigiCert.com")]);
        assert_eq!(judge(&other, true, le), forbidden("only DigiCert.com may issue"));
        assert_eq!(judge(&other, false, "DigiCert Inc"), Verdict::Allowed);
        assert_eq!(judge(&other, false, "A CA of our own"), Verdict::Unknown("DigiCert.com".to_owned()));
    }
}
