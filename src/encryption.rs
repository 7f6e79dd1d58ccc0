//! Files that only the holder of a private key can read: the age format (age-encryption.org/v1).
//!
//! What is decrypted is authenticated: an error comes before the first byte that somebody changed.

use std::fmt;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;
use std::str::FromStr;

use age::{Decryptor, Encryptor, Identity, IdentityFile, x25519};
use fs_err::os::unix::fs::OpenOptionsExt as _;
use fs_err::{File, OpenOptions};

use crate::regular_file;

/// What the names of encrypted files end with.
pub const SUFFIX: &str = ".age";
/// A file of keys is far smaller.
const MAX_KEY_FILE: u64 = 64 * 1024;
/// age encrypts in chunks of this size, each with a tag of 16 bytes, after a nonce of 16 bytes.
const CHUNK: u64 = 64 * 1024;
const TAG: u64 = 16;
/// More than the header for one recipient takes, with what age adds at random.
const MAX_HEADER: u64 = 2048;

/// A public key that files are encrypted for, `age1…`.
#[derive(Clone, Eq, PartialEq)]
pub struct Recipient(x25519::Recipient);

impl FromStr for Recipient {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Self)
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl Recipient {
    /// Encrypts the file `from` into `to`, which is replaced, with mode 0640.
    pub fn encrypt(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut from = File::open(from)?;
        let to = OpenOptions::new().write(true).create(true).truncate(true).mode(0o640).open(to)?;
        let recipient: &dyn age::Recipient = &self.0;
        let encryptor = Encryptor::with_recipients(std::iter::once(recipient)).map_err(io::Error::other)?;
        let mut sealed = encryptor.wrap_output(io::BufWriter::new(to))?;
        io::copy(&mut from, &mut sealed)?;
        sealed.finish()?.flush()
    }
}

/// Whether a file of `encrypted` bytes can hold a file of `plain` bytes.
pub fn may_hold(encrypted: u64, plain: u64) -> bool {
    let payload = TAG + plain + TAG * plain.div_ceil(CHUNK).max(1);
    (payload..payload + MAX_HEADER).contains(&encrypted)
}

/// The private keys of a file, as age-keygen writes it.
pub struct KeyFile(Vec<Box<dyn Identity + Send + Sync>>);

impl KeyFile {
    /// Reads `AGE-SECRET-KEY-1…` lines from the file at `path`.
    pub fn read(path: &Path) -> io::Result<Self> {
        let text = regular_file::read(path, MAX_KEY_FILE)?;
        let keys = IdentityFile::from_buffer(text.as_slice())?.into_identities().map_err(io::Error::other)?;
        if keys.is_empty() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the file holds no AGE-SECRET-KEY-1 line",
            ));
        }
        Ok(Self(keys))
    }

    /// Decrypts the file `from` into the new file `to`, with mode 0600.
    pub fn decrypt(&self, from: &Path, to: &Path) -> io::Result<()> {
        let refused =
            |error| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", from.display()));
        let decryptor = Decryptor::new_buffered(BufReader::new(File::open(from)?)).map_err(refused)?;
        let keys = self.0.iter().map(|key| &**key as &dyn Identity);
        let mut plain = decryptor.decrypt(keys).map_err(refused)?;
        let mut to = OpenOptions::new().write(true).create_new(true).mode(0o600).open(to)?;
        let mut chunk = vec![0; 64 * 1024];
        loop {
            match plain.read(&mut chunk)? {
                0 => return Ok(()),
                read => to.write_all(&chunk[..read])?,
            }
        }
    }
}

impl fmt::Debug for KeyFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyFile of {} keys", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encrypted_for_a_key_is_read_with_that_key_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = |name: &str| folder.path().join(name);
        let (own, other) = (x25519::Identity::generate(), x25519::Identity::generate());
        for (name, key) in [("own", &own), ("other", &other)] {
            use age::secrecy::ExposeSecret as _;
            fs_err::write(path(name), key.to_string().expose_secret()).expect("written");
        }
        let recipient: Recipient = own.to_public().to_string().parse().expect("a key");
        for length in [0, 1, 65_535, 65_536, 65_537, 1_000_000] {
            let plain: Vec<u8> = (0..length).map(|number: u32| number as u8).collect();
            fs_err::write(path("plain"), &plain).expect("written");
            recipient.encrypt(&path("plain"), &path("sealed")).expect("encrypted");
            let sealed = fs_err::metadata(path("sealed")).expect("there").len();
            assert!(may_hold(sealed, length.into()), "{length} in {sealed}");
            assert!(!may_hold(sealed, u64::from(length) + 4096), "{length} in {sealed}");
            KeyFile::read(&path("own"))
                .expect("read")
                .decrypt(&path("sealed"), &path("open"))
                .expect("decrypted");
            assert_eq!(fs_err::read(path("open")).expect("read"), plain);
            fs_err::remove_file(path("open")).expect("removed");
        }
        let error = KeyFile::read(&path("other")).expect("read").decrypt(&path("sealed"), &path("open"));
        assert!(error.is_err_and(|error| error.to_string().contains("sealed")));
        let mut changed = fs_err::read(path("sealed")).expect("read");
        let middle = changed.len() / 2;
        changed[middle] ^= 1;
        fs_err::write(path("sealed"), changed).expect("written");
        KeyFile::read(&path("own"))
            .expect("read")
            .decrypt(&path("sealed"), &path("open"))
            .expect_err("changed");
        assert!("age1nothing".parse::<Recipient>().is_err());
        assert!(KeyFile::read(&path("plain")).is_err());
    }
}
