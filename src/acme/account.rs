//! The account with the authority: registered once, kept in `acme.store`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use instant_acme::{Account, AccountCredentials, ExternalAccountKey, NewAccount};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::authority::{Authority, failed};
use super::files;
use super::job::Failure;
use super::status::OrderResult;
use crate::config::acme::AcmeSettings;

#[derive(Deserialize, Serialize)]
struct Kept {
    contact: String,
    credentials: AccountCredentials,
}

/// The account's file: one for each directory, so that a change to a test directory and back loses nothing.
fn file(settings: &AcmeSettings) -> PathBuf {
    let mut name = "account-".to_owned();
    for byte in Sha256::digest(&settings.directory).iter().take(8) {
        let _ = write!(name, "{byte:02x}");
    }
    settings.store.join(name + ".json")
}

/// The account that is kept; `None` if none was registered yet.
pub(super) async fn kept(settings: &AcmeSettings) -> Result<Option<Account>, Failure> {
    let file = file(settings);
    let Some(content) = files::read(&file)? else { return Ok(None) };
    let damaged = |error| {
        let file = file.display();
        Failure::store(format_args!("{file} is damaged ({error}); remove it to register a new account"))
    };
    let Kept { contact, credentials } = serde_json::from_slice(&content).map_err(damaged)?;
    let authority = Authority::new(&settings.directory, settings.trust.as_deref())?;
    let builder = Account::builder_with_http(Box::new(authority));
    let account = builder.from_credentials(credentials).await.map_err(failed)?;
    if contact != settings.contact {
        account.update_contacts(&[&mailto(settings)]).await.map_err(failed)?;
        let Kept { credentials, .. } = serde_json::from_slice(&content).map_err(damaged)?;
        save(settings, credentials)?;
    }
    Ok(Some(account))
}

/// The account that is kept, or a new one.
pub(super) async fn open(settings: &AcmeSettings) -> Result<Account, Failure> {
    if let Some(account) = kept(settings).await? {
        return Ok(account);
    }
    let authority = Authority::new(&settings.directory, settings.trust.as_deref())?;
    let new = NewAccount {
        contact: &[&mailto(settings)],
        terms_of_service_agreed: true,
        only_return_existing: false,
    };
    let builder = Account::builder_with_http(Box::new(authority));
    let external = match &settings.external_account {
        Some(external) => {
            let refused =
                |error| Failure::new(OrderResult::CaRefused, format_args!("acme.external_account: {error}"));
            let key = external_key(&external.key_file).map_err(refused)?;
            Some(ExternalAccountKey::new(external.key_id.clone(), &key))
        }
        None => None,
    };
    let created = builder.create(&new, settings.directory.clone(), external.as_ref()).await;
    let (account, credentials) = created.map_err(failed)?;
    save(settings, credentials)?;
    tracing::info!(directory = settings.directory, account = account.id(), "registered with the authority");
    Ok(account)
}

/// The largest file of a key.
const KEY_BYTES: u64 = 4096;

/// The key in a file, as authorities give it: base64url. No message shows it.
pub(super) fn external_key(file: &Path) -> Result<Vec<u8>, String> {
    let shown = file.display();
    let text = crate::regular_file::read(file, KEY_BYTES).map_err(|error| format!("{shown}: {error}"))?;
    let digits = text.trim_ascii();
    let end = digits.iter().rposition(|byte| *byte != b'=').map_or(0, |last| last + 1);
    let key = BASE64_URL_SAFE_NO_PAD.decode(&digits[..end]).ok().filter(|key| !key.is_empty());
    key.ok_or_else(|| format!("{shown} holds no key in base64url"))
}

fn mailto(settings: &AcmeSettings) -> String {
    format!("mailto:{}", settings.contact)
}

fn save(settings: &AcmeSettings, credentials: AccountCredentials) -> Result<(), Failure> {
    let kept = Kept { contact: settings.contact.clone(), credentials };
    files::write(&file(settings), &serde_json::to_vec(&kept).map_err(Failure::store)?)
}
