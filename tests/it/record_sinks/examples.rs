//! The examples of docs/sinks.md, as they stand there.

use crate::support::edge::{Edge, run};

const DOCUMENT: &str = include_str!("../../../docs/sinks.md");

/// The blocks of code in this language.
fn blocks(language: &str) -> impl Iterator<Item = &'static str> {
    let first_line = format!("{language}\n");
    // Between the fences, every other part is code.
    DOCUMENT.split("```").skip(1).step_by(2).filter_map(move |block| block.strip_prefix(first_line.as_str()))
}

#[tokio::test]
async fn every_configuration_is_accepted() {
    let sinks: Vec<&str> = blocks("yaml").filter(|block| block.starts_with("access_log:")).collect();
    assert!(sinks.len() >= 3, "an example of each type");
    for sink in sinks {
        let folder = Edge::builder().write();
        fs_err::write(folder.path("kafka.pw"), "password\n").expect("written");
        let configuration = folder.configuration();
        let lines = configuration.lines().filter(|line| !line.starts_with("access_log:"));
        let without: String = lines.map(|line| format!("{line}\n")).collect();
        folder.replace("icpgate.yaml", format!("{without}{sink}  directory: access\n"));
        let checked = folder.check(&["--json"]).await;
        assert_eq!(checked.json()["problems"], serde_json::json!([]), "{sink}\n{checked:?}");
        assert_eq!(checked.json()["warnings"], serde_json::json!([]), "{sink}\n{checked:?}");
    }
}

#[tokio::test]
async fn rsyslog_takes_its_configuration() {
    let certificates = super::Certificates::new();
    let rsyslog: Vec<&str> = blocks("").filter(|block| block.contains("imrelp")).collect();
    assert_eq!(rsyslog.len(), 1, "one example");
    let (file, folder) = (certificates.path("icpgate.conf"), certificates.text(""));
    let example = rsyslog[0].replace("/etc/rsyslog.d/", &folder).replace("log.", "server.");
    fs_err::write(&file, example).expect("written");
    let checked = run("/usr/sbin/rsyslogd", ["-N1", "-f", &file.display().to_string()]).await;
    assert_eq!(checked.code, 0, "{checked:?}");
}
