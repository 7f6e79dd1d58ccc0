//! Minisign signatures: who made an allowlist, and whether it is newer than the last one.
//!
//! The trusted comment is signed too. It holds `serial:N`, which never falls, so that an old allowlist with its old and
//! valid signature is not accepted again.

use std::path::Path;

use minisign_verify::{PublicKey, Signature};

use crate::regular_file;

/// A key file has two short lines.
const KEY_BYTES: u64 = 4096;

/// A public key.
pub(super) struct Key {
    key: PublicKey,
    /// Its text in base64, which identifies it.
    pub(super) text: String,
}

/// The text of the key in the file `path`, which identifies it.
pub fn key_text(path: &Path) -> Result<String, String> {
    Key::load(path).map(|key| key.text)
}

impl Key {
    /// Reads a file that `minisign -G` wrote, or one that holds the base64 line alone.
    pub(super) fn load(path: &Path) -> Result<Self, String> {
        let bytes = regular_file::read(path, KEY_BYTES).map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&bytes);
        let line = text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
        match PublicKey::from_base64(line) {
            Ok(key) => Ok(Self { key, text: line.to_owned() }),
            Err(error) => Err(format!("{} is not a public key of minisign: {error}", path.display())),
        }
    }

    /// Verifies `signature`, the text of a `.minisig` file, over `body`. Returns the serial.
    pub(super) fn verify(&self, body: &[u8], signature: &[u8]) -> Result<u64, String> {
        let text = std::str::from_utf8(signature).map_err(|_| "the signature is not text".to_owned())?;
        let signature =
            Signature::decode(text).map_err(|error| format!("the signature is malformed: {error}"))?;
        // Signatures of either format: of the content, or of its hash.
        self.key
            .verify(body, &signature, true)
            .map_err(|error| format!("the signature does not fit the allowlist and the key: {error}"))?;
        serial(signature.trusted_comment())
    }
}

/// The `serial:N` of a trusted comment.
fn serial(comment: &str) -> Result<u64, String> {
    let mut serials = comment.split_whitespace().filter_map(|word| word.strip_prefix("serial:"));
    match (serials.next(), serials.next()) {
        (None, _) => {
            Err("the trusted comment holds no serial:N; sign with minisign -t 'serial:N'".to_owned())
        }
        (Some(_), Some(_)) => Err("the trusted comment holds more than one serial".to_owned()),
        (Some(number), None) => number
            .parse()
            .map_err(|_| "the serial of the trusted comment is not a whole number of 64 bits".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::serial;

    #[test]
    fn the_serial_is_a_word_of_the_trusted_comment() {
        assert_eq!(serial("timestamp:1764460800\tserial:17"), Ok(17));
        assert_eq!(serial("serial:0"), Ok(0));
        for (comment, reason) in [
            ("timestamp:1764460800", "no serial"),
            ("myserial:3", "no serial"),
            ("serial:1 serial:2", "more than one"),
            ("serial:-1", "not a whole number"),
            ("serial:18446744073709551616", "not a whole number"),
        ] {
            let error = serial(comment).expect_err(comment);
            assert!(error.contains(reason), "{comment}: {error}");
        }
    }
}
