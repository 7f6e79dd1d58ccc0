//! Tencent Cloud DNSPod: dnspod 2021-03-23, signed by TC3-HMAC-SHA256. Each value is a record of its own.

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::{Value, json};

use super::service::{CloudError, DnsApi, NameInZone, Service};
use super::sign::{Signed, tc3};
use crate::acme::job::TxtRecord;
use crate::remote::signing::insert;

const VERSION: &str = "2021-03-23";
const SERVICE: &str = "dnspod";
/// The most records in one answer. One name has no more.
const PAGE: u32 = 3000;
/// What the API answers for a zone that the account does not have.
const NO_ZONE: [&str; 5] = [
    "InvalidParameterValue.DomainNotExists",
    "InvalidParameter.DomainInvalid",
    "InvalidParameter.DomainIdInvalid",
    "FailedOperation.NotDomainOwner",
    "OperationDenied.NoPermissionToOperateDomain",
];

pub(super) struct Dnspod(pub(super) Service);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Envelope {
    response: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ErrorAnswer {
    error: ErrorBody,
}

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
    record_list: Vec<Entry>,
}

/// A record.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Entry {
    record_id: u64,
    name: String,
    value: String,
}

impl Dnspod {
    async fn call<T: DeserializeOwned>(&mut self, action: &str, body: Value) -> Result<T, CloudError> {
        let keys = self.0.keys().await?;
        let body = body.to_string();
        let mut headers = self.0.headers()?;
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        insert(&mut headers, "x-tc-action", action, "the action")?;
        insert(&mut headers, "x-tc-version", VERSION, "the version")?;
        let signed = Signed { method: "POST", path: "/", query: &[], body: body.as_bytes() };
        tc3(&keys, SERVICE, signed, &mut headers, self.0.clock.now())?;
        let answer = self.0.send(Method::POST, "/", headers, body.into()).await?;
        let malformed = || self.0.malformed(&answer);
        let Envelope { response } = serde_json::from_slice(&answer.body).map_err(|_| malformed())?;
        // The status is 200 whatever happens.
        if let Ok(ErrorAnswer { error }) = ErrorAnswer::deserialize(&response) {
            return Err(self.0.refused(&error.code, &error.message, &keys));
        }
        T::deserialize(response).map_err(|_| malformed())
    }
}

impl DnsApi for Dnspod {
    type Found = Vec<Entry>;

    const FORBIDDEN: &'static [&'static str] =
        &["UnauthorizedOperation", "AuthFailure.UnauthorizedOperation"];

    async fn find(&mut self, at: NameInZone<'_>) -> Result<Option<Vec<Entry>>, CloudError> {
        let body = json!({
            "Domain": at.zone, "Subdomain": at.relative(), "RecordType": "TXT", "Limit": PAGE,
        });
        match self.call::<Listing>("DescribeRecordList", body).await {
            Ok(mut listing) => {
                listing.record_list.retain(|entry| entry.name == at.relative());
                Ok(Some(listing.record_list))
            }
            Err(CloudError::Refused { code, .. }) if code == "ResourceNotFound.NoDataOfRecord" => {
                Ok(Some(Vec::new()))
            }
            Err(CloudError::Refused { code, .. }) if NO_ZONE.contains(&code.as_str()) => Ok(None),
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
        // The line's id counts; its name is required, and means the default one.
        let body = json!({
            "Domain": at.zone, "SubDomain": at.relative(), "RecordType": "TXT", "RecordLine": "默认",
            "RecordLineId": "0", "Value": record.value,
        });
        match self.call::<IgnoredAny>("CreateRecord", body).await {
            Err(CloudError::Refused { code, .. }) if code == "InvalidParameter.DomainRecordExist" => Ok(()),
            added => added.map(drop),
        }
    }

    async fn remove(
        &mut self,
        found: Vec<Entry>,
        at: NameInZone<'_>,
        record: &TxtRecord,
    ) -> Result<(), CloudError> {
        for entry in found.iter().filter(|entry| entry.value == record.value) {
            let body = json!({"Domain": at.zone, "RecordId": entry.record_id});
            match self.call::<IgnoredAny>("DeleteRecord", body).await {
                // Somebody else has deleted it meanwhile.
                Err(CloudError::Refused { code, .. })
                    if ["InvalidParameter.RecordIdInvalid", "ResourceNotFound.NoDataOfRecord"]
                        .contains(&code.as_str()) => {}
                removed => removed.map(drop)?,
            }
        }
        Ok(())
    }
}
