//! The gate: a host is served on a listener at a time only while an approved filing covers it.
//!
//! [`decide`] is asked before a socket is bound, before a handshake is answered and for every
//! request. It is a pure function, so the answers cannot differ. A [`Permit`] and a [`BindPermit`]
//! can only come from here.

mod certified;
pub mod deadline;
mod decide;
pub mod filing;
pub mod filings;
pub mod number;
pub mod top_level;

use std::net::IpAddr;
use std::sync::Arc;

use crate::hostname::{HostPattern, HostTable, Hostname};

use certified::Certified;

pub use certified::Coverage;
pub use decide::{bind, decide, permitted_patterns};
pub use filing::{Filing, FilingStatus};
pub use filings::Filings;
pub use number::{FilingNumber, NumberKind, PublicSecurityNumber};

/// All that the gate judges by.
#[derive(Clone, Debug, Default)]
pub struct Gate {
    /// The allowlist.
    pub filings: Filings,
    /// By [`ListenerId`].
    pub listeners: Vec<ListenerGate>,
}

/// A listener's place in the configuration.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ListenerId(pub usize);

/// A site's place in the configuration.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct SiteId(pub usize);

/// What the gate needs to know of a listener.
#[derive(Clone, Debug, Default)]
pub struct ListenerGate {
    /// The addresses in front of it, as a filing knows them; empty where none are given.
    pub public_addresses: Vec<IpAddr>,
    /// Whether a site needs a certificate to be served here.
    pub certificate: CertificateNeed,
    hosts: HostTable<Served>,
    /// The patterns of `hosts`, in the order they were added.
    patterns: Vec<HostPattern>,
}

impl ListenerGate {
    /// With no host yet.
    pub fn new(public_addresses: Vec<IpAddr>, certificate: CertificateNeed) -> Self {
        Self { public_addresses, certificate, ..Self::default() }
    }

    /// Has `site` serve the hosts of `pattern`, with the certificate that it uses, if it has a usable one.
    pub fn serve(&mut self, pattern: &HostPattern, site: SiteId, certificate: Option<&Arc<Coverage>>) {
        self.hosts.insert(pattern, Served { site, certified: Certified::of(pattern, certificate) });
        self.patterns.push(pattern.clone());
    }
}

/// Who serves the hosts of a pattern.
#[derive(Clone, Debug)]
struct Served {
    site: SiteId,
    certified: Certified,
}

/// Whether a listener needs certificates.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum CertificateNeed {
    /// It terminates TLS.
    #[default]
    Required,
    /// It speaks clear text.
    None,
}

/// Proof that a host was permitted on a listener when the gate was asked.
#[derive(Clone, Debug)]
pub struct Permit {
    host: Hostname,
    site: SiteId,
    filing: Arc<Filing>,
}

impl Permit {
    /// The host that is permitted.
    pub fn host(&self) -> &Hostname {
        &self.host
    }

    /// The site that serves it.
    pub fn site(&self) -> SiteId {
        self.site
    }

    /// The filing that covers it.
    pub fn filing(&self) -> &Arc<Filing> {
        &self.filing
    }
}

/// Proof that at least one host was permitted on a listener when the gate was asked. Binding its
/// addresses takes it by value.
#[derive(Debug)]
pub struct BindPermit {
    listener: ListenerId,
}

impl BindPermit {
    /// The listener whose addresses may be bound.
    pub fn listener(&self) -> ListenerId {
        self.listener
    }
}

macro_rules! refusals {
    ($($(#[$doc:meta])* $variant:ident = $label:literal,)*) => {
        /// Why a host, a connection or a request is not served. The labels are the same in records,
        /// metrics, `explain` and the status page.
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        pub enum Refusal {
            $($(#[$doc])* $variant,)*
        }

        impl Refusal {
            /// Every refusal, in the order of the contract.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The word for it.
            pub fn label(self) -> &'static str {
                match self {
                    $(Self::$variant => $label,)*
                }
            }
        }
    };
}

refusals! {
    /// The client named no host.
    NoServerName = "no_server_name",
    /// The name is no host name.
    BadServerName = "bad_server_name",
    /// The name is an IP address.
    IpLiteral = "ip_literal",
    /// No filing's domain is the host's registrable domain.
    NotFiled = "not_filed",
    /// The filing is not approved.
    NotApproved = "not_approved",
    /// The approval begins later.
    NotYetValid = "not_yet_valid",
    /// The approval has ended.
    Expired = "expired",
    /// The filing names hosts, and this is none of them.
    HostExcluded = "host_excluded",
    /// The listener has a public address that the filing's access does not list.
    AddressNotFiled = "address_not_filed",
    /// No site on the listener serves the host.
    NoSite = "no_site",
    /// The site has no usable certificate for the host.
    NoCertificate = "no_certificate",
    /// The ClientHello carries the ESNI extension.
    Esni = "esni",
    /// The ClientHello is malformed or too long.
    BadHello = "bad_hello",
    /// Something other than TLS on a TLS port.
    NotTls = "not_tls",
    /// The ClientHello did not come in time.
    HelloTimeout = "hello_timeout",
    /// The request head is malformed or too long.
    BadHead = "bad_head",
    /// The request head did not come in time.
    HeadTimeout = "head_timeout",
    /// A request for a host that is not permitted, on a connection that is.
    HostNotPermitted = "host_not_permitted",
    /// A request for a permitted host that the certificate in use does not cover.
    NotCovered = "not_covered",
    /// A limit of connections is reached.
    TooManyConnections = "too_many_connections",
    /// The PROXY protocol header is missing, malformed or not from a trusted peer.
    ProxyProtocol = "proxy_protocol",
    /// A permitted host, asked for with less than TLS 1.2.
    TlsVersion = "tls_version",
    /// A permitted host whose handshake failed.
    Handshake = "handshake",
}

impl From<crate::hostname::InvalidHostname> for Refusal {
    fn from(invalid: crate::hostname::InvalidHostname) -> Self {
        use crate::hostname::InvalidHostname;
        match invalid {
            InvalidHostname::IpLiteral => Self::IpLiteral,
            InvalidHostname::Empty
            | InvalidHostname::TrailingDot
            | InvalidHostname::TooLong
            | InvalidHostname::LabelLength
            | InvalidHostname::Hyphen
            | InvalidHostname::Character(_)
            | InvalidHostname::Idna => Self::BadServerName,
        }
    }
}
