//! Sets or removes one TXT record: finds its zone, then asks the service.

use super::alidns::Alidns;
use super::dnspod::Dnspod;
use super::huawei::Huawei;
use super::service::{CloudError, DnsApi, NameInZone, Service};
use crate::acme::job::{Change, TxtRecord};
use crate::clock::Clock;
use crate::config::acme::{CloudDns, CloudSettings};
use crate::hostname::Hostname;

/// Sets or removes a record. Others under the same name stay.
pub(in crate::acme) async fn change(
    settings: &CloudSettings,
    change: Change,
    record: &TxtRecord,
    clock: &Clock,
) -> Result<(), String> {
    let service = Service::new(settings, clock.clone()).map_err(|error| error.to_string())?;
    let changed = match settings.dns {
        CloudDns::Alidns => apply(&mut Alidns(service), change, record).await,
        CloudDns::Dnspod => apply(&mut Dnspod(service), change, record).await,
        CloudDns::Huawei => apply(&mut Huawei(service), change, record).await,
    };
    changed.map_err(|error| error.to_string())
}

async fn apply<A: DnsApi>(api: &mut A, change: Change, record: &TxtRecord) -> Result<(), CloudError> {
    let name = &record.name;
    let zones = zones_above(name.split_once('.').map_or(name, |(_, domain)| domain));
    let mut forbidden = None;
    for zone in &zones {
        let at = NameInZone { name, zone };
        match api.find(at).await {
            Ok(Some(found)) => {
                return match change {
                    Change::Present => api.add(found, at, record).await,
                    Change::Cleanup => api.remove(found, at, record).await,
                };
            }
            Ok(None) => {}
            Err(CloudError::Refused { code, message }) if A::FORBIDDEN.contains(&code.as_str()) => {
                forbidden = Some(CloudError::Refused { code, message });
            }
            Err(error) => return Err(error),
        }
    }
    let none = || CloudError::Impossible(format!("the account has no zone named {}", zones.join(" or ")));
    Err(forbidden.unwrap_or_else(none))
}

/// The zones that `domain` may be in, the longest first: itself, and what is above it up to the registrable domain.
fn zones_above(domain: &str) -> Vec<String> {
    let Ok(host) = Hostname::parse(domain) else { return vec![domain.to_owned()] };
    let Some(last) = host.registrable_domain() else { return vec![domain.to_owned()] };
    let mut zones = vec![domain];
    while let Some(zone) = zones.last().filter(|zone| zone.len() > last.len())
        && let Some((_, parent)) = zone.split_once('.')
    {
        zones.push(parent);
    }
    zones.into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_is_sought_from_the_name_up_to_what_is_registered() {
        for (domain, zones) in [
            ("example.cn", vec!["example.cn"]),
            ("a.b.example.com.cn", vec!["a.b.example.com.cn", "b.example.com.cn", "example.com.cn"]),
            ("com.cn", vec!["com.cn"]),
        ] {
            assert_eq!(zones_above(domain), zones);
        }
    }

    #[test]
    fn a_name_is_relative_to_its_zone() {
        for (zone, relative) in [("www.example.cn", "_acme-challenge"), ("example.cn", "_acme-challenge.www")]
        {
            assert_eq!(NameInZone { name: "_acme-challenge.www.example.cn", zone }.relative(), relative);
        }
    }
}
