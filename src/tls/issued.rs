//! What the renewal of a certificate needs to know of it.

use std::path::Path;

use jiff::Timestamp;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::certificates::coverage;
use super::pem;
use crate::gate::Coverage;
use crate::hostname::HostPattern;

/// An issued certificate.
#[derive(Clone, Debug)]
pub struct Issued {
    /// Its names and dates.
    pub coverage: Coverage,
    /// The identifier of its issuer's key, if it names one.
    pub authority_key: Option<Vec<u8>>,
    /// Its serial number, as encoded in it.
    pub serial: Vec<u8>,
}

impl Issued {
    /// Reads the first certificate of a PEM file. The error is a sentence for the operator.
    pub fn read(file: &Path) -> Result<Self, String> {
        let shown = file.display();
        let content = super::read_pem(file).map_err(|error| format!("{shown}: {error}"))?;
        let chain = pem::chain(&content, file).map_err(|fault| format!("{shown}: {fault}"))?;
        let leaf = chain.first().ok_or_else(|| format!("{shown} is empty"))?;
        let coverage = coverage(leaf).map_err(|error| format!("{shown}: {error}"))?;
        let (_, parsed) = X509Certificate::from_der(leaf).map_err(|error| format!("{shown}: {error}"))?;
        let authority_key = parsed.extensions().iter().find_map(|extension| {
            let ParsedExtension::AuthorityKeyIdentifier(key) = extension.parsed_extension() else {
                return None;
            };
            key.key_identifier.as_ref().map(|key| key.0.to_vec())
        });
        let serial = parsed.raw_serial().to_vec();
        Ok(Self { coverage, authority_key, serial })
    }

    /// Whether it is valid at `at` and for each of `hosts`.
    pub fn serves_all(&self, hosts: &[HostPattern], at: Timestamp) -> bool {
        let covers = |pattern: &HostPattern| {
            pattern.representative().is_ok_and(|host| self.coverage.names.get(&host).is_some())
        };
        at < self.coverage.ends && hosts.iter().all(covers)
    }
}
