//! Builds the files of a program for a test.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};

use super::{APPROVED, Edge, Folder, HOSTS, Loopback};
use crate::support::pki::Authority;

const LISTENERS: &str = r#"  - {name: https, addresses: ["$HTTPS"], protocol: https}
  - {name: http, addresses: ["$HTTP"], protocol: http}
"#;
const SITES: &str = r#"  - name: shop
    hosts: [www.example.cn, example.cn]
    certificate: {chain: site.pem, key: site.key}
    routes: [{match: {path: /}, origins: [main]}]
"#;
const ORIGINS: &str = r#"  - {name: main, region: mainland, scheme: http, servers: ["$ORIGIN"]}
"#;

/// The configuration, allowlist and environment of a program: plain YAML, in which `$IP`, `$HTTPS`, `$HTTP`,
/// `$ADMIN` and `$ORIGIN` stand for addresses.
#[derive(Debug)]
pub(crate) struct Builder {
    listeners: String,
    sites: String,
    origins: String,
    limits: BTreeMap<&'static str, String>,
    access_log: String,
    more: String,
    config: Option<String>,
    /// The value of `filings`.
    source: String,
    pub(super) filings: String,
    pub(super) origin: SocketAddr,
    pub(super) wrapper: Vec<String>,
    pub(super) environment: Vec<(String, String)>,
}

impl Builder {
    /// The default: one site, one origin, an approved filing.
    pub(super) fn new() -> Self {
        let limits = [
            ("client_hello_timeout", "10s"),
            ("request_head_timeout", "10s"),
            ("drain_timeout", "10s"),
            ("revocation_grace", "1s"),
        ];
        Self {
            listeners: LISTENERS.to_owned(),
            sites: SITES.to_owned(),
            origins: ORIGINS.to_owned(),
            limits: limits.map(|(key, value)| (key, value.to_owned())).into(),
            // Test machines may have less free space than the default reserve.
            access_log: "{directory: access, reserve: 1MiB}".to_owned(),
            more: String::new(),
            config: None,
            source: "filings.yaml".to_owned(),
            filings: APPROVED.to_owned(),
            // The discard port, where nothing listens.
            origin: SocketAddr::from((Ipv4Addr::LOCALHOST, 9)),
            wrapper: Vec::new(),
            environment: Vec::new(),
        }
    }

    /// Replaces the items of `listeners`: one for https and one for http.
    pub(crate) fn listeners(mut self, yaml: &str) -> Self {
        self.listeners = yaml.to_owned();
        self
    }

    /// Replaces the items of `sites`: [`HOSTS`] with the pair `site.pem` and `site.key`.
    pub(crate) fn sites(mut self, yaml: &str) -> Self {
        self.sites = yaml.to_owned();
        self
    }

    /// Replaces the items of `origins`: `main`, in clear text at `$ORIGIN`.
    pub(crate) fn origins(mut self, yaml: &str) -> Self {
        self.origins = yaml.to_owned();
        self
    }

    /// Sets one of `limits`.
    pub(crate) fn limit(mut self, key: &'static str, value: &str) -> Self {
        self.limits.insert(key, value.to_owned());
        self
    }

    /// Replaces the mapping `access_log`. Tests read records from the folder `access`.
    pub(crate) fn access_log(mut self, yaml: &str) -> Self {
        self.access_log = yaml.to_owned();
        self
    }

    /// Adds keys at the top level.
    pub(crate) fn more(mut self, yaml: &str) -> Self {
        self.more.push_str(yaml);
        self
    }

    /// Replaces the whole configuration.
    pub(crate) fn config(mut self, yaml: &str) -> Self {
        self.config = Some(yaml.to_owned());
        self
    }

    /// Replaces the allowlist, [`APPROVED`].
    pub(crate) fn filings(mut self, yaml: &str) -> Self {
        self.filings = yaml.to_owned();
        self
    }

    /// Replaces the value of `filings`, `filings.yaml`.
    pub(crate) fn filings_from(mut self, yaml: &str) -> Self {
        self.source = yaml.to_owned();
        self
    }

    /// Sets `$ORIGIN`; by default, nothing listens there.
    pub(crate) fn origin(mut self, address: SocketAddr) -> Self {
        self.origin = address;
        self
    }

    /// A command that starts the program, such as `prlimit --nofile=64`.
    pub(crate) fn wrapper(mut self, command: &[&str]) -> Self {
        self.wrapper = command.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The configuration, before variables are replaced.
    pub(super) fn yaml(&self) -> String {
        let Self { listeners, sites, origins, limits, access_log, more, config, source, .. } = self;
        let limits: String = limits.iter().map(|(key, value)| format!("  {key}: {value}\n")).collect();
        let sections = || {
            format!(
                "node: test\nfilings: {source}\nlisteners:\n{listeners}sites:\n{sites}origins:\n{origins}limits:\n{limits}\
             access_log: {access_log}\nadmin: {{address: \"$ADMIN\"}}\n{more}"
            )
        };
        config.clone().unwrap_or_else(sections)
    }

    /// Writes the files without starting the program.
    pub(crate) fn write(self) -> Folder {
        let loopback = Loopback::claim();
        let directory = tempfile::tempdir().expect("a folder");
        let authority = Authority::new();
        authority.pair(&HOSTS).write(directory.path(), "site");
        let folder = Folder { directory, loopback, authority, builder: self };
        fs_err::write(folder.path("ca.pem"), &folder.authority.pem).expect("written");
        folder.replace("filings.yaml", &folder.builder.filings);
        folder.replace("icpgate.yaml", folder.configuration());
        folder
    }

    /// Starts the program, and waits until its first snapshot is in use.
    pub(crate) async fn start(self) -> Edge {
        self.write().start().await
    }
}
