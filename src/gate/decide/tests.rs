use super::*;
use crate::gate::filing::FiledHosts;
use crate::gate::{Coverage, FilingStatus, Filings, SiteId};
use crate::hostname::HostTable;

const HTTPS: ListenerId = ListenerId(0);
const HTTP: ListenerId = ListenerId(1);

fn time(text: &str) -> jiff::Timestamp {
    text.parse().expect("a time")
}

fn host(name: &str) -> Hostname {
    Hostname::parse(name).expect("a host name")
}

fn pattern(text: &str) -> HostPattern {
    HostPattern::parse(text).expect("a pattern")
}

fn filing() -> Filing {
    Filing {
        domain: host("example.cn"),
        number: None,
        status: FilingStatus::Approved,
        begins: Some(time("2026-03-01T16:00:00Z")),
        ends: Some(time("2031-03-01T16:00:00Z")),
        hosts: None,
        access: None,
        public_security: None,
        public_security_due: None,
        sms_verification_due: None,
    }
}

fn coverage(names: &[&str]) -> Arc<Coverage> {
    let mut table = HostTable::default();
    for name in names {
        table.insert(&pattern(name), ());
    }
    Arc::new(Coverage {
        names: table,
        begins: time("2026-01-01T00:00:00Z"),
        ends: time("2027-01-01T00:00:00Z"),
    })
}

fn gate(filings: Vec<Filing>) -> Gate {
    certified_gate(filings, &["www.example.cn", "*.static.example.cn"])
}

/// With a certificate for `names`; without one if there are none.
fn certified_gate(filings: Vec<Filing>, names: &[&str]) -> Gate {
    let certificate = (!names.is_empty()).then(|| coverage(names));
    let listeners = [CertificateNeed::Required, CertificateNeed::None].map(|need| {
        let address = "203.0.113.10".parse().expect("an address");
        let mut listener = ListenerGate::new(vec![address], need);
        for host in ["www.example.cn", "*.static.example.cn"] {
            listener.serve(&pattern(host), SiteId(0), certificate.as_ref());
        }
        listener
    });
    Gate { filings: Filings::from_iter(filings), listeners: listeners.into() }
}

#[track_caller]
fn check(gate: &Gate, listener: ListenerId, name: &str, at: &str, expected: Result<(), Refusal>) {
    let answer = decide(gate, listener, &host(name), Moment::at(time(at)));
    assert_eq!(answer.map(|_| ()), expected, "{name} at {at}");
}

const NOON: &str = "2026-06-01T04:00:00Z";

#[test]
fn a_filed_host_with_a_site_and_a_certificate_is_permitted() {
    let gate = gate(vec![filing()]);
    check(&gate, HTTPS, "www.example.cn", NOON, Ok(()));
    check(&gate, HTTPS, "a.static.example.cn", NOON, Ok(()));
    let permit = decide(&gate, HTTPS, &host("www.example.cn"), Moment::at(time(NOON))).expect("permitted");
    assert_eq!(permit.site(), SiteId(0));
    assert_eq!(permit.filing().domain, host("example.cn"));
}

#[test]
fn each_condition_has_its_reason() {
    let known = gate(vec![filing()]);
    check(&known, HTTPS, "www.other.cn", NOON, Err(Refusal::NotFiled));
    check(&known, HTTPS, "cn", NOON, Err(Refusal::NotFiled));
    check(&known, HTTPS, "blog.example.cn", NOON, Err(Refusal::NoSite));
    check(&known, HTTPS, "a.b.static.example.cn", NOON, Err(Refusal::NoSite));
    for status in FilingStatus::ALL.iter().filter(|status| **status != FilingStatus::Approved) {
        let gate = gate(vec![Filing { status: *status, ..filing() }]);
        check(&gate, HTTPS, "www.example.cn", NOON, Err(Refusal::NotApproved));
    }
    let other_address = vec!["198.51.100.1".parse().expect("an address")];
    let elsewhere = gate(vec![Filing { access: Some(other_address), ..filing() }]);
    check(&elsewhere, HTTPS, "www.example.cn", NOON, Err(Refusal::AddressNotFiled));
    let only = gate(vec![Filing { hosts: Some(FiledHosts::new(vec![pattern("m.example.cn")])), ..filing() }]);
    check(&only, HTTPS, "www.example.cn", NOON, Err(Refusal::HostExcluded));
}

#[test]
fn days_begin_and_end_in_shanghai() {
    let gate = gate(vec![filing()]);
    check(&gate, HTTP, "www.example.cn", "2026-03-01T15:59:59Z", Err(Refusal::NotYetValid));
    check(&gate, HTTP, "www.example.cn", "2026-03-01T16:00:00Z", Ok(()));
    check(&gate, HTTP, "www.example.cn", "2031-03-01T15:59:59Z", Ok(()));
    check(&gate, HTTP, "www.example.cn", "2031-03-01T16:00:00Z", Err(Refusal::Expired));
}

#[test]
fn a_clear_text_listener_needs_no_certificate() {
    for names in [&[][..], &["m.example.cn"]] {
        let gate = certified_gate(vec![filing()], names);
        for host in ["www.example.cn", "a.static.example.cn"] {
            check(&gate, HTTPS, host, NOON, Err(Refusal::NoCertificate));
            check(&gate, HTTP, host, NOON, Ok(()));
        }
    }
}

#[test]
fn a_certificate_is_for_the_hosts_that_it_names_within_its_dates() {
    for (names, served, others) in [
        (&["*.example.cn"][..], &["www.example.cn"][..], &["a.static.example.cn"][..]),
        (&["*.static.example.cn"], &["a.static.example.cn", "b.static.example.cn"], &["www.example.cn"]),
        (&["b.static.example.cn"], &["b.static.example.cn"], &["a.static.example.cn", "www.example.cn"]),
    ] {
        let gate = certified_gate(vec![Filing { begins: None, ends: None, ..filing() }], names);
        for host in served {
            check(&gate, HTTPS, host, "2025-12-31T23:59:59Z", Err(Refusal::NoCertificate));
            check(&gate, HTTPS, host, "2026-01-01T00:00:00Z", Ok(()));
            check(&gate, HTTPS, host, "2026-12-31T23:59:59Z", Ok(()));
            check(&gate, HTTPS, host, "2027-01-01T00:00:00Z", Err(Refusal::NoCertificate));
        }
        for host in others {
            check(&gate, HTTPS, host, NOON, Err(Refusal::NoCertificate));
        }
        // A wildcard is permitted while any of its names is.
        assert!(bind(&gate, HTTPS, Moment::at(time(NOON))).is_ok(), "{names:?}");
        assert!(bind(&gate, HTTPS, Moment::at(time("2027-01-01T00:00:00Z"))).is_err(), "{names:?}");
    }
}

#[test]
fn of_several_filings_one_is_enough_and_the_nearest_refusal_is_told() {
    let cancelled = Filing { status: FilingStatus::Cancelled, ..filing() };
    check(&gate(vec![cancelled.clone(), filing()]), HTTPS, "www.example.cn", NOON, Ok(()));
    let only = |host| Some(FiledHosts::new(vec![pattern(host)]));
    let excluding = Filing { hosts: only("m.example.cn"), ..filing() };
    let expired = Filing { hosts: only("www.example.cn"), ends: Some(time(NOON)), ..filing() };
    for (filings, nearest) in [
        (vec![cancelled.clone(), expired.clone()], Refusal::Expired),
        (vec![expired.clone(), cancelled.clone()], Refusal::Expired),
        // The one that leaves the host out is not asked about it.
        (vec![excluding.clone(), cancelled], Refusal::NotApproved),
        (vec![expired, excluding.clone()], Refusal::Expired),
        (vec![excluding], Refusal::HostExcluded),
    ] {
        check(&gate(filings), HTTPS, "www.example.cn", NOON, Err(nearest));
    }
}

#[test]
fn a_listener_is_bound_while_any_of_its_hosts_is_permitted() {
    let at = Moment::at(time(NOON));
    assert!(bind(&gate(vec![filing()]), HTTPS, at).is_ok());
    assert_eq!(bind(&gate(vec![]), HTTPS, at).map(|_| ()), Err(Refusal::NotFiled));
    let one_static = FiledHosts::new(vec![pattern("img.static.example.cn")]);
    let only_wildcard = gate(vec![Filing { hosts: Some(one_static), ..filing() }]);
    assert!(bind(&only_wildcard, HTTPS, at).is_ok(), "a name below the wildcard is filed");
    let answers: Vec<_> = permitted_patterns(&only_wildcard, HTTPS, at).map(|(_, a)| a.map(|_| ())).collect();
    assert_eq!(answers, [Err(Refusal::HostExcluded), Ok(())]);
}
