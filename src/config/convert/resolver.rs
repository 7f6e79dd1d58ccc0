//! `resolver`: name servers for the names of upstream servers.

use std::net::SocketAddr;

use crate::config::reader::Value;
use crate::config::schema;
use crate::origin::{Origin, ServerHost};

/// Name servers beyond the first few are hardly ever asked.
const MAX_NAME_SERVERS: usize = 8;

pub(super) fn name_servers(value: &Value<'_>) -> Option<Vec<SocketAddr>> {
    let fields = value.fields(schema::RESOLVER)?;
    let servers = fields.required("servers")?;
    let all = servers.distinct(|item| {
        item.parsed("an address of a name server", "10.0.0.2:53 or 10.0.0.2", |text| match text.parse() {
            Ok(address) => Ok(SocketAddr::new(address, 53)),
            Err(_) => text.parse(),
        })
    })?;
    if all.len() > MAX_NAME_SERVERS {
        servers.fatal(format_args!("there are more than {MAX_NAME_SERVERS}"), None);
        return None;
    }
    Some(all)
}

/// Warns if no server has a name: IP addresses are not looked up.
pub(super) fn warn_of_useless(resolver: &Value<'_>, origins: &[Option<Origin>]) {
    let mut servers = origins.iter().flatten().flat_map(|origin| &origin.servers);
    if !servers.any(|server| matches!(server.host, ServerHost::Name(_))) {
        resolver.warn("no server has a name to look up", "remove it".to_owned());
    }
}
