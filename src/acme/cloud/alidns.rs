//! Alibaba Cloud DNS: Alidns 2015-01-09, signed by ACS3-HMAC-SHA256. Each value is a record of its own.

use bytes::Bytes;
use http::Method;
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use super::service::{CloudError, DnsApi, NameInZone, Service};
use super::sign::{Signed, acs3};
use crate::acme::job::TxtRecord;
use crate::remote::signing::{canonical_query, insert};

const VERSION: &str = "2015-01-09";
/// The most records in one answer. One name has no more.
const PAGE: &str = "500";

pub(super) struct Alidns(pub(super) Service);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ErrorBody {
    code: String,
    #[serde(default)]
    message: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listing {
    domain_records: Records,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Records {
    record: Vec<Entry>,
}

/// A TXT record.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Entry {
    record_id: String,
    value: String,
}

impl Alidns {
    async fn call<T: DeserializeOwned>(
        &mut self,
        action: &str,
        query: &[(&str, &str)],
    ) -> Result<T, CloudError> {
        let keys = self.0.keys().await?;
        let mut headers = self.0.headers()?;
        insert(&mut headers, "x-acs-action", action, "the action")?;
        insert(&mut headers, "x-acs-version", VERSION, "the version")?;
        let signed = Signed { method: "POST", path: "/", query, body: b"" };
        let nonce = format!("{:032x}", fastrand::u128(..));
        acs3(&keys, signed, &mut headers, (self.0.clock.now(), &nonce))?;
        let target = format!("/?{}", canonical_query(query, "="));
        let answer = self.0.send(Method::POST, &target, headers, Bytes::new()).await?;
        if answer.status.is_success() {
            return serde_json::from_slice(&answer.body).map_err(|_| self.0.malformed(&answer));
        }
        match serde_json::from_slice(&answer.body) {
            Ok(ErrorBody { code, message }) => Err(self.0.refused(&code, &message, &keys)),
            Err(_) => Err(self.0.malformed(&answer)),
        }
    }
}

impl DnsApi for Alidns {
    type Found = Vec<Entry>;

    const FORBIDDEN: &'static [&'static str] = &["Forbidden.RAM", "NoPermission"];

    async fn find(&mut self, at: NameInZone<'_>) -> Result<Option<Vec<Entry>>, CloudError> {
        let query = [("DomainName", at.zone), ("SubDomain", at.name), ("Type", "TXT"), ("PageSize", PAGE)];
        match self.call::<Listing>("DescribeSubDomainRecords", &query).await {
            Ok(listing) => Ok(Some(listing.domain_records.record)),
            Err(CloudError::Refused { code, .. })
                if code.starts_with("InvalidDomainName") || code == "IncorrectDomainUser" =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    async fn add(
        &mut self,
        found: Vec<Entry>,
        at: NameInZone<'_>,
        record: &TxtRecord,
    ) -> Result<(), CloudError> {
        if found.iter().any(|entry| entry.value == record.value) {
            return Ok(());
        }
        let query =
            [("DomainName", at.zone), ("RR", at.relative()), ("Type", "TXT"), ("Value", &*record.value)];
        match self.call::<IgnoredAny>("AddDomainRecord", &query).await {
            Err(CloudError::Refused { code, .. }) if code == "DomainRecordDuplicate" => Ok(()),
            added => added.map(drop),
        }
    }

    async fn remove(
        &mut self,
        found: Vec<Entry>,
        _: NameInZone<'_>,
        record: &TxtRecord,
    ) -> Result<(), CloudError> {
        for entry in found.iter().filter(|entry| entry.value == record.value) {
            match self.call::<IgnoredAny>("DeleteDomainRecord", &[("RecordId", &*entry.record_id)]).await {
                // Somebody else has deleted it meanwhile.
                Err(CloudError::Refused { code, .. }) if code == "DomainRecordNotBelongToUser" => {}
                removed => removed.map(drop)?,
            }
        }
        Ok(())
    }
}
