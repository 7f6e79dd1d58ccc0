//! Reads PEM files as resellers deliver them; says what is wrong with one and how to mend it.
//!
//! A block that cannot be read is an error. If it were skipped, a chain could lose its intermediate unnoticed.

use std::fmt;
use std::path::Path;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// What is wrong with a file, and the command that mends it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fault {
    /// What is wrong.
    pub what: String,
    /// What to do; empty where the message says it.
    pub mend: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if self.mend.is_empty() { Ok(()) } else { write!(f, " ({})", self.mend) }
    }
}

fn fault(what: impl Into<String>, mend: impl Into<String>) -> Fault {
    Fault { what: what.into(), mend: mend.into() }
}

/// The certificates of a chain file. Keys and parameters in it are ignored.
pub(super) fn chain(bytes: &[u8], file: &Path) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let blocks = blocks(bytes, file, &Kind::Chain)?;
    let wanted: Vec<_> = blocks.iter().filter(|block| block.label == "CERTIFICATE").collect();
    if let Some(other) = blocks.iter().find(|block| !is_passed_over(&block.label)) {
        return Err(not_a_certificate(other, file));
    }
    let read: Vec<_> = CertificateDer::pem_slice_iter(bytes).collect();
    for (place, certificate) in read.iter().enumerate() {
        if let Err(error) = certificate {
            let line = wanted.get(place).map_or(0, |block| block.line);
            return Err(fault(
                format!("the certificate that begins on line {line} cannot be read: {}", reason(error)),
                COPY,
            ));
        }
    }
    match read.len() {
        0 => Err(fault("it holds no certificate", "give a file with -----BEGIN CERTIFICATE-----")),
        count if count < wanted.len() => {
            let what = format!("{count} of its {} certificates can be read", wanted.len());
            Err(fault(what, COPY))
        }
        _ => Ok(read.into_iter().flatten().collect()),
    }
}

pub(super) fn key(bytes: &[u8], file: &Path) -> Result<PrivateKeyDer<'static>, Fault> {
    let blocks = blocks(bytes, file, &Kind::Key)?;
    let name = file.display();
    let has = |label: &str| blocks.iter().any(|block| block.label == label);
    let is_key =
        |block: &Block| matches!(&*block.label, "PRIVATE KEY" | "RSA PRIVATE KEY" | "EC PRIVATE KEY");
    let mend = format!("openssl pkey -in {name} -out {name}.plain");
    if has("ENCRYPTED PRIVATE KEY") || memchr::memmem::find(bytes, b"4,ENCRYPTED").is_some() {
        return Err(fault("the private key is encrypted with a passphrase", mend));
    }
    if has("OPENSSH PRIVATE KEY") {
        return Err(fault(
            "the private key is in OpenSSH's format",
            format!("ssh-keygen -p -N '' -m PEM -f {name}"),
        ));
    }
    if has("DSA PRIVATE KEY") {
        return Err(fault(
            "the private key is DSA, which TLS no longer has",
            "have a certificate issued for an RSA or EC key",
        ));
    }
    if !blocks.iter().any(is_key) {
        return Err(match blocks.first() {
            Some(block) if block.label == "CERTIFICATE" => fault(
                "it holds a certificate and no private key",
                "see whether `chain` and `key` are exchanged",
            ),
            Some(block) => fault(format!("it holds a {} and no private key", block.label), mend),
            None => fault("it holds no private key", "give a file with -----BEGIN PRIVATE KEY-----"),
        });
    }
    PrivateKeyDer::from_pem_slice(bytes).map_err(|error| match error {
        pem::Error::NoItemsFound => fault("it holds no private key that can be read", COPY),
        error => fault(format!("the private key cannot be read: {}", reason(&error)), COPY),
    })
}

fn reason(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => "its -----END line is missing".to_owned(),
        pem::Error::Base64Decode(_) => "its text is not Base64".to_owned(),
        error => error.to_string(),
    }
}

const COPY: &str = "copy the file again, from -----BEGIN to -----END, every line of it";

enum Kind {
    Chain,
    Key,
}

struct Block {
    label: String,
    /// Counted from 1.
    line: usize,
}

/// Every block of a PEM file. Each must begin a line.
fn blocks(bytes: &[u8], file: &Path, kind: &Kind) -> Result<Vec<Block>, Fault> {
    let name = file.display();
    match bytes {
        [0xef, 0xbb, 0xbf, ..] => {
            let mend = format!("sed -i '1s/^\\xEF\\xBB\\xBF//' {name}");
            return Err(fault("it begins with a byte order mark, which PEM does not have", mend));
        }
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => {
            let mend = format!("iconv -f UTF-16 -t ASCII {name} > {name}.pem");
            return Err(fault("it is in UTF-16, not in ASCII", mend));
        }
        // An ASN.1 SEQUENCE; in text this byte is a `0`.
        [0x30, ..] if !bytes.is_ascii() => return Err(binary(bytes, file, kind)),
        _ => {}
    }
    const BEGIN: &[u8] = b"-----BEGIN ";
    let mut blocks = Vec::new();
    for at in memchr::memmem::find_iter(bytes, BEGIN) {
        let line = 1 + memchr::memchr_iter(b'\n', &bytes[..at]).count();
        if at > 0 && bytes[at - 1] != b'\n' && bytes[at - 1] != b'\r' {
            let what =
                format!("-----BEGIN does not begin line {line}: two files were joined without a line break");
            let mend = format!(
                "sed -i 's/-----\\s*-----BEGIN/-----\\n-----BEGIN/g; s/^\\s*-----BEGIN/-----BEGIN/' {name}"
            );
            return Err(fault(what, mend));
        }
        let rest = &bytes[at + BEGIN.len()..];
        let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(rest.len());
        let label = String::from_utf8_lossy(&rest[..end]);
        let Some(label) = label.trim_end().strip_suffix("-----") else {
            let what = format!("the -----BEGIN of line {line} does not end in -----");
            return Err(fault(what, COPY));
        };
        blocks.push(Block { label: label.to_owned(), line });
    }
    Ok(blocks)
}

/// The format of a binary file, by its first bytes.
fn binary(bytes: &[u8], file: &Path, kind: &Kind) -> Fault {
    let name = file.display();
    // After the DER length: one byte up to 127; above, that byte's low bits count the length bytes that follow.
    let inner = match bytes {
        [_, 0x82, _, _, inner @ ..] | [_, 0x81, _, inner @ ..] | [_, _, inner @ ..] => inner,
        _ => &[],
    };
    let (what, mend) = match (inner, kind) {
        // PFX begins with its version, 3 (RFC 7292).
        ([2, 1, 3, ..], Kind::Chain) => {
            ("PKCS#12 (.pfx)", format!("openssl pkcs12 -in {name} -nokeys -out {name}.pem"))
        }
        ([2, 1, 3, ..], Kind::Key) => {
            ("PKCS#12 (.pfx)", format!("openssl pkcs12 -in {name} -nocerts -nodes -out {name}.pem"))
        }
        // signedData (RFC 5652).
        ([6, 9, ..], _) => {
            ("PKCS#7 (.p7b)", format!("openssl pkcs7 -inform DER -in {name} -print_certs -out {name}.pem"))
        }
        (_, Kind::Chain) => ("DER", format!("openssl x509 -inform DER -in {name} -out {name}.pem")),
        (_, Kind::Key) => ("DER", format!("openssl pkey -inform DER -in {name} -out {name}.pem")),
    };
    fault(format!("it is {what}, not PEM"), mend)
}

/// Blocks that may be in a chain file: some programs want the key in the same file.
fn is_passed_over(label: &str) -> bool {
    label == "CERTIFICATE" || label.ends_with("PRIVATE KEY") || label.ends_with("PARAMETERS")
}

fn not_a_certificate(block: &Block, file: &Path) -> Fault {
    let name = file.display();
    let Block { label, line } = block;
    let what = format!("line {line} begins a {label}, which is not served");
    match &**label {
        "TRUSTED CERTIFICATE" | "X509 CERTIFICATE" => {
            fault(what, format!("openssl x509 -in {name} -out {name}.plain, for each of its certificates"))
        }
        "PKCS7" | "CMS" => fault(what, format!("openssl pkcs7 -in {name} -print_certs -out {name}.pem")),
        "CERTIFICATE REQUEST" | "NEW CERTIFICATE REQUEST" => {
            fault(what, "give the certificate that was issued for this request")
        }
        _ => fault(what, "remove this block"),
    }
}
