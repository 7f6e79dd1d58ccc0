//! Whether the certificates of a chain follow one another: the site's own, then the issuer of each.

use std::path::Path;

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

/// A finding about a chain that can be served.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Remark {
    /// Only the site's certificate. Clients that do not know its issuer refuse it.
    NoIntermediate {
        /// Who issued it.
        issuer: String,
    },
    /// Complete, but in the wrong order (RFC 8446, 4.4.2).
    WrongOrder {
        /// The subjects in the right order.
        order: Vec<String>,
    },
    /// A certificate that issued no other certificate of the chain.
    Unrelated {
        /// Its subject.
        subject: String,
    },
}

impl Remark {
    /// The message and the hint about the chain in `file`.
    pub fn describe(&self, file: &Path) -> (String, String) {
        let file = file.display();
        match self {
            Self::NoIntermediate { issuer } => (
                format!("{file} holds the site's certificate alone, without that of its issuer ({issuer})"),
                format!(
                    "append the issuer's certificate; openssl x509 -in {file} -noout -ext authorityInfoAccess says \
                     where it is"
                ),
            ),
            Self::WrongOrder { order } => (
                format!("the certificates in {file} are in the wrong order"),
                format!(
                    "put them in this order: {}; openssl storeutl -noout -text -certs {file} lists them",
                    order.join(", then ")
                ),
            ),
            Self::Unrelated { subject } => (
                format!("{file} holds a certificate that issued none of its others ({subject})"),
                "remove it, or append the issuer that is missing".to_owned(),
            ),
        }
    }

    /// Whether the issuer of the site's certificate is not in the file.
    pub fn is_missing_issuer(&self) -> bool {
        matches!(self, Self::NoIntermediate { .. })
    }

    /// Whether it is a problem rather than a warning.
    pub fn is_problem(&self) -> bool {
        matches!(self, Self::WrongOrder { .. })
    }
}

/// Judges a chain. Certificates that cannot be parsed end it.
pub(super) fn remarks(chain: &[CertificateDer<'_>]) -> Vec<Remark> {
    let mut rest: Vec<_> =
        chain.iter().map_while(|der| X509Certificate::from_der(der).ok()).map(|(_, parsed)| parsed).collect();
    if rest.is_empty() {
        return Vec::new();
    }
    let mut ordered = vec![rest.remove(0)];
    if rest.is_empty() && !is_self_signed(&ordered[0]) {
        return vec![Remark::NoIntermediate { issuer: ordered[0].issuer().to_string() }];
    }
    let mut moved = false;
    while let Some(last) = ordered.last().filter(|last| !is_self_signed(last))
        && let Some(place) = rest.iter().position(|next| next.subject().as_raw() == last.issuer().as_raw())
    {
        moved |= place > 0;
        ordered.push(rest.remove(place));
    }
    let mut remarks = Vec::new();
    if moved {
        let order = ordered.iter().map(|certificate| certificate.subject().to_string()).collect();
        remarks.push(Remark::WrongOrder { order });
    }
    remarks.extend(rest.first().map(|other| Remark::Unrelated { subject: other.subject().to_string() }));
    remarks
}

/// The position of the certificate that a key belongs to, if it is not the first.
pub(super) fn place_of_key(chain: &[CertificateDer<'_>], public_key: &[u8]) -> Option<usize> {
    let is_of_key = |der: &CertificateDer<'_>| {
        X509Certificate::from_der(der).is_ok_and(|(_, parsed)| parsed.public_key().raw == public_key)
    };
    chain.iter().position(is_of_key).filter(|place| *place > 0)
}

fn is_self_signed(certificate: &X509Certificate<'_>) -> bool {
    certificate.issuer().as_raw() == certificate.subject().as_raw()
}
