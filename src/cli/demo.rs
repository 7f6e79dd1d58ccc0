//! `icpgate demo`: the real proxy with its own certificates, origins and allowlist.
//!
//! All files are in a temporary folder, which is removed at the end. It uses loopback addresses only.

use std::fmt::Write as _;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::Context as _;
use axum::Router;
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, Uri};
use axum::response::Html;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::net::TcpListener;

use super::Answer;
use super::run::runtime;
use crate::app;
use crate::clock::Clock;

/// The arguments of `demo`.
#[derive(Debug, clap::Args)]
pub(super) struct DemoArgs {
    /// The address for TLS.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8443")]
    listen: SocketAddr,
    /// The address in clear text.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    http: SocketAddr,
    /// The address of the admin pages.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:9180")]
    admin: SocketAddr,
}

const FILED: &str = "www.example.cn";
const UNFILED: &str = "www.example.net";
/// The path that the edge cache keeps.
const NEWS: &str = "/news";

const FILINGS: &str = "\
# The allowlist. Save a change and watch the ports: they follow within 250 ms.
filings:
  - domain: example.cn
    number: 京ICP备2024012345号-1
    status: approved
    approved_on: 2026-03-02
";

/// Serves the demonstration until a signal ends it.
pub(super) fn demo(args: &DemoArgs, out: &mut dyn Write) -> anyhow::Result<Answer> {
    let args = &DemoArgs {
        listen: free("--listen", args.listen)?,
        http: free("--http", args.http)?,
        admin: free("--admin", args.admin)?,
    };
    let folder = tempfile::Builder::new()
        .prefix("icpgate-demo-")
        .tempdir()
        .context("a temporary folder cannot be created")?;
    let runtime = runtime()?;
    let outcome = runtime.block_on(async {
        let mainland = origin("mainland", "北京").await?;
        let offshore = origin("offshore", "Singapore").await?;
        write_files(folder.path(), args, mainland, offshore)?;
        out.write_all(guide(folder.path(), args).as_bytes())?;
        app::run(folder.path().join("icpgate.yaml"), Clock::system()).await.map_err(anyhow::Error::from)
    });
    runtime.shutdown_background();
    outcome.context("the demonstration did not start")?;
    Ok(Answer::Yes)
}

/// The address, with a free port if its port is 0.
fn free(option: &str, address: SocketAddr) -> anyhow::Result<SocketAddr> {
    let socket = std::net::TcpListener::bind(address);
    let socket = socket.with_context(|| format!("{address} cannot be used; choose another with {option}"))?;
    Ok(socket.local_addr()?)
}

/// An origin that answers every request with a page that describes it. The news may be kept for a minute.
async fn origin(region: &'static str, place: &'static str) -> anyhow::Result<SocketAddr> {
    let socket = TcpListener::bind("127.0.0.1:0").await.context("an origin cannot be bound on 127.0.0.1")?;
    let address = socket.local_addr()?;
    let page = move |uri: Uri, headers: HeaderMap| async move {
        let mut shown = String::new();
        for (name, value) in &headers {
            // Writing into a string cannot fail.
            let _ = writeln!(shown, "{name}: {}", String::from_utf8_lossy(value.as_bytes()));
        }
        let shown = shown.replace('&', "&amp;").replace('<', "&lt;");
        let path = uri.path().replace('&', "&amp;").replace('<', "&lt;");
        let lifetime = if path.starts_with(NEWS) { "max-age=60" } else { "no-store" };
        let page = Html(format!(
            "<!doctype html>\n<html>\n<head><meta charset=\"utf-8\"><title>{region}</title></head>\n<body>\n\
             <h1>{path} from the {region} origin ({place})</h1>\n<pre>{shown}</pre>\n</body>\n</html>\n"
        ));
        ([(CACHE_CONTROL, lifetime)], page)
    };
    tokio::spawn(async move { axum::serve(socket, Router::new().fallback(page)).await });
    Ok(address)
}

fn write_files(
    folder: &Path,
    args: &DemoArgs,
    mainland: SocketAddr,
    offshore: SocketAddr,
) -> anyhow::Result<()> {
    write_certificates(folder)?;
    fs_err::write(folder.join("filings.yaml"), FILINGS)?;
    fs_err::write(folder.join("curlrc"), curlrc(folder, args))?;
    let DemoArgs { listen, http, admin } = args;
    let configuration = format!(
        "\
node: demo
filings: filings.yaml
listeners:
  - {{name: https, addresses: [\"{listen}\"], protocol: https}}
  - {{name: http, addresses: [\"{http}\"], protocol: http}}
sites:
  - name: demo
    hosts: [{FILED}, {UNFILED}]
    certificate: {{chain: demo.pem, key: demo.key}}
    routes:
      - match: {{path: /pay}}
        origins: [offshore]
      - match: {{path: {NEWS}}}
        origins: [offshore]
        cache: on
      - match: {{path: /}}
        origins: [mainland]
cache: {{memory: 16MiB}}
origins:
  - {{name: mainland, region: mainland, scheme: http, servers: [\"{mainland}\"]}}
  - {{name: offshore, region: offshore, scheme: http, servers: [\"{offshore}\"]}}
access_log: {{directory: access, sinks: [{{name: audit, type: directory, path: audit}}]}}
admin: {{address: \"{admin}\"}}
"
    );
    fs_err::write(folder.join("icpgate.yaml"), configuration)?;
    Ok(())
}

/// A certificate authority for this run, and a certificate of it.
fn write_certificates(folder: &Path) -> anyhow::Result<()> {
    let mut authority = CertificateParams::new(Vec::new())?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.distinguished_name.push(rcgen::DnType::CommonName, "icpgate demo authority");
    let authority_key = KeyPair::generate()?;
    let authority_pem = authority.self_signed(&authority_key)?.pem();
    fs_err::write(folder.join("ca.pem"), &authority_pem)?;
    let issuer = Issuer::new(authority, authority_key);
    let key = KeyPair::generate()?;
    let certificate =
        CertificateParams::new(vec![FILED.to_owned(), UNFILED.to_owned()])?.signed_by(&key, &issuer)?;
    fs_err::write(folder.join("demo.pem"), certificate.pem() + &authority_pem)?;
    write_private(&folder.join("demo.key"), &key.serialize_pem())
}

fn write_private(file: &Path, text: &str) -> anyhow::Result<()> {
    use fs_err::os::unix::fs::OpenOptionsExt as _;
    let mut opened = fs_err::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    Ok(opened.write_all(text.as_bytes())?)
}

/// The curl configuration of every printed command: the CA, and the addresses of the hosts.
fn curlrc(folder: &Path, args: &DemoArgs) -> String {
    let resolve = |host: &str, address: SocketAddr| {
        let (ip, port) = (address.ip(), address.port());
        let ip = if address.is_ipv6() { format!("[{ip}]") } else { ip.to_string() };
        format!("resolve = \"{host}:{port}:{ip}\"\n")
    };
    [
        format!("cacert = \"{}/ca.pem\"\n", folder.display()),
        resolve(FILED, args.listen),
        resolve(FILED, args.http),
        resolve(UNFILED, args.listen),
        "noproxy = \"*\"\nsilent\nshow-error\n".to_owned(),
    ]
    .concat()
}

/// Commands to try, with comments.
fn guide(folder: &Path, args: &DemoArgs) -> String {
    let DemoArgs { listen, http, admin } = args;
    let (tls_port, http_port) = (listen.port(), http.port());
    let program =
        std::env::current_exe().map_or_else(|_| "icpgate".to_owned(), |path| path.display().to_string());
    let folder = folder.display();
    let curl = format!("curl -K {folder}/curlrc");
    format!(
        "
icpgate demo. The status page, for a browser: http://{admin}/

In a second terminal, try:

# A filed host is served over TLS; the filing's link stands before </body>:
{curl} https://{FILED}:{tls_port}/

# Over HTTP/2 as well, where the client offers it (prints: 2 200):
{curl} -o /dev/null -w '%{{http_version}} %{{http_code}}\\n' https://{FILED}:{tls_port}/

# One route of the host leads to the offshore origin:
{curl} https://{FILED}:{tls_port}/pay

# What the origin allows to be kept crosses the border once (prints: icpgate; fwd=uri-miss; stored, and: icpgate; hit):
{curl} -o /dev/null -o /dev/null -w '%header{{cache-status}}\\n' https://{FILED}:{tls_port}{NEWS} https://{FILED}:{tls_port}{NEWS}

# Clear text is redirected (308):
{curl} -i 'http://{FILED}:{http_port}/a?b=c'

# A host without a filing is reset before one byte is sent, and so is a client that names no host:
{curl} https://{UNFILED}:{tls_port}/
{curl} --insecure https://{listen}/

# On a connection that is open, a request for such a host is answered with 421:
{curl} -i -H 'host: {UNFILED}' https://{FILED}:{tls_port}/

# Why? (exit code 1: the answer is no)
{program} explain --config {folder}/icpgate.yaml {UNFILED}

# Revoke the filing: both ports close, and whoever connects is refused by the system. Then approve it again.
sed -i 's/status: approved/status: suspended/' {folder}/filings.yaml
{curl} https://{FILED}:{tls_port}/
sed -i 's/status: suspended/status: approved/' {folder}/filings.yaml
{curl} https://{FILED}:{tls_port}/

# What is open, what is closed and why, as JSON; a browser shows the same, and its changes, at http://{admin}/
{curl} http://{admin}/status.json

# Every request and every refused connection left a record:
{program} logs export {folder}/access

# The records are signed: nothing was changed, cut or taken out.
{program} logs verify {folder}/access

# They are shipped off the machine as well, here to {folder}/audit; the first ones after half a minute:
{program} logs sinks --config {folder}/icpgate.yaml
{program} logs verify --config {folder}/icpgate.yaml --sink audit

# What would cost the address or the evidence, and what to do about it:
{program} doctor --offline --config {folder}/icpgate.yaml

The allowlist is {folder}/filings.yaml: edit it, and watch the ports follow.
Ctrl-C ends the demo and removes the folder.

"
    )
}
