//! Dynamic updates of a zone (RFC 2136), signed by TSIG (RFC 8945).

use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hickory_proto::op::update_message::{append, delete_by_rdata};
use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::rdata::TXT;
use hickory_proto::rr::rdata::tsig::TsigAlgorithm as Algorithm;
use hickory_proto::rr::{RData, Record, TSigner};
use jiff::Timestamp;

use super::dns;
use super::job::{Change, TxtRecord};
use crate::config::acme::{Rfc2136Settings, TsigAlgorithm};

/// The lifetime of the record, in seconds: short, since it is of use for a minute.
const LIFETIME: u32 = 60;
/// How far the clocks may differ, in seconds (RFC 8945, 10).
const FUDGE: u16 = 300;
/// The largest key file.
const MAX_BYTES: u64 = 64 << 10;

/// Adds or removes one TXT record. Others under the same name stay.
pub(super) async fn update(
    settings: &Rfc2136Settings,
    change: Change,
    record: &TxtRecord,
    now: Timestamp,
) -> Result<(), String> {
    let signer = signer(settings)?;
    let servers = dns::addresses(&settings.server).await?;
    let server = *servers.first().ok_or_else(|| format!("{} has no address", settings.server))?;
    let name = dns::name(&record.name)?;
    let zone = dns::zone_of(server, &name).await?;
    let set = Record::from_rdata(name, LIFETIME, RData::TXT(TXT::new(vec![record.value.clone()]))).into();
    let mut message = match change {
        Change::Present => append(set, zone.clone(), false, false),
        Change::Cleanup => delete_by_rdata(set, zone.clone(), false),
    };
    let seconds = u64::try_from(now.as_second()).unwrap_or_default();
    let verifier = message.finalize(&signer, seconds).map_err(|error| error.to_string())?;
    let bytes = message.to_vec().map_err(|error| error.to_string())?;
    let answer = dns::exchange(server, &bytes).await?;
    let parsed = Message::from_vec(&answer);
    let parsed = parsed.map_err(|error| format!("{server}: the answer is malformed: {error}"))?;
    if parsed.metadata.response_code != ResponseCode::NoError {
        return Err(format!("{server} refuses to change {zone}: {}", refusal(&parsed, &settings.key_name)));
    }
    let mut verifier = verifier.ok_or("the update was not signed")?;
    let verified = verifier.verify(&answer).map(drop);
    verified.map_err(|error| format!("{server}: the signature of the answer is wrong: {error}"))
}

/// Why an update was refused.
fn refusal(answer: &Message, key: &str) -> String {
    let code = answer.metadata.response_code;
    match answer.signature().and_then(|signature| signature.data.error.as_ref()) {
        Some(error) => match u16::from(*error) {
            16 => format!("the secret of the TSIG key {key} is wrong (BADSIG)"),
            17 => format!("it does not know the TSIG key {key} with this algorithm (BADKEY)"),
            18 => "the clocks differ by more than five minutes (BADTIME)".to_owned(),
            other => format!("{code}, TSIG error {other}"),
        },
        None if code == ResponseCode::Refused => {
            format!("the key {key} may not change this name (REFUSED; update-policy in BIND)")
        }
        None => code.to_string(),
    }
}

fn signer(settings: &Rfc2136Settings) -> Result<TSigner, String> {
    let algorithm = match settings.algorithm {
        TsigAlgorithm::HmacSha256 => Algorithm::HmacSha256,
        TsigAlgorithm::HmacSha384 => Algorithm::HmacSha384,
        TsigAlgorithm::HmacSha512 => Algorithm::HmacSha512,
    };
    let name = dns::name(&settings.key_name)?;
    TSigner::new(secret(&settings.key_file)?, algorithm, name, FUDGE).map_err(|error| error.to_string())
}

/// The secret in a key file. No message shows it.
pub(super) fn secret(file: &Path) -> Result<Vec<u8>, String> {
    let shown = file.display();
    let content = crate::regular_file::read(file, MAX_BYTES).map_err(|error| format!("{shown}: {error}"))?;
    let content = String::from_utf8(content).map_err(|_| format!("{shown} is not text"))?;
    // `tsig-keygen` writes `key "NAME" { algorithm ...; secret "BASE64"; };`.
    let base64 = match content.split_once("secret") {
        Some((_, rest)) => rest.split(['"', ';']).map(str::trim).find(|part| !part.is_empty()),
        None => Some(content.trim()),
    };
    let secret = base64.and_then(|base64| BASE64_STANDARD.decode(base64).ok()).filter(|key| !key.is_empty());
    secret.ok_or_else(|| {
        format!("{shown} holds neither a secret in base64 nor a key statement, as tsig-keygen writes it")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_stands_alone_or_in_a_key_statement() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("key");
        for text in [
            "c2VjcmV0\n",
            "key \"acme\" {\n\talgorithm hmac-sha256;\n\tsecret \"c2VjcmV0\";\n};\n",
            "key acme { algorithm hmac-sha256; secret c2VjcmV0; };",
        ] {
            fs_err::write(&file, text).expect("written");
            assert_eq!(secret(&file).expect("a secret"), b"secret", "{text}");
        }
        for text in ["", "not base64!", "key acme { secret \"\"; };"] {
            fs_err::write(&file, text).expect("written");
            let error = secret(&file).expect_err("no secret");
            assert!(error.contains("neither") && !error.contains("base64!"), "{error}");
        }
    }
}
