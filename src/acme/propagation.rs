//! Waits until the servers of a zone show a record, so that the authority is not asked in vain.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::dns;
use super::job::{Failure, Job, TxtRecord};
use super::status::OrderResult;
use crate::upstream::authorities;

/// Clouds take up to a minute, secondary servers their refresh time.
const LONGEST: Duration = Duration::from_secs(300);
/// The first pause between two looks; each is twice the one before it.
const FIRST: Duration = Duration::from_millis(250);
/// The longest pause.
const PAUSE: Duration = Duration::from_secs(10);

/// A server by name, with its addresses.
type Server = (String, Vec<SocketAddr>);

/// Waits until every server that answers has every record. At least one of each zone must answer.
pub(super) async fn wait(job: &Job, records: &[TxtRecord]) -> Result<(), Failure> {
    let mut expected: BTreeMap<String, Vec<&[u8]>> = BTreeMap::new();
    for record in records {
        expected.entry(record.name.clone()).or_default().push(record.value.as_bytes());
    }
    let end = Instant::now() + LONGEST;
    let mut pause = FIRST;
    loop {
        let Err(missing) = look(job, &expected).await else { return Ok(()) };
        if Instant::now() + pause > end {
            let message = format!("{missing}, {} s after it was set", LONGEST.as_secs());
            return Err(Failure::new(OrderResult::NotPropagated, message));
        }
        tracing::debug!(site = &*job.wanted.site, missing, "waiting for the DNS");
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE);
    }
}

/// The first record that is missing is the error.
async fn look(job: &Job, expected: &BTreeMap<String, Vec<&[u8]>>) -> Result<(), String> {
    for (name, values) in expected {
        let mut silent = Vec::new();
        let mut answered = false;
        for (server, addresses) in servers(job, name).await? {
            match first_answer(name, &addresses).await {
                Err(error) => silent.push(error),
                Ok(found) if values.iter().all(|value| found.iter().any(|known| known == value)) => {
                    answered = true;
                }
                Ok(_) => return Err(format!("{server} does not show the TXT record {name}")),
            }
        }
        if !answered {
            return Err(format!("no server of {name} answers: {}", silent.join(", ")));
        }
    }
    Ok(())
}

/// The servers to ask about `name`: the provider's own, or those of its zone.
pub(super) async fn servers(job: &Job, name: &str) -> Result<Vec<Server>, String> {
    match job.wanted.provider.server() {
        Some(server) => Ok(vec![(server.to_string(), dns::addresses(server).await?)]),
        None => authorities::of(name, &job.wanted.name_servers).await,
    }
}

async fn first_answer(name: &str, addresses: &[SocketAddr]) -> Result<Vec<Vec<u8>>, String> {
    let name = dns::name(name)?;
    let mut last = "it has no address".to_owned();
    for address in addresses {
        match dns::txt(*address, &name).await {
            Ok(found) => return Ok(found),
            Err(error) => last = error,
        }
    }
    Err(last)
}
