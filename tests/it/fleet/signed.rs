//! A signed allowlist: made by minisign itself, with a serial that never falls.

use std::path::Path;

use super::{REJECTED, Source, builder};
use crate::support::edge::{APPROVED, Edge, SUSPENDED, run};

/// A key pair of minisign, without a password.
struct Signer {
    folder: tempfile::TempDir,
}

impl Signer {
    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (public, secret) = (folder.path().join("key.pub"), folder.path().join("key.sec"));
        minisign(&["-G", "-f", "-W", "-p", text(&public), "-s", text(&secret)]).await;
        Self { folder }
    }

    fn public(&self) -> Vec<u8> {
        fs_err::read(self.folder.path().join("key.pub")).expect("the public key")
    }

    /// The signature of `allowlist` with this trusted comment.
    async fn sign(&self, allowlist: &str, comment: &str, more: &[&str]) -> Vec<u8> {
        let path = |name: &str| self.folder.path().join(name);
        let (file, signature, secret) = (path("filings.yaml"), path("filings.yaml.minisig"), path("key.sec"));
        fs_err::write(&file, allowlist).expect("written");
        let mut words =
            vec!["-S", "-s", text(&secret), "-m", text(&file), "-x", text(&signature), "-t", comment];
        words.extend(more);
        minisign(&words).await;
        fs_err::read(signature).expect("the signature")
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

async fn minisign(words: &[&str]) {
    let ran = run("minisign", words).await;
    assert_eq!(ran.code, 0, "{ran:?}");
}

/// An edge that demands signatures of `signer`, and its source with the serial 5.
async fn edge(signer: &Signer) -> (Source, Edge) {
    let source = Source::start(APPROVED).await;
    let signature = signer.sign(APPROVED, "serial:5", &[]).await;
    source.change(|held| held.signature = Some(signature));
    let folder = builder(&source.filings(", public_key: filings.pub")).write();
    folder.overwrite("filings.pub", signer.public());
    (source, folder.start().await)
}

#[tokio::test]
async fn only_what_is_signed_by_the_key_with_a_serial_that_does_not_fall_is_taken() {
    let (signer, stranger) = (Signer::new().await, Signer::new().await);
    let (source, edge) = edge(&signer).await;
    edge.ports_open().await;
    let serial = async || edge.status().await["filings_source"]["serial"].as_u64();
    assert_eq!(serial().await, Some(5));

    let another = SUSPENDED.replace("号-1", "号-2");
    let cases: [(&str, Option<Vec<u8>>, &str); 7] = [
        (SUSPENDED, None, "it is not signed"),
        (SUSPENDED, Some(stranger.sign(SUSPENDED, "serial:6", &[]).await), "does not fit"),
        (SUSPENDED, Some(signer.sign(&another, "serial:6", &[]).await), "does not fit"),
        (SUSPENDED, Some(signer.sign(SUSPENDED, "serial:4", &[]).await), "it is rolled back"),
        (
            SUSPENDED,
            Some(signer.sign(SUSPENDED, "serial:5", &[]).await),
            "another allowlist with the serial 5",
        ),
        (SUSPENDED, Some(signer.sign(SUSPENDED, "made by hand", &[]).await), "holds no serial"),
        (SUSPENDED, Some(b"nonsense".to_vec()), "the signature is malformed"),
    ];
    let mut rejected = 0.0;
    for (allowlist, signature, reason) in cases {
        source.change(|held| {
            held.allowlist = allowlist.into();
            held.signature = signature;
        });
        rejected += 1.0;
        edge.metric_becomes(REJECTED, rejected).await;
        edge.logged(reason).await;
        assert_eq!(edge.get("/readyz").await.expect("an answer").0, 200, "{reason}");
    }

    let signature = signer.sign(SUSPENDED, "serial:6", &[]).await;
    source.change(|held| held.signature = Some(signature));
    edge.ports_closed().await;
    assert_eq!(serial().await, Some(6));
    // The older format signs the content itself rather than its hash.
    let signature = signer.sign(APPROVED, "serial:7", &["-l"]).await;
    source.change(|held| {
        held.allowlist = APPROVED.into();
        held.signature = Some(signature);
    });
    edge.ports_open().await;
}

#[tokio::test]
async fn a_serial_does_not_fall_over_a_restart() {
    let signer = Signer::new().await;
    let (source, mut edge) = edge(&signer).await;
    edge.ports_open().await;
    edge.signal(rustix::process::Signal::TERM);
    edge.wait_exit().await;
    let signature = signer.sign(SUSPENDED, "serial:4", &[]).await;
    source.change(|held| {
        held.allowlist = SUSPENDED.into();
        held.signature = Some(signature);
    });
    edge.restart().await;
    edge.logged("it is rolled back: its serial is 4, and 5 was in force").await;
    edge.ports_open().await;
}

#[tokio::test]
async fn a_copy_that_another_key_has_verified_is_not_used() {
    let (signer, next) = (Signer::new().await, Signer::new().await);
    let (mut source, mut edge) = edge(&signer).await;
    edge.ports_open().await;
    edge.signal(rustix::process::Signal::TERM);
    edge.wait_exit().await;
    source.server.stop().await;
    edge.overwrite("filings.pub", next.public());
    edge.restart().await;
    edge.logged("the key in use has not verified it").await;
    edge.ports_closed().await;
    let signature = next.sign(APPROVED, "serial:1", &[]).await;
    source.change(|held| held.signature = Some(signature));
    source.server.up();
    edge.ports_open().await;
}
