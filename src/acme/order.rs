//! One order, from the names to the certificate in the store.
//!
//! The order's URL and the certificate's key are kept until the certificate is there, so that a restart goes on with
//! the same order.

use std::time::Duration;

use instant_acme::{
    Account, AuthorizationStatus, CertificateIdentifier, ChallengeType, Error, Identifier, NewOrder, Order,
    OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use serde::{Deserialize, Serialize};

use super::authority::failed;
use super::job::{Change, Failure, Job, TxtRecord};
use super::status::OrderResult;
use super::{alias, files, propagation, provider};
use crate::remote::foreign_text::shown;
use crate::tls::issued::Issued;

/// How long the authority may take to look at the DNS, or to sign.
const POLL: RetryPolicy = RetryPolicy::new().timeout(Duration::from_secs(180));

/// An order that is not done.
#[derive(Deserialize, Serialize)]
struct Pending {
    directory: String,
    names: Vec<String>,
    url: String,
    /// The key of the certificate, in PEM.
    key: String,
}

/// Orders a certificate and writes it into the store. `replaces` is the certificate that it renews, where the authority
/// wants to know (RFC 9773).
pub(super) async fn order(job: &Job, account: &Account, replaces: Option<&Issued>) -> Result<(), Failure> {
    let wanted = &job.wanted;
    let kept = files::pending_order(wanted);
    let (mut order, key) = match resume(job, account).await? {
        Some(resumed) => resumed,
        None => begin(job, account, replaces).await?,
    };
    match drive(job, &mut order, &key).await {
        Ok(chain) => {
            let key = key.serialize_pem();
            files::write(&wanted.file, format!("{}\n{}\n", key.trim_end(), chain.trim()).as_bytes())?;
            files::remove(&kept);
            Ok(())
        }
        Err(failure) => {
            // A refused order is over; any other goes on from where it stopped.
            if failure.result == OrderResult::CaRefused {
                files::remove(&kept);
            }
            Err(failure)
        }
    }
}

/// The order that an earlier attempt left, if it is for the same names and the authority still knows it.
async fn resume(job: &Job, account: &Account) -> Result<Option<(Order, KeyPair)>, Failure> {
    let wanted = &job.wanted;
    let file = files::pending_order(wanted);
    let Some(content) = files::read(&file)? else { return Ok(None) };
    let pending: Option<Pending> = serde_json::from_slice(&content).ok();
    let same =
        |pending: &Pending| pending.directory == wanted.settings.directory && pending.names == wanted.names();
    if let Some(pending) = pending.filter(same)
        && let Ok(key) = KeyPair::from_pem(&pending.key)
    {
        match account.order(pending.url).await {
            Ok(mut order) => {
                if order.state().status != OrderStatus::Invalid {
                    tracing::info!(site = &*wanted.site, "going on with the order of the certificate");
                    return Ok(Some((order, key)));
                }
            }
            // The authority knows it no more.
            Err(Error::Api(_)) => {}
            Err(error) => return Err(failed(error)),
        }
    }
    files::remove(&file);
    Ok(None)
}

async fn begin(job: &Job, account: &Account, replaces: Option<&Issued>) -> Result<(Order, KeyPair), Failure> {
    let wanted = &job.wanted;
    let names = wanted.names();
    let identifiers: Vec<_> = names.iter().cloned().map(Identifier::Dns).collect();
    let new = || NewOrder::new(&identifiers);
    let order = match replaces.and_then(identifier) {
        None => account.new_order(&new()).await,
        Some(replaced) => match account.new_order(&new().replaces(replaced)).await {
            // The authority may have seen a successor already, of which this machine knows nothing, or may not confirm
            // what is replaced (RFC 9773, 5), which the library refuses.
            Err(_) => account.new_order(&new()).await,
            order => order,
        },
    };
    let order = order.map_err(failed)?;
    let key = KeyPair::generate().map_err(Failure::store)?;
    let pending = Pending {
        directory: wanted.settings.directory.clone(),
        names,
        url: order.url().to_owned(),
        key: key.serialize_pem(),
    };
    files::write(&files::pending_order(wanted), &serde_json::to_vec(&pending).map_err(Failure::store)?)?;
    Ok((order, key))
}

/// How the authority names a certificate in its renewal information.
pub(super) fn identifier(issued: &Issued) -> Option<CertificateIdentifier<'static>> {
    let authority = issued.authority_key.as_deref()?;
    Some(CertificateIdentifier::new(authority.into(), issued.serial.as_slice().into()).into_owned())
}

/// Takes an order to its end. Returns the chain in PEM.
async fn drive(job: &Job, order: &mut Order, key: &KeyPair) -> Result<String, Failure> {
    if order.state().status == OrderStatus::Pending {
        let mut records = Vec::new();
        let proved = prove(job, order, &mut records).await;
        for record in &records {
            if let Err(failure) = provider::change(job, Change::Cleanup, record).await {
                tracing::warn!(site = &*job.wanted.site, record = record.name, %failure, "the TXT record stays");
            }
        }
        proved?;
    }
    if order.state().status == OrderStatus::Ready {
        let request = signing_request(&job.wanted.names(), key).map_err(Failure::store)?;
        order.finalize_csr(&request).await.map_err(failed)?;
    }
    order.poll_certificate(&POLL).await.map_err(failed)
}

fn signing_request(names: &[String], key: &KeyPair) -> Result<Vec<u8>, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = DistinguishedName::new();
    Ok(params.serialize_request(key)?.der().to_vec())
}

/// Proves control of every name. `records` gets each TXT record that may have been set.
async fn prove(job: &Job, order: &mut Order, records: &mut Vec<TxtRecord>) -> Result<(), Failure> {
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.map_err(failed)?;
        if authorization.status != AuthorizationStatus::Pending {
            continue;
        }
        let domain = match authorization.identifier().identifier {
            Identifier::Dns(name) => name.clone(),
            other => {
                let message = format!("the authority asks about {other:?}, which was not ordered");
                return Err(Failure::new(OrderResult::CaRefused, message));
            }
        };
        let Some(challenge) = authorization.challenge(ChallengeType::Dns01) else {
            let message = format!("the authority offers no dns-01 challenge for {domain}");
            return Err(Failure::new(OrderResult::CaRefused, message));
        };
        let name = alias::proof_name(job, &domain).await;
        let record = TxtRecord { name, value: challenge.key_authorization().dns_value() };
        // Before it is set: a change that failed may have been made.
        records.push(record.clone());
        provider::change(job, Change::Present, &record).await?;
    }
    propagation::wait(job, records).await?;
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.map_err(failed)?;
        if authorization.status == AuthorizationStatus::Pending
            && let Some(mut challenge) = authorization.challenge(ChallengeType::Dns01)
        {
            challenge.set_ready().await.map_err(failed)?;
        }
    }
    match order.poll_ready(&POLL).await {
        Ok(OrderStatus::Ready | OrderStatus::Valid) => Ok(()),
        Ok(_) => Err(refused(order, "the authority did not accept the proof").await),
        Err(Error::Api(problem)) => Err(refused(order, &problem.to_string()).await),
        Err(error) => Err(failed(error)),
    }
}

/// What the authority says of each name that it did not accept.
async fn refused(order: &mut Order, message: &str) -> Failure {
    let mut message = shown(message.as_bytes());
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let Ok(state) = authorization.refresh().await else { continue };
        let name = state.identifier().to_string();
        for problem in state.challenges.iter().filter_map(|challenge| challenge.error.as_ref()) {
            message = format!("{message}; {name}: {}", shown(problem.to_string().as_bytes()));
        }
    }
    Failure::new(OrderResult::CaRefused, message)
}
