//! Every key of the two files. Any other key is refused as unknown. `docs/configuration.md` lists the same keys,
//! section by section; a test compares the two.

#[derive(Debug)]
pub(super) struct Section {
    /// Its heading in the reference.
    pub(super) name: &'static str,
    /// Its keys, in the order of the reference; at most 64.
    pub(super) keys: &'static [&'static str],
}

macro_rules! sections {
    ($($id:ident = $name:literal: [$($key:literal),* $(,)?];)*) => {
        $(pub(super) const $id: &Section = &Section { name: $name, keys: &[$($key),*] };)*

        /// Every section, in the order of the reference.
        pub(super) const ALL: &[&Section] = &[$($id),*];
    };
}

/// Whether the section that the reference heads so has this key.
pub(crate) fn has_key(section: &str, key: &str) -> bool {
    ALL.iter().any(|known| known.name == section && known.keys.contains(&key))
}

sections! {
    ICPGATE = "icpgate.yaml": [
        "node", "filings", "listeners", "sites", "origins", "client_regions", "links", "resolver", "access_log",
        "admin", "log", "limits", "compress", "cache", "acme",
    ];
    FILINGS_BY_URL = "filings: {url}": ["url", "interval", "public_key", "trust"];
    FILINGS_BY_ETCD = "filings: {etcd}": ["etcd"];
    FILINGS_ETCD = "filings.etcd": ["endpoints", "key", "trust", "username", "password_file"];
    LISTENER = "listeners[]": [
        "name", "addresses", "protocol", "public_addresses", "refusal", "proxy_protocol", "trusted_proxies",
        "redirect", "health_check",
    ];
    PROXY_PROTOCOL = "listeners[].proxy_protocol": ["trusted"];
    HEALTH_CHECK = "listeners[].health_check": ["path", "from"];
    SITE = "sites[]": [
        "name", "hosts", "listeners", "certificate", "footer", "assets", "compress", "cache", "rate_limit", "max_body", "routes",
    ];
    CERTIFICATE = "sites[].certificate": ["chain", "key", "acme"];
    CERTIFICATE_ACME = "sites[].certificate.acme": ["dns"];
    DNS_RFC2136 = "sites[].certificate.acme.dns[provider: rfc2136]": [
        "provider", "server", "key_name", "key_file", "algorithm",
    ];
    DNS_CLOUD = "sites[].certificate.acme.dns[provider: alidns, dnspod, huawei]": [
        "provider", "credentials", "endpoint", "server",
    ];
    DNS_CREDENTIALS = "sites[].certificate.acme.dns.credentials": ["from", "path", "role", "metadata"];
    DNS_EXEC = "sites[].certificate.acme.dns[provider: exec]": ["provider", "program", "server"];
    FOOTER = "sites[].footer": ["pages", "display", "template"];
    RATE_LIMIT = "sites[].rate_limit": ["requests", "burst", "per"];
    ASSETS = "sites[].assets": ["report", "map"];
    ROUTE = "sites[].routes[]": [
        "match", "origins", "residency", "cache", "redirect", "respond", "path", "request_headers", "response_headers",
    ];
    MATCH = "sites[].routes[].match": ["path", "path_exact", "method", "header", "clients", "from"];
    REDIRECT = "sites[].routes[].redirect": ["to", "status"];
    RESPOND = "sites[].routes[].respond": ["status", "body"];
    ROUTE_PATH = "sites[].routes[].path": ["strip", "prepend"];
    ROUTE_FIELDS = "sites[].routes[].request_headers": ["set", "remove"];
    ORIGIN = "origins[]": [
        "name", "region", "scheme", "server_name", "trust", "servers", "health", "timeouts", "retries",
        "hedge_after", "balance", "max_in_flight", "host", "proxy_protocol", "pool", "congestion",
    ];
    BALANCE = "origins[].balance": ["hash"];
    HASH = "origins[].balance.hash": ["cookie", "header"];
    SERVER = "origins[].servers[]": ["address", "weight", "backup", "link"];
    TIMEOUTS = "origins[].timeouts": ["connect", "first_byte", "idle"];
    POOL = "origins[].pool": ["max_idle", "preconnect"];
    ORIGIN_HEALTH = "origins[].health": ["kind", "path", "expect", "interval"];
    RETRIES = "origins[].retries": ["attempts", "budget", "per_try"];
    COMPRESS = "compress": ["encodings", "min_bytes", "types"];
    RESOLVER = "resolver": ["servers"];
    LINK = "links.*": ["first_byte", "failures", "prefer"];
    ACCESS_LOG = "access_log": ["directory", "retention", "reserve", "when_full", "redact_query", "client_budget", "sinks", "free_shipped", "encrypt_to"];
    SINK_DIRECTORY = "access_log.sinks[type: directory]": ["name", "type", "require", "path"];
    SINK_S3 = "access_log.sinks[type: s3]": [
        "name", "type", "require", "endpoint", "trust", "region", "bucket", "prefix", "path_style", "credentials",
    ];
    SINK_OSS = "access_log.sinks[type: oss]": [
        "name", "type", "require", "endpoint", "trust", "region", "bucket", "prefix", "credentials",
    ];
    SINK_SLS = "access_log.sinks[type: sls]": [
        "name", "type", "require", "endpoint", "trust", "region", "project", "logstore", "credentials",
    ];
    SINK_KAFKA = "access_log.sinks[type: kafka]": ["name", "type", "require", "brokers", "topic", "tls", "sasl"];
    SINK_RELP = "access_log.sinks[type: relp]": ["name", "type", "require", "address", "tls"];
    SINK_CREDENTIALS = "access_log.sinks[].credentials": ["from", "path", "role", "metadata"];
    SINK_TLS = "access_log.sinks[].tls": ["server_name", "trust"];
    SINK_SASL = "access_log.sinks[].sasl": ["mechanism", "username", "password_file"];
    CREDENTIALS_FILE = "credentials file": ["access_key_id", "access_key_secret", "security_token"];
    ADMIN = "admin": ["address", "hosts"];
    LOG = "log": ["format", "level"];
    LIMITS = "limits": [
        "connections", "connections_per_client", "memory", "memory_per_client", "client_hello_timeout", "handshake_timeout",
        "request_head_timeout", "request_head_bytes", "body_idle_timeout", "body_rate", "body_rate_grace",
        "idle_timeout", "drain_timeout", "upgrade_timeout", "revocation_grace", "filings_stale_after",
    ];
    CACHE = "cache": ["memory", "max_object", "disk"];
    CACHE_DISK = "cache.disk": ["directory", "size"];
    ACME = "acme": ["directory", "contact", "store", "trust", "external_account"];
    ACME_EXTERNAL_ACCOUNT = "acme.external_account": ["key_id", "key_file"];
    FILINGS = "filings.yaml": ["filings"];
    FILING = "filings[]": [
        "domain", "number", "status", "approved_on", "valid_until", "hosts", "access",
        "public_security", "live_on", "sms_sent_at",
    ];
    ACCESS = "filings[].access[]": ["provider", "addresses"];
    PUBLIC_SECURITY = "filings[].public_security": ["number"];
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The keys that the reference lists, as `section key`: the first column of the table under the
    /// heading that names the section.
    fn documented() -> BTreeSet<String> {
        let reference = include_str!("../../docs/configuration.md");
        let quoted = |text: &str| text.split('`').nth(1).map(str::to_owned);
        let mut section = None;
        let mut keys = BTreeSet::new();
        for line in reference.lines() {
            if let Some(heading) = line.strip_prefix('#') {
                section = quoted(heading);
            } else if let Some(row) = line.strip_prefix("| `") {
                let section = section.as_deref().expect("a table of keys stands under its section");
                let key = row.split('`').next().expect("a quoted key");
                assert!(keys.insert(format!("{section} {key}")), "{section} {key} is there twice");
            }
        }
        keys
    }

    #[test]
    fn the_reference_lists_every_key_and_no_other() {
        let keys = |section: &&Section| {
            section.keys.iter().map(|key| format!("{} {key}", section.name)).collect::<Vec<_>>()
        };
        let schema: BTreeSet<String> = ALL.iter().flat_map(keys).collect();
        assert_eq!(documented(), schema);
        assert!(ALL.iter().all(|section| section.keys.len() <= 64));
    }
}
