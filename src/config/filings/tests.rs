use std::fmt::Write;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::config::problem::Severity;

const EXAMPLE: &str = "\
filings:
  - domain: example.cn
    number: 京ICP备2024012345号-1
    status: approved
    approved_on: 2026-03-02
    valid_until: 2031-03-01
    hosts: [www.example.cn, \"*.static.example.cn\"]
    access:
      - {provider: aliyun, addresses: [203.0.113.10]}
      - {provider: tencent, addresses: [\"2001:db8::1\"]}
    public_security: {number: 京公网安备11010502030143号}
    live_on: 2026-03-05
    sms_sent_at: 2026-02-20T10:00:00+08:00
  - domain: 例子.中国
    status: sms_verification
    live_on: 2026-11-01
    sms_sent_at: 2026-11-22T10:00:00+08:00
";

fn time(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn parse_text(text: &str) -> LoadResult<Filings> {
    parse(Path::new("filings.yaml"), text.as_bytes(), time("2026-11-23T00:00:00+08:00"))
}

#[track_caller]
fn valid(text: &str) -> Filings {
    let loaded = parse_text(text);
    let shown: Vec<_> = loaded.problems.iter().map(ToString::to_string).collect();
    assert_eq!(shown, [""; 0]);
    loaded.value.expect("no problem, hence a value")
}

#[test]
fn the_example_is_taken_as_it_stands() {
    let filings = valid(EXAMPLE);
    let [example, other] = filings.iter().collect::<Vec<_>>()[..] else { panic!("two filings") };
    assert_eq!(example.domain.as_str(), "example.cn");
    assert_eq!(example.number.as_ref().expect("given").as_str(), "京ICP备2024012345号-1");
    assert_eq!(example.begins, Some(time("2026-03-02T00:00:00+08:00")));
    assert_eq!(example.ends, Some(time("2031-03-02T00:00:00+08:00")));
    assert_eq!(example.hosts.as_ref().expect("given").patterns().len(), 2);
    assert_eq!(example.access.as_ref().expect("given").len(), 2);
    assert_eq!(example.public_security.as_ref().expect("given").code(), "11010502030143");
    assert_eq!((example.public_security_due, example.sms_verification_due), (None, None));
    assert_eq!(other.domain.as_str(), "xn--fsqu00a.xn--fiqs8s");
    assert_eq!(other.status, FilingStatus::SmsVerification);
    assert_eq!(other.public_security_due, Some(time("2026-12-02T00:00:00+08:00")));
    assert_eq!(other.sms_verification_due, Some(time("2026-11-23T10:00:00+08:00")));
    assert!(other.hosts.is_none() && other.access.is_none() && other.number.is_none());
}

#[test]
fn an_empty_list_revokes_everything_and_an_empty_file_nothing() {
    assert!(valid("filings: []").is_empty());
    for text in ["", "# nothing\n"] {
        let loaded = parse_text(text);
        assert!(loaded.value.is_none());
        assert!(loaded.problems[0].to_string().contains("write `filings: []` to revoke everything"));
    }
    assert!(parse_text("filings:").value.is_none());
    assert!(parse_text("[]").value.is_none());
}

#[test]
fn a_file_past_the_limit_is_refused_without_reading_it_all() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("filings.yaml");
    let file = std::fs::File::create(&path).expect("a file");
    file.set_len(50 << 20).expect("a sparse file");
    let loaded = load(&path, time("2026-11-23T00:00:00Z")).expect("readable");
    assert!(loaded.problems[0].message.contains("larger than 32 MiB"), "{}", loaded.problems[0]);
    let error = load(folder.path(), time("2026-11-23T00:00:00Z")).expect_err("a folder");
    assert!(error.to_string().contains("directory"), "{error}");
}

/// The least filing there is, with other text in it, judged on 2026-11-23.
#[track_caller]
fn check(severity: Severity, from: &str, to: &str, place: &str, message: &str) {
    const LEAST: &str = "{domain: example.cn, status: approved, number: 京ICP备2024012345号-1, \
                         approved_on: 2026-03-02}";
    assert!(LEAST.contains(from), "{from}");
    let filing = LEAST.replacen(from, to, 1);
    let loaded = parse_text(&format!("filings: [{filing}]"));
    let shown: Vec<_> = loaded.problems.iter().map(ToString::to_string).collect();
    let place = format!("filings[0]{}{place}", if place.is_empty() { "" } else { "." });
    let found: Vec<_> = loaded.problems.iter().filter(|problem| problem.place == place).collect();
    let [problem] = found.as_slice() else { panic!("one problem at {place} of {shown:#?}") };
    assert!(problem.to_string().contains(message), "{problem}");
    assert_eq!(problem.severity, severity, "{problem}");
    assert_eq!(loaded.value.is_none(), severity == Severity::Fatal, "{shown:#?}");
}

#[track_caller]
fn fatal(from: &str, to: &str, place: &str, message: &str) {
    check(Severity::Fatal, from, to, place, message);
}

#[track_caller]
fn warning(from: &str, to: &str, place: &str, message: &str) {
    check(Severity::Warning, from, to, place, message);
}

#[test]
fn keys_and_types() {
    fatal("domain:", "domian: a, domain:", "domian", "did you mean \"domain\"?");
    fatal("domain: example.cn, ", "", "domain", "domain is missing");
    fatal("status: approved, ", "", "status", "status is missing");
    fatal("status: approved", "status: aproved", "status", "did you mean \"approved\"?");
    fatal("status: approved", "status: preparing, status: approved", "status", "there twice");
    fatal("number: 京ICP备2024012345号-1, ", "", "number", "required once approved");
    fatal("approved_on: 2026-03-02", "live_on: 2026-11-02", "approved_on", "required once approved");
    fatal("status", "public_security: {code: 1}, status", "public_security.code", "unknown key");
    fatal("status", "access: [{addresses: [10.0.0.1]}], status", "access[0].provider", "is missing");
    fatal(
        "status",
        "access: [{provider: a, addresses: [x]}], status",
        "access[0].addresses[0]",
        "IP address",
    );
    fatal("status", "access: [], status", "access", "the list is empty");
}

#[test]
fn domains() {
    for (domain, message) in [
        ("www.example.cn", "the filing is for example.cn"),
        ("com.cn", "public suffix"),
        ("cn", "public suffix"),
        ("\"*.example.cn\"", "'*' is not allowed"),
        ("example.cn.", "ends with a dot"),
        ("203.0.113.10", "it is an IP address"),
        ("\"exam ple.cn\"", "' ' is not allowed"),
    ] {
        fatal("domain: example.cn", &format!("domain: {domain}"), "domain", message);
    }
    warning("example.cn", "example.io", "domain", "has not approved the top-level domain io");
    warning("example.cn", "example.ai", "domain", "look it up");
}

#[test]
fn a_quotation_mark_of_another_script_is_named() {
    for (quoted, character) in [("“example.cn”", "'“' (U+201C)"), ("例子」.cn", "'」' (U+300D)")] {
        fatal("example.cn", quoted, "domain", character);
        fatal("status", &format!("hosts: [{quoted}], status"), "hosts[0]", character);
    }
}

#[test]
fn numbers() {
    for (number, message) in [
        ("京ICP证030173号", "such as 京ICP证030173号-1"),
        ("粤B2-20090059", "such as 粤B2-20090059-1"),
        ("京ICP备12345678号-1", "it is a placeholder"),
        ("京ICP备2027012345号-1", "the year"),
        ("京ICP备2024012345", "号 is missing"),
        ("2024012345", "expected a filing number, found 2024012345"),
    ] {
        fatal("京ICP备2024012345号-1", number, "number", message);
    }
    warning("号-1", "号", "number", "is the number of a subject");
    let other = "public_security: {number: 沪公网安备31010502030143号}, status";
    warning("status", other, "public_security", "is of another province than 京ICP备2024012345号-1");
    let wrong = "public_security: {number: 沪公网安备11010502030143号}, status";
    fatal("status", wrong, "public_security.number", "area code");
    let old = "public_security: {number: 京公网安备1101050203014}, status";
    warning("status", old, "public_security.number", "old form with 13 digits");
    let older = "public_security: {number: 京公网安备110105000585号}, status";
    warning("status", older, "public_security.number", "old form with 12 digits");
    let none = "public_security: {number: 京ICP备2024012345号-1}, status";
    fatal("status", none, "public_security.number", "公安备案 number 公网安备 follows the province");
    warning("京ICP备2024012345号-1", "粤ICP备2024012345号", "number", "as sites in Guangdong show it");
}

#[test]
fn days_and_deadlines() {
    for day in
        ["2026-3-2", "20260302", "2026-02-30", "2026-03-02T00:00:00", "0000-00-00", "9999-12-31", "yesterday"]
    {
        let place = "approved_on";
        fatal("approved_on: 2026-03-02", &format!("approved_on: \"{day}\""), place, "YYYY-MM-DD");
    }
    fatal("2026-03-02", "2026-12-02, valid_until: 2026-12-01", "valid_until", "is before approved_on");
    warning("status", "valid_until: 2026-11-22, status", "valid_until", "the approval has ended");
    fatal("status", "sms_sent_at: 2026-02-20, status", "sms_sent_at", "is not a time");
    warning("status", "live_on: 2026-10-01, status", "live_on", "was due by 2026-10-31");
    let sms = "status: sms_verification, sms_sent_at: 2026-11-20T10:00:00+08:00";
    warning("status: approved", sms, "sms_sent_at", "was due by 2026-11-21");
}

#[test]
fn hosts_are_below_the_domain() {
    fatal("status", "hosts: [www.example.com], status", "hosts[0]", "is not below example.cn");
    fatal("status", "hosts: [badexample.cn], status", "hosts[0]", "is not below example.cn");
    fatal("status", "hosts: [], status", "hosts", "the list is empty");
    fatal("status", "hosts: [a.example.cn, A.example.cn], status", "hosts[1]", "there twice");
}

#[test]
fn two_filings_of_a_domain_speak_of_different_hosts() {
    let filings = |hosts: [&str; 2]| {
        let filing = |hosts: &str| format!("  - {{domain: example.cn, status: preparing{hosts}}}\n");
        format!("filings:\n{}{}", filing(hosts[0]), filing(hosts[1]))
    };
    for (hosts, place) in [
        (["", ""], "filings[1].domain"),
        (["", ", hosts: [a.example.cn]"], "filings[1].hosts"),
        ([", hosts: [a.example.cn]", ""], "filings[1].domain"),
        ([", hosts: [a.example.cn]", ", hosts: [b.example.cn, a.example.cn]"], "filings[1].hosts"),
        ([", hosts: [a.example.cn]", ", hosts: [\"*.example.cn\"]"], "filings[1].hosts"),
        ([", hosts: [\"*.example.cn\"]", ", hosts: [a.example.cn]"], "filings[1].hosts"),
        ([", hosts: [\"*.example.cn\"]", ", hosts: [\"*.example.cn\"]"], "filings[1].hosts"),
    ] {
        let loaded = parse_text(&filings(hosts));
        let [problem] = loaded.problems.as_slice() else { panic!("{:?}", loaded.problems) };
        assert_eq!((problem.place.as_str(), problem.severity), (place, Severity::Fatal), "{problem}");
    }
    valid(&filings([", hosts: [\"*.a.example.cn\"]", ", hosts: [a.example.cn, b.c.example.cn]"]));
}

/// The best of three times that it takes to load so many filings.
fn loading(count: usize) -> Duration {
    let mut text = "filings:\n".to_owned();
    for index in 0..count {
        write!(
            text,
            "  - domain: example{index}.cn\n    number: 京ICP备2024{:06}号-1\n    status: approved\n    \
             approved_on: 2026-03-02\n    access:\n      - {{provider: aliyun, addresses: [203.0.113.10]}}\n",
            index + 1
        )
        .expect("a text takes it");
    }
    let load = |_| {
        let started = Instant::now();
        assert_eq!(valid(&text).len(), count);
        started.elapsed()
    };
    (0..3).map(load).min().expect("three times")
}

#[test]
fn loading_time_grows_in_proportion_to_the_filings() {
    let (few, many) = (loading(1_000), loading(10_000));
    // Ten times as many: ten times as long, where a quadratic step would take a hundred times as long.
    assert!(many < few * 30, "1,000 filings: {few:?}, 10,000 filings: {many:?}");
}

#[test]
fn no_beginning_of_a_file_panics() {
    for end in 0..EXAMPLE.len() {
        let at = time("2026-11-23T00:00:00Z");
        let loaded = parse(Path::new("filings.yaml"), &EXAMPLE.as_bytes()[..end], at);
        assert!(loaded.value.is_some() || !loaded.problems.is_empty());
    }
}

proptest! {
    #[test]
    fn no_changed_byte_panics(at in 0..EXAMPLE.len(), byte: u8) {
        let mut bytes = EXAMPLE.as_bytes().to_vec();
        bytes[at] = byte;
        parse(Path::new("filings.yaml"), &bytes, time("2026-11-23T00:00:00Z"));
    }
}
