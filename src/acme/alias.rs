//! Where the proof of a name stands: at `_acme-challenge` below it (RFC 8555, 8.4), or where a CNAME there leads.
//!
//! So one zone, which icpgate may change, can hold the proofs of many others.

use super::dns;
use super::job::Job;
use super::propagation::servers;

/// CNAMEs that are followed. Authorities follow about as many.
const HOPS: usize = 8;

/// The name of the TXT record that proves control of `domain`. A CNAME that cannot be asked for counts as none: if it is
/// there all the same, the record is not found later, and that is reported.
pub(super) async fn proof_name(job: &Job, domain: &str) -> String {
    let mut name = format!("_acme-challenge.{domain}");
    for _ in 0..HOPS {
        match next(job, &name).await {
            Ok(Some(target)) if target != name => name = target,
            Ok(_) => break,
            Err(error) => {
                tracing::debug!(
                    site = &*job.wanted.site,
                    name,
                    error,
                    "it is not known whether this is a CNAME"
                );
                break;
            }
        }
    }
    name
}

/// What the first server that answers says of a CNAME at `name`.
async fn next(job: &Job, name: &str) -> Result<Option<String>, String> {
    let asked = dns::name(name)?;
    let mut last = format!("{name} has no name server");
    for (_, addresses) in servers(job, name).await? {
        for address in addresses {
            match dns::alias(address, &asked).await {
                Ok(target) => return Ok(target),
                Err(error) => last = error,
            }
        }
    }
    Err(last)
}
