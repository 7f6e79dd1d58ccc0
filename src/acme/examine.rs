//! For `check`: what would be ordered, and which settings would fail.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::job::Wanted;
use super::{account, rfc2136};
use crate::config::Config;
use crate::config::acme::DnsProvider;
use crate::config::credentials;
use crate::config::problem::{Problem, Severity};
use crate::config::sinks::CredentialsFrom;
use crate::tls::issued::Issued;
use crate::tls::roots::Roots;

/// A certificate that would be ordered.
#[derive(Clone, Debug)]
pub struct PlannedOrder {
    /// The site.
    pub site: String,
    /// The names of the certificate.
    pub names: Vec<String>,
    /// The authority's directory.
    pub directory: String,
    /// The word for the DNS provider.
    pub provider: &'static str,
    /// Where it would be kept.
    pub file: String,
    /// Whether it is there already, for all hosts of the site.
    pub is_kept: bool,
}

/// Every certificate that sites of `config` order.
pub fn planned(config: &Config, at: jiff::Timestamp) -> Vec<PlannedOrder> {
    let planned = |wanted: Wanted| PlannedOrder {
        site: wanted.site.to_string(),
        names: wanted.names(),
        directory: wanted.settings.directory.clone(),
        provider: wanted.provider.name(),
        file: wanted.file.display().to_string(),
        is_kept: Issued::read(&wanted.file).is_ok_and(|held| held.serves_all(&wanted.hosts, at)),
    };
    Wanted::all(config).into_iter().map(planned).collect()
}

/// The settings that every order would fail by.
pub fn problems(config: &Config) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut report = |place: String, message: String, hint: &str| {
        let hint = Some(hint.to_owned());
        problems.push(Problem {
            severity: Severity::Degraded,
            file: config.file.clone(),
            place,
            message,
            hint,
        });
    };
    let Some(settings) = &config.acme else { return problems };
    if let Some(trust) = &settings.trust
        && let Err(error) = Roots::load(Some(trust))
    {
        report("acme.trust".to_owned(), error, "give a PEM file with the certificates of the authority's CA");
    }
    if let Some(external) = &settings.external_account
        && let Err(error) = account::external_key(&external.key_file)
    {
        let hint = "give the key that the authority shows beside the key id, in a file";
        report("acme.external_account.key_file".to_owned(), error, hint);
    }
    if let Ok(file) = settings.store.metadata()
        && !file.is_dir()
    {
        let message = format!("{} is not a folder", settings.store.display());
        report("acme.store".to_owned(), message, "give a folder for keys and certificates");
    }
    for (index, site) in config.sites.iter().enumerate() {
        let place = |key: &str| format!("sites[{index}].certificate.acme.dns.{key}");
        match site.acme.as_deref() {
            Some(DnsProvider::Rfc2136(settings)) => {
                if let Err(error) = rfc2136::secret(&settings.key_file) {
                    report(place("key_file"), error, "tsig-keygen -a hmac-sha256 NAME > FILE");
                }
            }
            Some(DnsProvider::Exec(settings)) => {
                if let Err(error) = is_executable(&settings.program) {
                    report(place("program"), error, "give a program, with the right to execute it");
                }
            }
            Some(DnsProvider::Cloud(settings)) => {
                // The environment of `run` is another one, and a role's keys come from the metadata service.
                if let CredentialsFrom::File(path) = &settings.credentials
                    && let Err(error) = credentials::read(path)
                {
                    report(
                        place("credentials.path"),
                        error,
                        "access_key_id and access_key_secret, one a line",
                    );
                }
            }
            None => {}
        }
    }
    problems
}

fn is_executable(program: &Path) -> Result<(), String> {
    let shown = program.display();
    let file = program.metadata().map_err(|error| format!("{shown}: {error}"))?;
    if file.is_file() && file.permissions().mode() & 0o111 != 0 {
        Ok(())
    } else {
        Err(format!("{shown} is not an executable file"))
    }
}
