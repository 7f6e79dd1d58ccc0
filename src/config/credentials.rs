//! Reads the credentials file of a sink or a DNS provider.
//!
//! Its values are secrets: no message shows one.

use std::fmt;
use std::path::Path;

use super::file;
use super::findings::Findings;
use super::reader::Value;
use super::schema;

const MAX_BYTES: u64 = 64 << 10;

/// The keys in a credentials file.
#[derive(Clone, Eq, PartialEq)]
pub struct StaticKeys {
    /// Names the key.
    pub access_key_id: String,
    /// The key.
    pub access_key_secret: String,
    /// The token of a temporary key.
    pub security_token: Option<String>,
}

impl fmt::Debug for StaticKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticKeys").field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
}

/// Reads the keys in `path`. The error is a sentence without secrets.
pub fn read(path: &Path) -> Result<StaticKeys, String> {
    let bytes = file::read(path, MAX_BYTES).map_err(|error| error.to_string())?;
    let findings = Findings::new(path);
    // The parser's message could quote the file.
    let node = file::parse(&bytes, MAX_BYTES).map_err(|_| format!("{} is not valid YAML", path.display()))?;
    let keys = keys(&Value::root(&node, &findings));
    let loaded = findings.loaded(keys);
    let missing =
        || format!("{}: access_key_id, access_key_secret and security_token must be texts", path.display());
    loaded.value.ok_or_else(missing)
}

fn keys(root: &Value<'_>) -> Option<StaticKeys> {
    let fields = root.fields(schema::CREDENTIALS_FILE)?;
    let text = |key: &'static str| fields.required(key)?.text().map(str::to_owned);
    let token = fields.get("security_token").map(|value| value.text().map(str::to_owned));
    Some(StaticKeys {
        access_key_id: text("access_key_id")?,
        access_key_secret: text("access_key_secret")?,
        security_token: match token {
            None => None,
            Some(token) => Some(token?),
        },
    })
}
