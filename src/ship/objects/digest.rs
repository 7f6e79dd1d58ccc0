//! Digests of what is stored, read once before it is sent.

use std::io::{self, Read as _};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest as _, Md5};
use sha2::Sha256;

use super::super::sink::Body;
use crate::remote::http::Payload;

/// How much of a file is read at once.
const CHUNK: usize = 256 * 1024;

/// Digests of a body, and its length.
pub(super) struct Digests {
    /// Hexadecimal.
    pub(super) sha256: String,
    /// The same for `x-amz-checksum-sha256`.
    pub(super) sha256_base64: String,
    /// For `content-md5`.
    pub(super) md5_base64: String,
    pub(super) length: u64,
}

impl Digests {
    pub(super) fn of(body: &Body) -> io::Result<Self> {
        let (mut sha256, mut md5, mut length) = (Sha256::new(), Md5::new(), 0);
        let mut take = |bytes: &[u8]| {
            sha256.update(bytes);
            md5.update(bytes);
            length += bytes.len() as u64;
        };
        match body {
            Body::Bytes(bytes) => take(bytes),
            Body::File(path) => {
                let (mut file, mut chunk) = (fs_err::File::open(path)?, vec![0; CHUNK]);
                loop {
                    match file.read(&mut chunk)? {
                        0 => break,
                        read => take(&chunk[..read]),
                    }
                }
            }
        }
        let sha256 = sha256.finalize();
        Ok(Self {
            sha256: sha256.iter().map(|byte| format!("{byte:02x}")).collect(),
            sha256_base64: STANDARD.encode(sha256),
            md5_base64: STANDARD.encode(md5.finalize()),
            length,
        })
    }
}

/// The body to send, of the length that was digested.
pub(super) fn payload(body: &Body, digests: &Digests) -> io::Result<Payload> {
    match body {
        Body::Bytes(bytes) => Ok(Payload::bytes(bytes.clone())),
        Body::File(path) => Ok(Payload::file(std::fs::File::open(path)?, digests.length)),
    }
}
