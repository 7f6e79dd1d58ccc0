//! Authentication by SASL: a handshake that names the mechanism, then the mechanism's own messages.
//!
//! The password is read from its file at every connection, and stands in no message.

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::codes;
use super::connection::Connection;
use super::messages::{Api, read_authenticate, read_handshake};
use super::scram::{Hash, Scram, ScramFailure};
use crate::config::sinks::{SaslMechanism, SaslSettings};
use crate::remote::failure::{FailureKind, RemoteFailure};
use crate::remote::password;

/// Random bytes of a nonce.
const NONCE: usize = 24;

/// Proves to the broker who connects.
pub(super) async fn authenticate(
    connection: &mut Connection,
    settings: &SaslSettings,
) -> Result<(), RemoteFailure> {
    let password = password::read(&settings.password_file)?;
    handshake(connection, name(settings.mechanism)).await?;
    let username = &settings.username;
    match settings.mechanism {
        SaslMechanism::Plain => {
            say(connection, format!("\0{username}\0{password}").as_bytes()).await.map(drop)
        }
        SaslMechanism::ScramSha256 => scram(connection, Hash::Sha256, username, &password).await,
        SaslMechanism::ScramSha512 => scram(connection, Hash::Sha512, username, &password).await,
    }
}

fn name(mechanism: SaslMechanism) -> &'static str {
    match mechanism {
        SaslMechanism::Plain => "PLAIN",
        SaslMechanism::ScramSha256 => "SCRAM-SHA-256",
        SaslMechanism::ScramSha512 => "SCRAM-SHA-512",
    }
}

async fn handshake(connection: &mut Connection, mechanism: &str) -> Result<(), RemoteFailure> {
    let answer = connection.call(Api::SaslHandshake, |out| out.string(mechanism)).await?;
    match answer.read(read_handshake)? {
        (0, _) => Ok(()),
        (code, offered) => {
            let what = format!("{connection}: {mechanism} (the broker offers {})", offered.join(", "));
            Err(codes::failure(code, &what))
        }
    }
}

async fn scram(
    connection: &mut Connection,
    hash: Hash,
    username: &str,
    password: &str,
) -> Result<(), RemoteFailure> {
    let mut nonce = [0; NONCE];
    rand::fill(&mut nonce)
        .map_err(|_| connection.failure(FailureKind::Unavailable, "the system gives no random bytes"))?;
    let scram = Scram::new(hash, username, password, BASE64_STANDARD.encode(nonce));
    let server_first = say(connection, scram.first().as_bytes()).await?;
    let (answer, proof) =
        scram.answer(&server_first).map_err(|failure| connection.failure(kind(failure), failure))?;
    let server_final = say(connection, answer.as_bytes()).await?;
    proof.verify(&server_final).map_err(|failure| connection.failure(kind(failure), failure))
}

fn kind(failure: ScramFailure) -> FailureKind {
    match failure {
        ScramFailure::Malformed(_) => FailureKind::Protocol,
        ScramFailure::NotTheServer | ScramFailure::Refused => FailureKind::Unauthorized,
    }
}

/// Sends a message of the mechanism and returns the broker's.
async fn say(connection: &mut Connection, message: &[u8]) -> Result<Vec<u8>, RemoteFailure> {
    let answer = connection.call(Api::SaslAuthenticate, |out| out.bytes(message)).await?;
    match answer.read(read_authenticate)? {
        (0, message) => Ok(message.to_vec()),
        // The broker's own words could quote what was sent.
        (code, _) => Err(codes::failure(code, &format!("{connection}: authentication"))),
    }
}
