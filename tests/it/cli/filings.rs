//! `filings`: deadlines by the clock, the most urgent first.

use crate::support::edge::Edge;

const ALLOWLIST: &str = "filings:
  - {domain: example.cn, number: 京ICP备2024012345号-1, status: approved, approved_on: 2026-03-02, valid_until: 2026-06-30, live_on: 2026-03-05}
  - {domain: example.com.cn, status: sms_verification, sms_sent_at: 2026-03-20T10:00:00+08:00}
  - {domain: example.net.cn, number: 京ICP备2024012345号-2, status: cancelled, approved_on: 2020-03-02, valid_until: 2021-01-01}
  - {domain: example.org.cn, status: bureau_review}
";

#[tokio::test]
async fn deadlines_are_listed_with_the_hours_left_and_the_consequence() {
    let folder = Edge::builder().write();
    folder.replace("filings.yaml", ALLOWLIST);
    let run = folder.ask("filings", &["--json", "--at", "2026-03-20T20:00:00+08:00"]).await;
    assert_eq!(run.code, 0, "{run:?}");
    let found = run.json();
    let expected = [
        ("example.com.cn", "sms_verification", "2026-03-21T10:00:00+08:00", 14.0),
        ("example.cn", "public_security", "2026-04-05T00:00:00+08:00", 15.0 * 24.0 + 4.0),
        ("example.cn", "valid_until", "2026-07-01T00:00:00+08:00", 102.0 * 24.0 + 4.0),
    ];
    let due = found["due"].as_array().expect("a list");
    assert_eq!(due.len(), expected.len(), "a cancelled filing has no end to watch: {found}");
    for (one, (domain, deadline, at, hours)) in due.iter().zip(expected) {
        assert_eq!((one["domain"].as_str(), one["deadline"].as_str()), (Some(domain), Some(deadline)));
        assert_eq!((one["at"].as_str(), one["hours_left"].as_f64()), (Some(at), Some(hours)), "{one}");
        assert!(one["consequence"].as_str().is_some_and(|text| text.len() > 20), "{one}");
    }
}

#[tokio::test]
async fn a_missed_deadline_exits_with_1() {
    let folder = Edge::builder().write();
    folder.replace("filings.yaml", ALLOWLIST);
    let run = folder.ask("filings", &["--at", "2026-03-21T10:00:00+08:00"]).await;
    assert_eq!(run.code, 1, "{run:?}");
    assert!(run.stdout.contains("example.com.cn: sms_verification: OVER"), "{run:?}");
    assert!(
        run.stdout.contains("example.org.cn: bureau_review") && run.stdout.contains("estimate"),
        "{run:?}"
    );
    folder.replace("filings.yaml", "filings: []\n");
    let run = folder.ask("filings", &[]).await;
    assert_eq!((run.code, run.stdout.trim()), (0, "nothing is due"), "{run:?}");
}
