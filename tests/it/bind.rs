//! An address is bound while a filing permits a host on it, and only then.

use std::time::{Duration, Instant};

use crate::support::edge::{APPROVED, Edge, SUSPENDED};
use crate::support::eventually;
use crate::support::probe::is_refused;

/// The promise, counted from the rename.
const FOLLOWING: Duration = Duration::from_millis(250);

#[tokio::test]
async fn ports_open_with_the_first_approval_and_close_with_its_revocation() {
    let edge = Edge::builder().filings("filings: []\n").start().await;
    for address in [edge.https(), edge.http()] {
        assert!(is_refused(address).await, "{address} is open before the first approval");
    }
    assert!(!is_refused(edge.admin()).await);

    edge.replace("filings.yaml", APPROVED);
    let renamed = Instant::now();
    eventually("bound", FOLLOWING, async || {
        (!is_refused(edge.https()).await && !is_refused(edge.http()).await).then_some(())
    })
    .await;
    println!("bound {:?} after the rename", renamed.elapsed());

    edge.replace("filings.yaml", SUSPENDED);
    let renamed = Instant::now();
    eventually("closed", FOLLOWING, async || {
        (is_refused(edge.https()).await && is_refused(edge.http()).await).then_some(())
    })
    .await;
    println!("closed {:?} after the rename", renamed.elapsed());
}
