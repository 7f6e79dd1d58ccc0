//! Fetches one page as a browser would: redirects followed, content coding decoded.
//!
//! Everything is bounded: the time, the redirects, the bytes that come and the bytes that they decode to.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::header::{self, HeaderMap};
use http::uri::Authority;
use http::{Request, Uri};

use crate::config::sinks::{Endpoint, ServerAddress, SinkHost};
use crate::hostname::Hostname;
use crate::remote::http::{HttpClient, Payload};
use crate::rewrite::{Charset, Coding, Decoder, declared_charset};

/// Bytes of a page, decoded: a hundred times what pages have.
pub(in crate::cli) const PAGE_BYTES: u64 = 8 << 20;
/// As many as curl's scripts use; a page that needs more runs in a circle.
pub(in crate::cli) const REDIRECTS: usize = 5;
/// For everything together.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a server answers to a request for a page.
#[derive(Debug)]
pub(in crate::cli) enum Fetched {
    Page(Page),
    /// It is to be asked for elsewhere.
    Redirect(Uri),
}

/// A page that was fetched.
#[derive(Debug)]
pub(in crate::cli) struct Page {
    /// Decoded.
    pub(in crate::cli) body: Vec<u8>,
    /// What its head says of its charset.
    pub(in crate::cli) charset: Charset,
    /// The media type, without parameters and in lower case; empty if there is none.
    pub(in crate::cli) media_type: String,
}

/// Fetches the page at `url` and what its head says of its charset. A server at an IP address is asked for `host`, and
/// verified by it.
pub(super) async fn fetch(
    url: &str,
    host: Option<&Hostname>,
    trust: Option<&Path>,
) -> anyhow::Result<(Vec<u8>, Charset)> {
    match tokio::time::timeout(PATIENCE, follow(url, host, trust)).await {
        Ok(fetched) => fetched,
        Err(_) => anyhow::bail!("it did not come within {} s", PATIENCE.as_secs()),
    }
}

async fn follow(
    url: &str,
    host: Option<&Hostname>,
    trust: Option<&Path>,
) -> anyhow::Result<(Vec<u8>, Charset)> {
    let mut url = parse(url)?;
    for _ in 0..=REDIRECTS {
        let server = endpoint(&url)?;
        let mut client = match host.filter(|_| address(&url).is_some()) {
            // Over TLS, the server is asked for the host and verified by it.
            Some(host) => {
                let named = ServerAddress { host: SinkHost::Name(host.clone()), port: server.address.port };
                HttpClient::reached_at(&Endpoint { address: named, ..server }, server.address, trust)?
            }
            None => HttpClient::new(&server, trust)?,
        };
        match get(&mut client, &url, host).await? {
            Fetched::Redirect(next) => url = next,
            Fetched::Page(page) => return Ok((page.body, page.charset)),
        }
    }
    anyhow::bail!("more than {REDIRECTS} redirects, the last one to {url}")
}

/// Asks once for `url`. A URL with an IP address is asked for `host`. Fails unless the answer is a page or a redirect.
pub(in crate::cli) async fn get(
    client: &mut HttpClient,
    url: &Uri,
    host: Option<&Hostname>,
) -> anyhow::Result<Fetched> {
    let mut answer = client.begin(request(url, host)?).await?;
    let (status, headers) = (answer.status(), answer.headers().clone());
    if status.is_redirection()
        && let Some(location) = headers.get(header::LOCATION)
    {
        let location = location.to_str().context("the location of a redirect is not ASCII")?;
        return Ok(Fetched::Redirect(resolve(url, location)?));
    }
    anyhow::ensure!(status.is_success(), "{url} answered {status}");
    let mut body = Vec::new();
    while let Some(chunk) = client.next_chunk(answer.body_mut()).await? {
        body.extend_from_slice(&chunk);
        anyhow::ensure!(body.len() as u64 <= PAGE_BYTES, "it is larger than {PAGE_BYTES} bytes");
    }
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = media_type.and_then(|value| value.split(';').next()).unwrap_or_default();
    let (charset, media_type) = (declared_charset(&headers), media_type.trim().to_ascii_lowercase());
    Ok(Fetched::Page(Page { body: decoded(body, &headers)?, charset, media_type }))
}

pub(in crate::cli) fn parse(url: &str) -> anyhow::Result<Uri> {
    let url = url.split('#').next().unwrap_or_default();
    let url: Uri = url.parse().with_context(|| format!("{url} is no URL"))?;
    let is_web = matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some();
    anyhow::ensure!(is_web, "{url} is no URL of the web");
    Ok(url)
}

/// A `location` relative to the URL that it came from (RFC 3986, 5.2, without dot segments, which servers resolve).
fn resolve(from: &Uri, location: &str) -> anyhow::Result<Uri> {
    let scheme = from.scheme_str().unwrap_or("https");
    let authority = from.authority().map_or("", Authority::as_str);
    let has_scheme = location.split(['/', '?', '#']).next().is_some_and(|start| start.contains(':'));
    let folder = from.path().rsplit_once('/').map_or("", |(folder, _)| folder);
    parse(&match location {
        absolute if has_scheme => absolute.to_owned(),
        other if other.starts_with("//") => format!("{scheme}:{other}"),
        path if path.starts_with('/') => format!("{scheme}://{authority}{path}"),
        query if query.starts_with('?') => format!("{scheme}://{authority}{}{query}", from.path()),
        relative => format!("{scheme}://{authority}{folder}/{relative}"),
    })
}

/// The server of a URL.
pub(in crate::cli) fn endpoint(url: &Uri) -> anyhow::Result<Endpoint> {
    let is_tls = url.scheme_str() == Some("https");
    let name = url.host().unwrap_or_default();
    let host = match address(url) {
        Some(address) => SinkHost::Address(address),
        None => {
            SinkHost::Name(Hostname::from_unicode(name).with_context(|| format!("{name:?} is no host name"))?)
        }
    };
    let port = url.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    Ok(Endpoint { is_tls, address: ServerAddress { host, port } })
}

/// The IP address in place of a host name.
fn address(url: &Uri) -> Option<IpAddr> {
    url.host()?.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

fn request(url: &Uri, host: Option<&Hostname>) -> anyhow::Result<Request<Payload>> {
    let authority = match host {
        Some(host) if address(url).is_some() => host.to_string(),
        _ => endpoint(url)?.authority(),
    };
    Ok(Request::get(url.path_and_query().map_or("/", |path| path.as_str()))
        .header(header::HOST, authority)
        .header(header::ACCEPT, "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8")
        .header(header::ACCEPT_ENCODING, "gzip, deflate, br, zstd")
        .header(header::USER_AGENT, concat!("icpgate/", env!("CARGO_PKG_VERSION"), " (audit)"))
        .body(Payload::empty())?)
}

fn decoded(body: Vec<u8>, headers: &HeaderMap) -> anyhow::Result<Vec<u8>> {
    let mut body = body;
    let codings = headers.get_all(header::CONTENT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    let codings: Vec<&str> = codings.flat_map(|value| value.split(',')).map(str::trim).collect();
    // The last one was applied last.
    for name in
        codings.into_iter().rev().filter(|name| !name.is_empty() && !name.eq_ignore_ascii_case("identity"))
    {
        let coding =
            Coding::named(name).with_context(|| format!("the content coding {name:?} is not known"))?;
        body = decode(coding, body)?;
    }
    Ok(body)
}

fn decode(coding: Coding, body: Vec<u8>) -> anyhow::Result<Vec<u8>> {
    let mut decoder = Decoder::new(coding);
    decoder.feed(Bytes::from(body));
    let mut page = Vec::new();
    while !decoder.is_hungry() {
        page.extend_from_slice(&decoder.step()?);
        anyhow::ensure!(page.len() as u64 <= PAGE_BYTES, "it decodes to more than {PAGE_BYTES} bytes");
    }
    anyhow::ensure!(decoder.is_whole(), "its content coding breaks off");
    Ok(page)
}
