//! The documented configuration is valid as it stands.

use serde_json::json;

use super::list;
use crate::support::edge::Edge;

/// The documented example.
const CONTRACT: &str = r#"
node: bj-edge-1                      # restart; this edge's name in records and metrics; default: the host name
filings: filings.yaml                # the allowlist: a file; watched

listeners:                           # addresses are bound only while a filing permits it
  - name: https
    addresses: ["0.0.0.0:443", "[::]:443"]
    protocol: https                  # https | http
    public_addresses: [203.0.113.10] # the EIP or load balancer in front of it, as the filing knows it
    refusal: reset                   # reset (RST, not one byte) | alert (TLS unrecognized_name) | silent (FIN, not one byte)
    trusted_proxies: []              # peers whose x-forwarded-for and x-request-id are believed; nobody by default
  - name: http
    addresses: ["0.0.0.0:80"]
    protocol: http
    redirect: https                  # https (default: 308 to the same URL over TLS) | none (serve the site in clear text)
    health_check: {path: /healthz, from: [100.64.0.0/10]}   # optional: a load balancer's HTTP probe gets 200 (503 while draining), whatever Host it sends

sites:
  - name: shop                       # in metrics and records; default: the first host
    hosts: [www.example.cn, example.cn, "*.static.example.cn"]   # a wildcard stands for one label
    listeners: [https, http]         # default: all
    certificate: {chain: certs/example.cn.pem, key: certs/example.cn.key}   # watched; kept if the new pair is bad
    footer: {pages: all, display: auto}   # pages: all (default) | home (the path / alone) | off; display: auto (default: by the province's rule) | service | subject
    routes:                          # first match wins; none matches: 404
      - match: {path: /pay, method: [GET, POST]}      # /pay and /pay/x, not /payments; /pay/ means the same; also: path_exact, header: {NAME: VALUE}
        origins: [offshore-sg]       # in order of preference: the next one serves while the one before it is down
      - match: {path: /}
        origins: [mainland, offshore-hk]

origins:
  - name: mainland
    region: mainland
    scheme: http
    servers: ["10.0.1.10:8080", {address: "10.0.1.11:8080"}]
  - name: offshore-sg
    region: offshore
    scheme: https
    server_name: pay.example.com
    servers: ["pay.example.com:443"]
  - name: offshore-hk
    region: offshore
    scheme: https
    server_name: app.example.com     # SNI and the name verified; required for https
    trust: certs/private-ca.pem      # optional; default: the system's roots. There is no switch that turns verification off.
    servers:
      - {address: "app-cn2.example.com:443"}
      - {address: "app.example.com:443"}
    timeouts: {connect: 3s, first_byte: 30s, idle: 60s}
    host: preserve                   # preserve (default) | a host name to send upstream

access_log:
  directory: /var/lib/icpgate/access # restart; the local store: spool and embedded retention in one
  retention: 190d                    # never less than 180d: less is an error
  reserve: 1GiB                      # disk space that the store leaves free
  when_full: refuse                  # refuse (503, nothing goes unrecorded) | drop (serve on; the gap is counted and signed)
  redact_query: [token, password, access_token]

admin: {address: "127.0.0.1:9180"}   # restart
log: {format: text, level: info}     # the program's own log, on stderr: text | json

limits:                              # defaults shown
  connections: 65536
  connections_per_client: 1024
  client_hello_timeout: 5s
  handshake_timeout: 10s             # from the hello to a finished handshake
  request_head_timeout: 10s          # the whole head, not per read
  request_head_bytes: 64KiB
  body_idle_timeout: 60s
  idle_timeout: 75s
  drain_timeout: 30s                 # on stop and upgrade
  revocation_grace: 5s               # an exchange in flight on a revoked host is cut after this
  filings_stale_after: 24h           # the allowlist unreadable or broken for so long: everything closes; 0s: at once
"#;
const CONTRACT_FILINGS: &str = r#"
filings:
  - domain: example.cn               # the registrable domain as filed; it covers the domain and every name below it
    number: 京ICP备2024012345号-1     # required once approved; a subject number without -N is taken with a warning, a licence without -N is a problem
    status: approved                 # preparing | provider_review | sms_verification | bureau_review | approved | suspended | cancelled
    approved_on: 2026-03-02          # required once approved; not served before this day (Asia/Shanghai)
    valid_until: 2031-03-01          # optional; not served after this day
    hosts: [www.example.cn]          # optional: only these names (wildcards as in sites)
    access:                          # optional 接入备案: where the domain is filed for access
      - {provider: aliyun, addresses: [203.0.113.10]}
    public_security: {number: 京公网安备11010502030143号}     # optional 公安联网备案
    live_on: 2026-03-05              # optional: starts the 30 days for the public security filing
    sms_sent_at: 2026-02-20T10:00:00+08:00   # optional: starts the 24 hours of the SMS verification
"#;

#[tokio::test]
async fn the_documented_example_works_as_it_is_written() {
    let folder = Edge::builder().config(CONTRACT).filings(CONTRACT_FILINGS).write();
    fs_err::create_dir(folder.path("certs")).expect("a folder");
    let names = ["www.example.cn", "example.cn", "*.static.example.cn"];
    folder.authority.pair(&names).write(&folder.path("certs"), "example.cn");
    folder.replace("certs/private-ca.pem", &folder.authority.pem);
    let check = folder.check(&["--json", "--at", "2026-04-01T00:00:00+08:00"]).await;
    let found = check.json();
    assert_eq!(
        (check.code, &found["problems"], &found["warnings"]),
        (0, &json!([]), &json!([])),
        "{check:?}"
    );
    for listener in list(&found["listeners"]) {
        assert_eq!((&listener["would_bind"], &listener["hosts"]), (&json!(true), &json!(["www.example.cn"])));
    }
    // The filing names one host; the other hosts of the site are refused.
    assert_eq!(found["refused"][0]["reason"], "host_excluded");
    assert_eq!(list(&found["refused"]).len(), 4);
}
