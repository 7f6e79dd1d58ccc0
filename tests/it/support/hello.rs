//! ClientHellos as bytes: from rustls, and odd ones built by hand.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::pki;

/// The `encrypted_server_name` extension of the abandoned ESNI draft.
pub(crate) const ESNI: u16 = 0xffce;
/// The `encrypted_client_hello` extension, which browsers also send as GREASE.
pub(crate) const ECH: u16 = 0xfe0d;
/// The `server_name` extension (RFC 6066, 3).
pub(crate) const SERVER_NAME: u16 = 0;

/// The ClientHello of a rustls client for `server_name`: one record.
pub(crate) fn client_hello(server_name: &str) -> Vec<u8> {
    let mut config = ClientConfig::builder_with_provider(pki::provider())
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let name = ServerName::try_from(server_name.to_owned()).expect("a name");
    let mut client = ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).expect("into memory");
    bytes
}

/// The handshake message within the records of `hello`.
pub(crate) fn message(hello: &[u8]) -> Vec<u8> {
    let mut message = Vec::new();
    let mut rest = hello;
    while let [22, _, _, high, low, after @ ..] = rest {
        let (fragment, next) = after.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        message.extend_from_slice(fragment);
        rest = next;
    }
    message
}

/// `message` in records of at most `fragment` bytes each.
pub(crate) fn records(message: &[u8], fragment: usize) -> Vec<Vec<u8>> {
    message.chunks(fragment).map(record).collect()
}

fn record(fragment: &[u8]) -> Vec<u8> {
    let length = u16::try_from(fragment.len()).expect("a record's length");
    [&[22, 3, 1], &length.to_be_bytes()[..], fragment].concat()
}

/// A ClientHello with arbitrary extensions.
#[derive(Clone, Debug)]
pub(crate) struct Handmade {
    extensions: Vec<(u16, Vec<u8>)>,
}

impl Handmade {
    /// TLS 1.3 and 1.2 without a server name.
    pub(crate) fn new() -> Self {
        // X25519 with a key share (any 32 bytes), and signature algorithms for ECDSA and RSA.
        let share = [&[0, 36, 0, 29, 0, 32], &[9; 32][..]].concat();
        Self {
            extensions: vec![
                (10, vec![0, 2, 0, 29]),
                (13, vec![0, 6, 4, 3, 8, 4, 4, 1]),
                (43, vec![4, 3, 4, 3, 3]),
                (51, share),
            ],
        }
    }

    /// TLS 1.3 and 1.2 with the server name `name`, valid or not.
    pub(crate) fn named(name: impl AsRef<[u8]>) -> Self {
        Self::new().server_names(&[name.as_ref()])
    }

    /// Adds an extension.
    pub(crate) fn extension(mut self, kind: u16, body: &[u8]) -> Self {
        self.extensions.push((kind, body.to_vec()));
        self
    }

    /// Adds a `server_name` extension with this list.
    pub(crate) fn server_names(self, names: &[&[u8]]) -> Self {
        let list: Vec<u8> = names.iter().flat_map(|name| [&[0], &sized(name)[..]].concat()).collect();
        self.extension(SERVER_NAME, &sized(&list))
    }

    /// The handshake message.
    pub(crate) fn message(&self) -> Vec<u8> {
        let extensions: Vec<u8> = self
            .extensions
            .iter()
            .flat_map(|(kind, body)| [&kind.to_be_bytes()[..], &sized(body)].concat())
            .collect();
        let body = [
            // Version, random, no session id, two cipher suites each of TLS 1.3 and 1.2, no compression.
            &[3, 3][..],
            &[7; 32],
            &[0],
            &[0, 8, 0x13, 1, 0x13, 2, 0xc0, 0x2b, 0xc0, 0x2f],
            &[1, 0],
            &sized(&extensions),
        ]
        .concat();
        let length = u32::try_from(body.len()).expect("a message's length").to_be_bytes();
        [&[1], &length[1..], &body].concat()
    }

    /// The message in as few records as possible.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        records(&self.message(), 1 << 14).concat()
    }
}

/// `bytes` after their length in two bytes.
fn sized(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("a length of two bytes");
    [&length.to_be_bytes()[..], bytes].concat()
}
