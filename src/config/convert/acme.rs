//! `acme`, and `certificate.acme` of sites.

use std::path::Path;
use std::sync::Arc;

use super::sinks::{credentials, endpoint, host_and_port};
use super::{Value, or};
use crate::config::Site;
use crate::config::acme::{
    AcmeSettings, CloudDns, CloudSettings, DnsProvider, ExecSettings, ExternalAccount, Rfc2136Settings,
    TsigAlgorithm,
};
use crate::config::reader::Fields;
use crate::config::schema;
use crate::config::sinks::{CredentialsFrom, Endpoint, ServerAddress, SinkHost};
use crate::hostname::Hostname;

/// The section `acme`.
pub(super) fn settings(value: &Value<'_>, folder: &Path) -> Option<AcmeSettings> {
    let fields = value.fields(schema::ACME)?;
    let directory = fields.required("directory").and_then(|value| {
        value.parsed("the URL of a directory", "https://acme-v02.api.letsencrypt.org/directory", |text| {
            let url: http::Uri = text.parse().map_err(|error: http::uri::InvalidUri| error.to_string())?;
            match (url.scheme_str(), url.host()) {
                (Some("https"), Some(_)) => Ok(text.to_owned()),
                _ => Err("it does not begin with https:// and a host".to_owned()),
            }
        })
    });
    let contact = fields.required("contact").and_then(|value| {
        value.parsed("a mail address", "ops@example.cn", |text| match text.split_once('@') {
            Some((user, host)) if !user.is_empty() && !host.is_empty() && is_graphic(text) => {
                Ok(text.to_owned())
            }
            _ => Err("it is not of the form user@host"),
        })
    });
    let store = fields.required("store").and_then(|value| value.path(folder));
    let trust = or(fields.get("trust"), None, |value| value.path(folder).map(Some));
    let external_account =
        or(fields.get("external_account"), None, |value| external_account(value, folder).map(Some));
    Some(AcmeSettings {
        directory: directory?,
        contact: contact?,
        store: store?,
        trust: trust?,
        external_account: external_account?,
    })
}

fn external_account(value: &Value<'_>, folder: &Path) -> Option<ExternalAccount> {
    let fields = value.fields(schema::ACME_EXTERNAL_ACCOUNT)?;
    let key_id = fields.required("key_id").and_then(|value| {
        value.parsed("the id of a key", "kid-1", |text| {
            if !text.is_empty() && is_graphic(text) {
                Ok(text.to_owned())
            } else {
                Err("it is not visible ASCII")
            }
        })
    });
    let key_file = fields.required("key_file").and_then(|value| value.path(folder));
    Some(ExternalAccount { key_id: key_id?, key_file: key_file? })
}

/// Warns of a section that no site uses.
pub(super) fn warn_of_unused(section: Option<&Value<'_>>, sites: &[Option<Site>]) {
    if let Some(section) = section
        && sites.iter().flatten().all(|site| site.acme.is_none())
    {
        section.warn(
            "no site orders a certificate",
            "certificate: {acme: {dns: {provider: rfc2136, …}}}".to_owned(),
        );
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Rfc2136,
    Exec,
    Cloud(CloudDns),
}

const PROVIDERS: [(&str, Kind); 5] = [
    ("alidns", Kind::Cloud(CloudDns::Alidns)),
    ("dnspod", Kind::Cloud(CloudDns::Dnspod)),
    ("huawei", Kind::Cloud(CloudDns::Huawei)),
    ("rfc2136", Kind::Rfc2136),
    ("exec", Kind::Exec),
];

/// `certificate.acme` of a site.
pub(super) fn provider(value: &Value<'_>, folder: &Path) -> Option<Arc<DnsProvider>> {
    let fields = value.fields(schema::CERTIFICATE_ACME)?;
    let dns = fields.required("dns")?;
    let Some(kind) = dns.own("provider") else {
        let known = PROVIDERS.map(|(word, _)| word).join(", ");
        dns.fatal("provider is missing: it is required here", format!("one of {known}"));
        return None;
    };
    let kind = kind.word(&PROVIDERS)?;
    let fields = dns.fields(match kind {
        Kind::Rfc2136 => schema::DNS_RFC2136,
        Kind::Exec => schema::DNS_EXEC,
        Kind::Cloud(_) => schema::DNS_CLOUD,
    })?;
    let provider = match kind {
        Kind::Rfc2136 => DnsProvider::Rfc2136(rfc2136(&fields, folder)?),
        Kind::Exec => {
            let program = fields.required("program").and_then(|value| value.path(folder));
            let server = or(fields.get("server"), None, |value| dns_server(value).map(Some));
            DnsProvider::Exec(ExecSettings { program: program?, server: server? })
        }
        Kind::Cloud(dns) => DnsProvider::Cloud(cloud(dns, &fields, folder)?),
    };
    Some(Arc::new(provider))
}

fn cloud(dns: CloudDns, fields: &Fields<'_>, folder: &Path) -> Option<CloudSettings> {
    let credentials = fields.required("credentials").and_then(|value| {
        let from = credentials(value, schema::DNS_CREDENTIALS, folder)?;
        if dns != CloudDns::Alidns && matches!(from, CredentialsFrom::EcsRole { .. }) {
            let hint = "from: environment, or from: file".to_owned();
            value.fatal(
                format_args!("ecs_role is of Alibaba Cloud, which {} does not know", dns.name()),
                hint,
            );
            return None;
        }
        Some(from)
    });
    let endpoint = match fields.get("endpoint") {
        Some(value) => endpoint(value, "changes of the DNS go"),
        None => public_endpoint(dns),
    };
    let server = or(fields.get("server"), None, |value| dns_server(value).map(Some));
    Some(CloudSettings { dns, endpoint: endpoint?, credentials: credentials?, server: server? })
}

fn public_endpoint(dns: CloudDns) -> Option<Endpoint> {
    let host = SinkHost::Name(Hostname::parse(dns.public_host()).ok()?);
    Some(Endpoint { is_tls: true, address: ServerAddress { host, port: 443 } })
}

fn rfc2136(fields: &Fields<'_>, folder: &Path) -> Option<Rfc2136Settings> {
    let server = fields.required("server").and_then(dns_server);
    let key_name = fields.required("key_name").and_then(|value| {
        value.parsed("the name of a TSIG key", "icpgate.example.cn", |text| {
            let labels = text.strip_suffix('.').unwrap_or(text).split('.');
            let is_label = |label: &str| !label.is_empty() && label.len() <= 63;
            if text.len() <= 253 && is_graphic(text) && !text.contains('\\') && labels.clone().all(is_label) {
                Ok(text.to_owned())
            } else {
                Err("it is not labels of 1 to 63 visible ASCII characters with one '.' between them")
            }
        })
    });
    let key_file = fields.required("key_file").and_then(|value| value.path(folder));
    let algorithm = or(fields.get("algorithm"), TsigAlgorithm::default(), |value| {
        value.word(&[
            ("hmac-sha256", TsigAlgorithm::HmacSha256),
            ("hmac-sha384", TsigAlgorithm::HmacSha384),
            ("hmac-sha512", TsigAlgorithm::HmacSha512),
        ])
    });
    Some(Rfc2136Settings { server: server?, key_name: key_name?, key_file: key_file?, algorithm: algorithm? })
}

/// A DNS server, at port 53 by default.
fn dns_server(value: &Value<'_>) -> Option<ServerAddress> {
    value.parsed("the address of a DNS server", "10.0.0.2:53 or ns1.example.cn", |text| {
        host_and_port(text, Some(53))
    })
}

fn is_graphic(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}
