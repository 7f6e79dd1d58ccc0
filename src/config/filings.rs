//! Reads the allowlist into [`Filings`]: everything or nothing.
//!
//! An invalid filing is a fatal problem, so that a broken file never revokes what the previous one allowed.
//! Findings such as a missed deadline are warnings.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::path::Path;

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};

use super::convert::{filed_name, host_pattern, ip_address};
use super::file::{self, Unreadable};
use super::findings::{Findings, quote};
use super::node::Malformed;
use super::reader::{Fields, Value};
use super::{LoadResult, schema};
use crate::clock::{day_of, end_of_day, start_of_day};
use crate::gate::filing::FiledHosts;
use crate::gate::number::NumberKind;
use crate::gate::top_level::{TopLevel, top_level};
use crate::gate::{Filing, FilingNumber, FilingStatus, Filings, PublicSecurityNumber, deadline};
use crate::hostname::{HostPattern, Hostname};

/// Reads the allowlist `path`, and checks numbers and deadlines as of `at`. An invalid file is reported as
/// problems; an unreadable one is the error.
pub fn load(path: &Path, at: Timestamp) -> Result<LoadResult<Filings>, Unreadable> {
    Ok(parse(path, &file::read(path, MAX_BYTES)?, at))
}

/// The largest allowlist: 100,000 filings with every key.
pub const MAX_BYTES: u64 = 32 << 20;

/// Converts the bytes of the allowlist `path`.
pub fn parse(path: &Path, bytes: &[u8], at: Timestamp) -> LoadResult<Filings> {
    let findings = Findings::new(path);
    match file::parse(bytes, MAX_BYTES) {
        Ok(node) => {
            let filings = filings(&Value::root(&node, &findings), at);
            findings.loaded(filings)
        }
        Err(error) => findings.malformed(&error, matches!(error, Malformed::Empty).then(|| EMPTY.to_owned())),
    }
}

const EMPTY: &str = "an empty file changes nothing; write `filings: []` to revoke everything";

fn filings(root: &Value<'_>, at: Timestamp) -> Option<Filings> {
    let fields = root.fields(schema::FILINGS)?;
    let mut claims = Claims::default();
    let items = fields.required("filings")?.items_or_none()?;
    let filings: Vec<_> = items.iter().map(|item| filing(item, at, &mut claims)).collect();
    filings.into_iter().collect()
}

fn filing(item: &Value<'_>, at: Timestamp, claims: &mut Claims) -> Option<Filing> {
    let fields = item.fields(schema::FILING)?;
    let domain = fields.required("domain").and_then(domain);
    let words = FilingStatus::ALL.iter().map(|status| (status.label(), *status)).collect::<Vec<_>>();
    let status = fields.required("status").and_then(|value| value.word(&words));
    if status == Some(FilingStatus::Approved) {
        for key in ["number", "approved_on"] {
            if fields.get(key).is_none() {
                fields.missing(key, "it is required once approved", None);
            }
        }
    }
    let number = optional(&fields, "number", |value| number(value, day_of(at).year()));
    let days = days(&fields, status, at);
    let hosts = optional(&fields, "hosts", |list| hosts(list, domain.as_ref()));
    if let (Some(domain), Some(hosts)) = (&domain, &hosts) {
        claims.claim(domain, hosts.as_ref(), &fields);
    }
    let access = optional(&fields, "access", access);
    let public_security = optional(&fields, "public_security", public_security);
    if let (Some(Some(icp)), Some(Some(security)), Some(value)) =
        (&number, &public_security, fields.get("public_security"))
        && icp.area().is_some_and(|area| !security.code().starts_with(area))
    {
        let message = format!("{} is of another province than {icp}", security.as_str());
        value.warn(message, "check that both belong to this domain".to_owned());
    }
    let live = optional(&fields, "live_on", day);
    let sms_sent_at = optional(&fields, "sms_sent_at", |value| {
        value.parsed("a time", "2026-02-20T10:00:00+08:00", str::parse::<Timestamp>)
    });

    let ((begins, ends), public_security, live, sms_sent_at) = (days?, public_security?, live?, sms_sent_at?);
    let public_security_due =
        live.filter(|_| public_security.is_none()).and_then(deadline::public_security_due);
    let sms_verification_due = sms_sent_at
        .filter(|_| status == Some(FilingStatus::SmsVerification))
        .and_then(deadline::sms_verification_due);
    for (key, due, what) in [
        ("live_on", public_security_due, "the public security filing"),
        ("sms_sent_at", sms_verification_due, "the SMS verification"),
    ] {
        if let (Some(value), Some(due)) = (fields.get(key), due.filter(|due| *due <= at)) {
            // The deadline is the first instant at which it is missed.
            let last_day = day_of(due - SignedDuration::from_nanos(1));
            value.warn(format_args!("{what} was due by {last_day}"), None);
        }
    }
    Some(Filing {
        domain: domain?,
        number: number?,
        status: status?,
        begins,
        ends,
        hosts: hosts?.map(FiledHosts::new),
        access: access?,
        public_security,
        public_security_due,
        sms_verification_due,
    })
}

/// An optional key. The outer `None` means that a problem was reported.
fn optional<T>(
    fields: &Fields<'_>,
    key: &str,
    read: impl FnOnce(&Value<'_>) -> Option<T>,
) -> Option<Option<T>> {
    fields.get(key).map_or(Some(None), |value| read(value).map(Some))
}

fn domain(value: &Value<'_>) -> Option<Hostname> {
    let domain = filed_name(value)?;
    match domain.registrable_domain() {
        Some(registrable) if registrable == domain.as_str() => {}
        Some(registrable) => {
            let hint = format!("the filing is for {registrable}, and covers every name below it");
            value.fatal(format_args!("{domain} is not a registrable domain"), hint);
        }
        None => value.fatal(
            format_args!("{domain} is a public suffix, not a registrable domain"),
            "such as example.cn or example.com.cn".to_owned(),
        ),
    }
    let top = domain.top_level_domain();
    match top_level(top) {
        TopLevel::Approved => {}
        TopLevel::NotApproved => value.warn(
            format_args!("the ministry has not approved the top-level domain {top}"),
            "only filings made before 2018 stay valid".to_owned(),
        ),
        TopLevel::Unknown => value.warn(
            format_args!("it is not known whether the ministry has approved the top-level domain {top}"),
            "look it up at domain.miit.gov.cn".to_owned(),
        ),
    }
    Some(domain)
}

fn number(value: &Value<'_>, this_year: i16) -> Option<FilingNumber> {
    let number = value
        .parsed("a filing number", "京ICP备2024012345号-1", |text| FilingNumber::parse(text, this_year))?;
    if number.service().is_none() {
        match number.kind() {
            NumberKind::Licence => value.fatal(
                format_args!("{number} is a licence, not the filing of a domain"),
                format!("write the record of the service under it, such as {number}-1"),
            ),
            NumberKind::Record if number.area() == Some(GUANGDONG) => value.warn(
                format_args!("{number} is the number of a subject, as sites in Guangdong show it"),
                None,
            ),
            NumberKind::Record => value.warn(
                format_args!("{number} is the number of a subject, not of one of its services"),
                format!("write the number of the service, such as {number}-1"),
            ),
        }
    }
    Some(number)
}

/// Its area code. Sites there show the subject's number ; in all other provinces the service's, with `-N`.
const GUANGDONG: &str = "44";

/// The first instant of an approval, and the first after it.
fn days(
    fields: &Fields<'_>,
    status: Option<FilingStatus>,
    at: Timestamp,
) -> Option<(Option<Timestamp>, Option<Timestamp>)> {
    let approved_on = optional(fields, "approved_on", day);
    let valid_until = optional(fields, "valid_until", day);
    let (approved_on, valid_until) = (approved_on?, valid_until?);
    let begins = approved_on.and_then(start_of_day);
    let ends = valid_until.and_then(end_of_day);
    let Some(value) = fields.get("valid_until") else { return Some((begins, ends)) };
    if let (Some(first), Some(last)) = (approved_on, valid_until)
        && last < first
    {
        value.fatal(format_args!("{last} is before approved_on, {first}"), None);
    }
    if status == Some(FilingStatus::Approved) && ends.is_some_and(|ends| ends <= at) {
        value.warn("the approval has ended", "its hosts are not served".to_owned());
    }
    Some((begins, ends))
}

/// A date in the form `2026-03-02`.
fn day(value: &Value<'_>) -> Option<Date> {
    value.parsed("a day", "2026-03-02", |text| {
        let shaped = text.len() == 10
            && text.bytes().enumerate().all(|(at, byte)| match at {
                4 | 7 => byte == b'-',
                _ => byte.is_ascii_digit(),
            });
        // Dates after the year 9998 may have no first instant in Asia/Shanghai.
        match text.parse::<Date>() {
            Ok(day) if shaped && (1970..=9998).contains(&day.year()) => Ok(day),
            Ok(_) | Err(_) => Err("no such day is written as YYYY-MM-DD"),
        }
    })
}

fn hosts(list: &Value<'_>, domain: Option<&Hostname>) -> Option<Vec<HostPattern>> {
    list.distinct(|value| {
        let pattern = host_pattern(value)?;
        if let Some(domain) = domain
            && !is_at_or_below(pattern.base(), domain)
        {
            value.fatal(
                format_args!("{pattern} is not below {domain}"),
                "it takes a filing of its own".to_owned(),
            );
        }
        Some(pattern)
    })
}

fn is_at_or_below(host: &Hostname, domain: &Hostname) -> bool {
    let above = host.as_str().strip_suffix(domain.as_str());
    above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
}

fn access(list: &Value<'_>) -> Option<Vec<IpAddr>> {
    let mut all = Some(Vec::new());
    for item in &list.items()? {
        let addresses = item.fields(schema::ACCESS).and_then(|fields| {
            let provider = fields.required("provider").and_then(Value::name);
            let addresses = fields.required("addresses").and_then(|list| list.distinct(ip_address));
            provider.and(addresses)
        });
        all = all.zip(addresses).map(|(mut all, addresses)| {
            all.extend(addresses);
            all
        });
    }
    all
}

fn public_security(value: &Value<'_>) -> Option<PublicSecurityNumber> {
    let fields = value.fields(schema::PUBLIC_SECURITY)?;
    let value = fields.required("number")?;
    let number = value.parsed(
        "a public security number (公安备案)",
        "京公网安备11010502030143号",
        PublicSecurityNumber::parse,
    )?;
    if number.is_legacy() {
        value.warn(
            format_args!("{} is of the old form with {} digits", number.as_str(), number.code().len()),
            "look up its present form at beian.mps.gov.cn".to_owned(),
        );
    }
    Some(number)
}

/// The hosts covered so far, by domain. No host may be covered by two filings.
#[derive(Default)]
struct Claims {
    by_domain: HashMap<Hostname, Claim>,
}

enum Claim {
    /// Every host.
    Whole,
    /// Some hosts: names, parents of those names, and bases of wildcards.
    Part { names: HashSet<Hostname>, parents: HashSet<String>, wildcards: HashSet<Hostname> },
}

impl Claims {
    fn claim(&mut self, domain: &Hostname, hosts: Option<&Vec<HostPattern>>, fields: &Fields<'_>) {
        let earlier = self.by_domain.get_mut(domain);
        let place = fields.get("hosts").or(fields.get("domain")).unwrap_or(fields.map());
        let hint = "keep one, or give both `hosts` that differ";
        match (earlier, hosts) {
            (None, None) => {
                self.by_domain.insert(domain.clone(), Claim::Whole);
            }
            (None, Some(hosts)) => {
                let mut part =
                    Claim::Part { names: HashSet::new(), parents: HashSet::new(), wildcards: HashSet::new() };
                part.overlap(hosts);
                self.by_domain.insert(domain.clone(), part);
            }
            (Some(Claim::Whole), _) | (Some(_), None) => {
                place.fatal(format_args!("another filing covers {domain}"), hint.to_owned());
            }
            (Some(part @ Claim::Part { .. }), Some(hosts)) => {
                if let Some(host) = part.overlap(hosts) {
                    let host = quote(&host.to_string());
                    place.fatal(format_args!("another filing of {domain} covers {host}"), hint.to_owned());
                }
            }
        }
    }
}

impl Claim {
    /// Adds `hosts`. Returns one that is covered already.
    fn overlap<'h>(&mut self, hosts: &'h [HostPattern]) -> Option<&'h HostPattern> {
        let Self::Part { names, parents, wildcards } = self else { return hosts.first() };
        let is_taken = |pattern: &&HostPattern| match pattern {
            HostPattern::Exact(name) => {
                names.contains(name) || name.parent().is_some_and(|parent| wildcards.contains(parent))
            }
            HostPattern::Wildcard(base) => wildcards.contains(base) || parents.contains(base.as_str()),
        };
        let taken = hosts.iter().find(is_taken);
        for pattern in hosts {
            match pattern {
                HostPattern::Exact(name) => {
                    parents.extend(name.parent().map(str::to_owned));
                    names.insert(name.clone());
                }
                HostPattern::Wildcard(base) => {
                    wildcards.insert(base.clone());
                }
            }
        }
        taken
    }
}

#[cfg(test)]
mod tests;
