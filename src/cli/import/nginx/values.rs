//! nginx's variables, sizes, times and rates in icpgate's words, and why a directive has no counterpart.

use super::syntax::Directive;
use crate::cli::import::plan::Plan;

/// nginx's variables, and the placeholders that mean the same.
const VARIABLES: [(&str, &str); 12] = [
    ("$remote_addr", "{client_ip}"),
    ("$http_host", "{host}"),
    ("$host", "{host}"),
    ("$server_name", "{host}"),
    ("$request_uri", "{path}{query}"),
    ("$document_uri", "{path}"),
    ("$uri", "{path}"),
    ("$is_args$args", "{query}"),
    ("$is_args$query_string", "{query}"),
    ("$scheme", "{scheme}"),
    ("$request_id", "{request_id}"),
    ("$binary_remote_addr", "{client_ip}"),
];

/// A value with placeholders in place of variables; `None` where a variable has no counterpart.
pub(super) fn with_placeholders(value: &str) -> Option<String> {
    // A brace of the value's own would be read as a placeholder.
    let mut value = value.replace("${", "$\u{0}").replace('}', "\u{1}");
    if value.contains('{') {
        return None;
    }
    value = value.replace(['\u{0}', '\u{1}'], "");
    for (variable, placeholder) in VARIABLES {
        value = replace_whole(&value, variable, placeholder);
    }
    (!value.contains('$')).then_some(value)
}

/// Replaces a variable, but not the beginning of a longer name.
fn replace_whole(value: &str, variable: &str, placeholder: &str) -> String {
    let mut replaced = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = rest.find(variable) {
        let (before, after) = (&rest[..at], &rest[at + variable.len()..]);
        let goes_on = after.starts_with(|next: char| next.is_ascii_alphanumeric() || next == '_');
        replaced.push_str(before);
        replaced.push_str(if goes_on { variable } else { placeholder });
        rest = after;
    }
    replaced + rest
}

/// A size such as `64m`: `64MiB`. Zero is no limit: `None`.
pub(super) fn size(value: &str) -> Option<String> {
    let end = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    let (number, unit) = value.split_at(end);
    let number: u64 = number.parse().ok().filter(|number| *number > 0)?;
    match unit.to_ascii_lowercase().as_str() {
        "" => Some(format!("{}KiB", number.div_ceil(1024))),
        "k" => Some(format!("{number}KiB")),
        "m" => Some(format!("{number}MiB")),
        "g" => Some(format!("{number}GiB")),
        _ => None,
    }
}

/// A time such as `60s`, `60` or `1m`, as icpgate writes it.
pub(super) fn time(value: &str) -> Option<String> {
    let end = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    let (number, unit) = value.split_at(end);
    let number: u64 = number.parse().ok().filter(|number| *number > 0)?;
    matches!(unit, "" | "ms" | "s" | "m" | "h")
        .then(|| format!("{number}{}", if unit.is_empty() { "s" } else { unit }))
}

/// A rate such as `10r/s`: `10/s`.
pub(super) fn rate(value: &str) -> Option<String> {
    let (number, unit) = value.split_once("r/")?;
    let number: u32 = number.parse().ok().filter(|number| *number > 0)?;
    matches!(unit, "s" | "m").then(|| format!("{number}/{unit}"))
}

/// Notes a directive that has no place in icpgate, with the reason where it is known.
pub(super) fn note(plan: &mut Plan, directive: &Directive) {
    plan.note(&directive.place, &directive.text(), reason(&directive.name));
}

/// Why a directive has no counterpart.
fn reason(name: &str) -> &'static str {
    match name {
        "user" | "pid" | "daemon" | "master_process" => "the systemd unit says it",
        "events"
        | "worker_processes"
        | "worker_connections"
        | "worker_rlimit_nofile"
        | "worker_cpu_affinity" => "icpgate uses every core; `limits.connections` bounds connections",
        "access_log" | "log_format" => "every request leaves a record in `access_log.directory`",
        "error_log" => "icpgate logs to stderr; see `log`",
        "root" | "alias" | "index" | "try_files" | "autoindex" | "types" | "default_type" | "sendfile"
        | "tcp_nopush" | "charset" => {
            "icpgate serves no files of its own: put a file server behind it, as an origin"
        }
        "ssl_protocols" | "ssl_ciphers" | "ssl_prefer_server_ciphers" | "ssl_ecdh_curve" | "ssl_dhparam" => {
            "icpgate speaks TLS 1.2 and 1.3 with safe ciphers, always"
        }
        "ssl_session_cache" | "ssl_session_timeout" | "ssl_session_tickets" => {
            "sessions are resumed by tickets"
        }
        "ssl_stapling" | "ssl_stapling_verify" | "ssl_trusted_certificate" => "OCSP stapling is not done",
        "ssl" | "http2" => "HTTP/2 is negotiated on every https listener",
        "keepalive_timeout"
        | "client_header_timeout"
        | "client_body_timeout"
        | "send_timeout"
        | "large_client_header_buffers"
        | "client_header_buffer_size" => "see `limits`",
        "tcp_nodelay" | "keepalive" | "keepalive_requests" | "proxy_http_version" | "zone" => {
            "connections are kept alive and unbatched, always"
        }
        "gzip_vary" | "gzip_proxied" | "gzip_comp_level" | "gzip_disable" | "brotli" | "brotli_types"
        | "brotli_comp_level" => "see the top-level `compress` section",
        "proxy_buffering"
        | "proxy_buffers"
        | "proxy_buffer_size"
        | "proxy_busy_buffers_size"
        | "proxy_request_buffering"
        | "proxy_max_temp_file_size" => "bodies stream, and nothing is buffered on disk",
        "proxy_cache_valid"
        | "proxy_cache_key"
        | "proxy_cache_use_stale"
        | "proxy_cache_lock"
        | "proxy_cache_bypass"
        | "proxy_no_cache"
        | "proxy_cache_methods"
        | "expires" => "freshness follows the origin's own fields (RFC 9111)",
        "proxy_next_upstream" | "proxy_next_upstream_tries" => "see `retries` of an origin",
        "proxy_ssl_verify" | "proxy_ssl_server_name" | "proxy_ssl_trusted_certificate" => {
            "TLS to origins is always verified; `trust` names private roots"
        }
        "set_real_ip_from" | "real_ip_header" => "see `trusted_proxies` of a listener",
        "auth_basic" | "auth_basic_user_file" | "auth_request" | "satisfy" => {
            "icpgate asks nobody for a password: leave it to the origin"
        }
        "map" | "geo" | "split_clients" | "set" | "if" => "icpgate has no variables or conditions",
        "sub_filter" | "sub_filter_once" => "the filing's footer is put in by itself",
        "error_page" | "proxy_intercept_errors" => "an origin's error pages pass as they are",
        "limit_conn" | "limit_conn_zone" => "see `limits.connections_per_client`",
        "stream" | "mail" => "icpgate proxies HTTP",
        _ => "it has no counterpart",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_become_placeholders_or_nothing() {
        let of = |value| with_placeholders(value);
        assert_eq!(of("https://$host$request_uri").as_deref(), Some("https://{host}{path}{query}"));
        assert_eq!(
            of("https://www.a.cn${uri}$is_args$args").as_deref(),
            Some("https://www.a.cn{path}{query}")
        );
        assert_eq!(of("$hostname"), None);
        assert_eq!(of("$http_x"), None);
        assert_eq!(of("a{b"), None);
    }

    #[test]
    fn units_are_translated() {
        assert_eq!(size("64m").as_deref(), Some("64MiB"));
        assert_eq!(size("1024").as_deref(), Some("1KiB"));
        assert_eq!((size("0"), size("x")), (None, None));
        assert_eq!(
            (time("60").as_deref(), time("5m").as_deref(), time("1d")),
            (Some("60s"), Some("5m"), None)
        );
        assert_eq!((rate("10r/s").as_deref(), rate("r/s")), (Some("10/s"), None));
    }
}
