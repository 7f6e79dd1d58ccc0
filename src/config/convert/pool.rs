//! `pool` and `congestion`: idle connections of an origin, and their congestion control.

use std::sync::Arc;

use super::{Value, or};
use crate::config::schema;
use crate::origin::{Pool, ProxyProtocol};

const MAX_IDLE: u64 = 65_536;
/// The most preconnected connections to one server: more would be load without a use.
const MAX_PRECONNECT: u64 = 256;

pub(super) fn pool(value: &Value<'_>, proxy_protocol: Option<ProxyProtocol>) -> Option<Pool> {
    let fields = value.fields(schema::POOL)?;
    let default = Pool::default();
    let number =
        |key, default, max| or(fields.get(key), default, |value| value.count(0, max)?.try_into().ok());
    let max_idle = number("max_idle", default.max_idle, MAX_IDLE);
    let preconnect = number("preconnect", default.preconnect, MAX_PRECONNECT);
    if proxy_protocol == Some(ProxyProtocol::V2) {
        fields.useless("preconnect", "with proxy_protocol a connection is one client's");
    }
    let pool = Pool { max_idle: max_idle?, preconnect: preconnect? };
    if pool.preconnect > pool.max_idle {
        let message = format!("preconnect is {}, and max_idle {}", pool.preconnect, pool.max_idle);
        value.fatal(message, "preconnect must be at most max_idle".to_owned());
        return None;
    }
    Some(pool)
}

/// The kernel's name of a congestion control.
pub(super) fn congestion(value: &Value<'_>) -> Option<Option<Arc<str>>> {
    value.parsed("a congestion control", "bbr", |text| {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-".contains(&byte);
        match text.len() {
            1..=15 if text.bytes().all(plain) => Ok(Some(Arc::from(text))),
            _ => Err("it must be a word of at most 15 lower-case letters and digits"),
        }
    })
}
