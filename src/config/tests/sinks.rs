//! Sinks: where records are shipped besides the local store.

use super::*;
use crate::config::sinks::{CredentialsFrom, SinkHost, SinkSettings};

/// The contract's own examples, each an item of `access_log.sinks`.
const EXAMPLES: &str = r#"
    - {name: nas, type: directory, path: /mnt/audit}
    - {name: vault, type: s3, endpoint: "https://s3.cn-north-1.amazonaws.com.cn", region: cn-north-1, bucket: audit, prefix: bj/, path_style: false,
       credentials: {from: environment}, trust: ca.pem, require: true}
    - {name: oss, type: oss, endpoint: "https://oss-cn-beijing-internal.aliyuncs.com", region: cn-beijing, bucket: audit, credentials: {from: ecs_role, role: edge}}
    - {name: sls, type: sls, endpoint: "https://cn-beijing-intranet.log.aliyuncs.com", region: cn-beijing, project: audit, logstore: edge,
       credentials: {from: file, path: sls.yaml}}
    - {name: kafka, type: kafka, brokers: ["10.0.0.7:9093"], topic: access, tls: {trust: ca.pem}, sasl: {mechanism: scram-sha-256, username: edge, password_file: kafka.pw}}
    - {name: syslog, type: relp, address: "10.0.0.8:2514", tls: {server_name: log.internal, trust: ca.pem}}
"#;

fn with_sinks(sinks: &str) -> String {
    LEAST.replacen("filings:", &format!("access_log: {{sinks: {sinks}}}\nfilings:"), 1)
}

#[test]
fn every_type_of_sink_is_read() {
    let text = LEAST.replacen("filings:", &format!("access_log:\n  sinks:{EXAMPLES}filings:"), 1);
    let sinks = valid(&text).sinks;
    let shown: Vec<_> = sinks.iter().map(|sink| (&*sink.name, sink.settings.type_name())).collect();
    let types = ["directory", "s3", "oss", "sls", "kafka", "relp"];
    assert_eq!(
        shown,
        ["nas", "vault", "oss", "sls", "kafka", "syslog"].into_iter().zip(types).collect::<Vec<_>>()
    );
    assert!(sinks[1].require && !sinks[2].require);
    let SinkSettings::S3(s3) = &sinks[1].settings else { panic!("{:?}", sinks[1]) };
    assert_eq!((&*s3.prefix, s3.endpoint.address.port, s3.endpoint.is_tls), ("bj/", 443, true));
    assert_eq!(s3.endpoint.to_string(), "https://s3.cn-north-1.amazonaws.com.cn");
    assert!(s3.trust.as_ref().is_some_and(|path| path.is_absolute() || path.ends_with("ca.pem")));
    let SinkSettings::Oss(oss) = &sinks[2].settings else { panic!("{:?}", sinks[2]) };
    let CredentialsFrom::EcsRole { role, metadata } = &oss.credentials else { panic!("{oss:?}") };
    assert_eq!((role.as_deref(), &*metadata.to_string()), (Some("edge"), "http://100.100.100.200"));
    let SinkSettings::Relp(relp) = &sinks[5].settings else { panic!("{:?}", sinks[5]) };
    assert!(matches!(relp.address.host, SinkHost::Address(_)) && relp.address.port == 2514);
}

#[test]
fn sinks_that_are_none() {
    const S3: &str = "type: s3, name: a, endpoint: \"https://s3.example.cn\", region: r, bucket: b, credentials: {from: environment}";
    let s3 = |from: &str, to: &str| {
        assert!(S3.contains(from), "{from}");
        format!("{{{}}}", S3.replacen(from, to, 1))
    };
    for (sink, place, message) in [
        ("{name: a}".to_owned(), "", "type is missing"),
        ("{name: a, type: ftp}".to_owned(), ".type", "\"ftp\" is not one of directory, s3"),
        ("{type: directory, path: /a}".to_owned(), ".name", "name is missing"),
        ("{name: a, type: directory}".to_owned(), ".path", "path is missing"),
        ("{name: a, type: directory, path: /a, bucket: b}".to_owned(), ".bucket", "unknown key"),
        ("{name: a, type: directory, path: /a, require: true}".to_owned(), ".require", "promises nothing"),
        (s3("bucket: b", "bucket: a/b"), ".bucket", "not a name"),
        (s3("bucket: b", "bucket: b, prefix: /a"), ".prefix", "not a prefix"),
        (s3("bucket: b", "bucket: b, prefix: a/../b"), ".prefix", "not a prefix"),
        (s3("https://s3.example.cn", "s3.example.cn"), ".endpoint", "neither https:// nor http://"),
        (s3("https://s3.example.cn", "https://s3.example.cn/a"), ".endpoint", "it has a path"),
        (s3("https://s3.example.cn", "https://s3.example.cn:0"), ".endpoint", "not from 1 to 65535"),
        (s3("https://s3.example.cn", "https://10.0.0.1"), ".path_style", "path_style is missing"),
        (
            s3("https://s3.example.cn\"", "http://10.0.0.1\", path_style: true, trust: a"),
            ".trust",
            "not https",
        ),
        (s3("environment", "vault"), ".credentials.from", "not one of environment, file, ecs_role"),
        (s3("from: environment", "from: file"), ".credentials.path", "path is missing"),
        (s3("environment", "environment, role: a"), ".credentials.role", "no effect here"),
        ("{name: a, type: relp, address: log}".to_owned(), ".address", "the port is missing"),
        (
            "{name: a, type: kafka, topic: t, brokers: [\"::1:9092\"]}".to_owned(),
            ".brokers[0]",
            "in brackets",
        ),
    ] {
        check_text(
            Severity::Fatal,
            &with_sinks(&format!("[{sink}]")),
            &format!("access_log.sinks[0]{place}"),
            message,
        );
    }
    let free = with_sinks("[{name: a, type: directory, path: /a}], free_shipped: true");
    check_text(Severity::Fatal, &free, "access_log.free_shipped", "no sink is of type s3 or oss");
    let no_key = with_sinks("[{name: a, type: directory, path: /a}], encrypt_to: age1abc");
    check_text(Severity::Fatal, &no_key, "access_log.encrypt_to", "no public key of age");
    let key = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
    let relp = "{name: a, type: relp, address: \"[::1]:2514\"}";
    let useless = with_sinks(&format!("[{relp}], encrypt_to: {key}"));
    check_text(Severity::Fatal, &useless, "access_log.encrypt_to", "no sink is of type directory, s3 or oss");
    let both = with_sinks(&format!("[{relp}, {{name: b, type: directory, path: /b}}], encrypt_to: {key}"));
    check_text(Severity::Warning, &both, "access_log.encrypt_to", "the sink a takes a message per record");
    let twice = with_sinks("[{name: a, type: directory, path: /a}, {name: a, type: directory, path: /b}]");
    check_text(Severity::Fatal, &twice, "access_log.sinks[1].name", "another sink is named \"a\"");
    let clear = with_sinks(&format!("[{}]", s3("https://", "http://")));
    check_text(Severity::Warning, &clear, "access_log.sinks[0].endpoint", "in clear text");
}

#[test]
fn a_file_of_credentials_is_never_quoted() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("keys.yaml");
    fs_err::write(&path, "access_key_id: id\naccess_key_secret: very secret\n").expect("written");
    let keys = crate::config::credentials::read(&path).expect("keys");
    assert_eq!((&*keys.access_key_id, &*keys.access_key_secret), ("id", "very secret"));
    assert!(!format!("{keys:?}").contains("secret"), "{keys:?}");
    for text in [
        "access_key_id: id\naccess_key_secret: [very secret]\n",
        "very secret",
        "a: [very secret",
        "very secret: a",
    ] {
        fs_err::write(&path, text).expect("written");
        let error = crate::config::credentials::read(&path).expect_err("no keys");
        assert!(!error.contains("very secret") && error.contains("keys.yaml"), "{error}");
    }
}
