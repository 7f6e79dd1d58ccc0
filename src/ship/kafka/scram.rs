//! The client's side of SCRAM (RFC 5802, RFC 7677), as bytes: what to send, and whether the server knows the password too.

use std::num::NonZeroU32;

use aws_lc_rs::{constant_time, digest, hmac, pbkdf2};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

/// The hash of the mechanism.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Hash {
    /// SCRAM-SHA-256.
    Sha256,
    /// SCRAM-SHA-512.
    Sha512,
}

/// Fewer iterations would let a listener guess the password (RFC 7677 and Kafka: 4096 at least).
const MIN_ITERATIONS: u32 = 4096;
/// 100,000 take 50 ms; Kafka itself allows 16,384.
const MAX_ITERATIONS: u32 = 100_000;

/// The exchange after its first message.
pub(super) struct Scram<'p> {
    hash: Hash,
    password: &'p str,
    nonce: String,
    first_bare: String,
}

/// What the server has to prove.
pub(super) struct Proof(Vec<u8>);

/// Why the exchange fails.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum ScramFailure {
    /// The server's message is not one of SCRAM.
    #[error("the server's SCRAM message is malformed: {0}")]
    Malformed(&'static str),
    /// The server does not know the password either: it may be somebody else.
    #[error("the server did not prove that it knows the password")]
    NotTheServer,
    /// The server says no.
    #[error("the server does not accept the username or the password")]
    Refused,
}

impl<'p> Scram<'p> {
    /// Begins the exchange with a fresh `nonce` of printable characters other than a comma.
    pub(super) fn new(hash: Hash, username: &str, password: &'p str, nonce: String) -> Self {
        let name = username.replace('=', "=3D").replace(',', "=2C");
        let first_bare = format!("n={name},r={nonce}");
        Self { hash, password, nonce, first_bare }
    }

    /// The first message, without channel binding.
    pub(super) fn first(&self) -> String {
        format!("n,,{}", self.first_bare)
    }

    /// Answers the server's first message.
    pub(super) fn answer(&self, server_first: &[u8]) -> Result<(String, Proof), ScramFailure> {
        let text = text(server_first)?;
        let mut fields = text.split(',');
        let mut next = |prefix| fields.next().and_then(|field: &str| field.strip_prefix(prefix));
        let nonce = next("r=").ok_or(ScramFailure::Malformed("no nonce"))?;
        let salt = next("s=").ok_or(ScramFailure::Malformed("no salt"))?;
        let iterations = next("i=").ok_or(ScramFailure::Malformed("no iteration count"))?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err(ScramFailure::Malformed("a nonce that does not continue ours"));
        }
        let salt =
            BASE64_STANDARD.decode(salt).map_err(|_| ScramFailure::Malformed("a salt not in base64"))?;
        let iterations = iterations
            .parse()
            .ok()
            .filter(|count| (MIN_ITERATIONS..=MAX_ITERATIONS).contains(count))
            .and_then(NonZeroU32::new)
            .ok_or(ScramFailure::Malformed("an iteration count outside 4096 to 100000"))?;

        let salted = self.hash.salted(self.password, &salt, iterations);
        let without_proof = format!("c=biws,r={nonce}");
        let signed = format!("{},{text},{without_proof}", self.first_bare);
        let client_key = self.hash.mac(&salted, b"Client Key");
        let stored_key = self.hash.digest(&client_key);
        let signature = self.hash.mac(&stored_key, signed.as_bytes());
        let proof: Vec<u8> = client_key.iter().zip(&signature).map(|(key, byte)| key ^ byte).collect();
        let server_key = self.hash.mac(&salted, b"Server Key");
        let expected = self.hash.mac(&server_key, signed.as_bytes());
        Ok((format!("{without_proof},p={}", BASE64_STANDARD.encode(proof)), Proof(expected)))
    }
}

impl Proof {
    /// Whether the server's last message proves that it knows the password.
    pub(super) fn verify(&self, server_final: &[u8]) -> Result<(), ScramFailure> {
        let text = text(server_final)?;
        if text.starts_with("e=") {
            return Err(ScramFailure::Refused);
        }
        let proof = text.strip_prefix("v=").and_then(|proof| proof.split(',').next());
        let proof = proof.ok_or(ScramFailure::Malformed("no verifier"))?;
        let proof =
            BASE64_STANDARD.decode(proof).map_err(|_| ScramFailure::Malformed("a verifier not in base64"))?;
        constant_time::verify_slices_are_equal(&proof, &self.0).map_err(|_| ScramFailure::NotTheServer)
    }
}

fn text(message: &[u8]) -> Result<&str, ScramFailure> {
    std::str::from_utf8(message).map_err(|_| ScramFailure::Malformed("not UTF-8"))
}

impl Hash {
    fn salted(self, password: &str, salt: &[u8], iterations: NonZeroU32) -> Vec<u8> {
        let (algorithm, length) = match self {
            Self::Sha256 => (pbkdf2::PBKDF2_HMAC_SHA256, digest::SHA256_OUTPUT_LEN),
            Self::Sha512 => (pbkdf2::PBKDF2_HMAC_SHA512, digest::SHA512_OUTPUT_LEN),
        };
        let mut salted = vec![0; length];
        pbkdf2::derive(algorithm, iterations, salt, password.as_bytes(), &mut salted);
        salted
    }

    fn mac(self, key: &[u8], text: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha512 => hmac::HMAC_SHA512,
        };
        hmac::sign(&hmac::Key::new(algorithm, key), text).as_ref().to_vec()
    }

    fn digest(self, text: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, text).as_ref().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exchange of RFC 7677, 3.
    const SERVER_FIRST: &[u8] =
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    const SERVER_FINAL: &[u8] = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

    fn scram(password: &str) -> Scram<'_> {
        Scram::new(Hash::Sha256, "user", password, "rOprNGfwEbeRWgbNEkqO".to_owned())
    }

    #[test]
    fn the_exchange_is_that_of_the_specification() {
        let scram = scram("pencil");
        assert_eq!(scram.first(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let (answer, proof) = scram.answer(SERVER_FIRST).expect("well formed");
        assert_eq!(
            answer,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert_eq!(proof.verify(SERVER_FINAL), Ok(()));
    }

    #[test]
    fn a_server_that_does_not_know_the_password_is_found_out() {
        let scram = scram("another");
        let (_, proof) = scram.answer(SERVER_FIRST).expect("well formed");
        assert_eq!(proof.verify(SERVER_FINAL), Err(ScramFailure::NotTheServer));
        assert_eq!(proof.verify(b"v="), Err(ScramFailure::NotTheServer));
        assert_eq!(proof.verify(b"e=invalid-proof"), Err(ScramFailure::Refused));
        assert!(matches!(proof.verify(b"v=!"), Err(ScramFailure::Malformed(_))));
    }

    #[test]
    fn what_a_server_may_not_ask_is_refused() {
        for message in [
            &b""[..],
            b"r=other,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            b"r=rOprNGfwEbeRWgbNEkqO,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
            b"r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=1",
            b"r=rOprNGfwEbeRWgbNEkqOx,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4000000000",
            b"r=rOprNGfwEbeRWgbNEkqOx,s=*,i=4096",
            b"\xff",
        ] {
            let answer = scram("pencil").answer(message).map(|_| ());
            assert!(matches!(answer, Err(ScramFailure::Malformed(_))), "{message:?}");
        }
    }

    #[test]
    fn a_name_cannot_end_its_field() {
        let scram = Scram::new(Hash::Sha512, "a,r=b=", "p", "n".to_owned());
        assert_eq!(scram.first(), "n,,n=a=2Cr=3Db=3D,r=n");
    }
}
