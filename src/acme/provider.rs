//! Sets and removes TXT records as the site's provider is asked to.

use super::job::{Change, Failure, Job, TxtRecord};
use super::{cloud, exec, rfc2136};
use crate::config::acme::DnsProvider;

/// Sets or removes a record.
pub(super) async fn change(job: &Job, change: Change, record: &TxtRecord) -> Result<(), Failure> {
    let changed = match &*job.wanted.provider {
        DnsProvider::Rfc2136(settings) => rfc2136::update(settings, change, record, job.clock.now()).await,
        DnsProvider::Exec(settings) => exec::run(settings, change, record).await,
        DnsProvider::Cloud(settings) => {
            // Two sites may change one record set, which Huawei replaces as a whole.
            let _turn = job.cloud_turn.lock().await;
            cloud::change::change(settings, change, record, &job.clock).await
        }
    };
    changed.map_err(|error| Failure::dns(format_args!("{}: {error}", job.wanted.provider.name())))
}
