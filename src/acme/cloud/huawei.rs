//! Huawei Cloud DNS v2, signed by SDK-HMAC-SHA256.
//!
//! All values under a name are one record set, which a change replaces as a whole. After each change the set is read
//! again, since another machine may have replaced it at the same time.

use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method};
use serde::Deserialize;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::service::{CloudError, DnsApi, NameInZone, Service};
use super::sign::{Signed, sdk};
use crate::acme::job::TxtRecord;
use crate::remote::signing::canonical_query;

/// How often a change is tried that another one undoes.
const ROUNDS: u32 = 4;
/// How often a set is looked at that the service still works on, and the pause between two looks: a minute together.
const LOOKS: u32 = 60;
const PAUSE: Duration = Duration::from_secs(1);
/// The lifetime of the records, in seconds: the service's own default.
const LIFETIME: u32 = 300;

pub(super) struct Huawei(pub(super) Service);

/// The id of a zone.
pub(super) struct ZoneId(String);

#[derive(Deserialize)]
struct Zones {
    zones: Vec<Zone>,
}

#[derive(Deserialize)]
struct Zone {
    id: String,
    name: String,
}

#[derive(Deserialize)]
struct Sets {
    recordsets: Vec<RecordSet>,
}

#[derive(Deserialize)]
struct RecordSet {
    id: String,
    name: String,
    #[serde(rename = "type")]
    kind: String,
    /// In quotation marks.
    records: Vec<String>,
    status: String,
}

/// The service has `code` and `message`, the gateway before it `error_code` and `error_msg`.
#[derive(Deserialize)]
struct ErrorBody {
    #[serde(alias = "error_code")]
    code: String,
    #[serde(alias = "error_msg", default)]
    message: String,
}

impl Huawei {
    async fn call<T: DeserializeOwned>(
        &mut self,
        method: Method,
        path: &str,
        query: &[(&str, &str)],
        body: Option<Value>,
    ) -> Result<T, CloudError> {
        let keys = self.0.keys().await?;
        let mut headers = self.0.headers()?;
        if body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let body = body.map(|body| Bytes::from(body.to_string())).unwrap_or_default();
        let signed = Signed { method: method.as_str(), path, query, body: &body };
        sdk(&keys, signed, &mut headers, self.0.clock.now())?;
        let target = match canonical_query(query, "=") {
            none if none.is_empty() => path.to_owned(),
            query => format!("{path}?{query}"),
        };
        let answer = self.0.send(method, &target, headers, body).await?;
        if answer.status.is_success() {
            // A deletion may be answered without a body.
            let body: &[u8] = if answer.body.is_empty() { b"null" } else { &answer.body };
            return serde_json::from_slice(body).map_err(|_| self.0.malformed(&answer));
        }
        match serde_json::from_slice(&answer.body) {
            Ok(ErrorBody { code, message }) => Err(self.0.refused(&code, &message, &keys)),
            Err(_) => Err(self.0.malformed(&answer)),
        }
    }

    /// The record set of the name, once the service is done with earlier changes of it.
    async fn settled(&mut self, zone: &ZoneId, name: &str) -> Result<Option<RecordSet>, CloudError> {
        let path = format!("/v2/zones/{}/recordsets", zone.0);
        let query = [("name", name), ("type", "TXT"), ("search_mode", "equal")];
        for _ in 0..LOOKS {
            let Sets { recordsets } = self.call(Method::GET, &path, &query, None).await?;
            let is_it = |set: &RecordSet| set.kind == "TXT" && set.name.trim_end_matches('.') == name;
            match recordsets.into_iter().find(is_it) {
                Some(set) if set.status.starts_with("PENDING") => sleep(PAUSE).await,
                set => return Ok(set),
            }
        }
        let seconds = PAUSE.as_secs() * u64::from(LOOKS);
        Err(CloudError::Impossible(format!("the service works on the record set of {name} for {seconds} s")))
    }

    /// Changes the set until `value` is in it, or is not.
    async fn change(
        &mut self,
        zone: &ZoneId,
        name: &str,
        value: &str,
        present: bool,
    ) -> Result<(), CloudError> {
        let quoted = format!("\"{value}\"");
        let mut refusal = None;
        for _ in 0..ROUNDS {
            let set = self.settled(zone, name).await?;
            if set.as_ref().is_some_and(|set| set.records.contains(&quoted)) == present {
                return Ok(());
            }
            let mut records = set.as_ref().map(|set| set.records.clone()).unwrap_or_default();
            if present {
                records.push(quoted.clone());
            } else {
                records.retain(|record| *record != quoted);
            }
            match self.replace(zone, name, set.map(|set| set.id), &records).await {
                // The set may have been created, changed or deleted since it was read.
                Err(CloudError::Refused { code, message }) => {
                    refusal = Some(CloudError::Refused { code, message });
                }
                replaced => replaced?,
            }
        }
        let others =
            || CloudError::Impossible(format!("others change the records of {name} at the same time"));
        Err(refusal.unwrap_or_else(others))
    }

    /// Gives the set these records; without records there is no set.
    async fn replace(
        &mut self,
        zone: &ZoneId,
        name: &str,
        id: Option<String>,
        records: &[String],
    ) -> Result<(), CloudError> {
        let sets = format!("/v2/zones/{}/recordsets", zone.0);
        let body = json!({"name": format!("{name}."), "type": "TXT", "ttl": LIFETIME, "records": records});
        let (method, path, body) = match id {
            None => (Method::POST, sets, Some(body)),
            Some(id) if records.is_empty() => (Method::DELETE, format!("{sets}/{id}"), None),
            Some(id) => (Method::PUT, format!("{sets}/{id}"), Some(body)),
        };
        self.call::<IgnoredAny>(method, &path, &[], body).await.map(drop)
    }
}

impl DnsApi for Huawei {
    type Found = ZoneId;

    const FORBIDDEN: &'static [&'static str] = &[];

    async fn find(&mut self, at: NameInZone<'_>) -> Result<Option<ZoneId>, CloudError> {
        let query = [("type", "public"), ("name", at.zone), ("search_mode", "equal")];
        let Zones { zones } = self.call(Method::GET, "/v2/zones", &query, None).await?;
        let zone = zones.into_iter().find(|zone| zone.name.trim_end_matches('.') == at.zone);
        Ok(zone.map(|zone| ZoneId(zone.id)))
    }

    async fn add(&mut self, zone: ZoneId, at: NameInZone<'_>, record: &TxtRecord) -> Result<(), CloudError> {
        self.change(&zone, at.name, &record.value, true).await
    }

    async fn remove(
        &mut self,
        zone: ZoneId,
        at: NameInZone<'_>,
        record: &TxtRecord,
    ) -> Result<(), CloudError> {
        self.change(&zone, at.name, &record.value, false).await
    }
}
