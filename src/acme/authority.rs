//! The HTTP client that ACME requests go through: the program's own, with its limits and roots.

use std::fmt::Display;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{BodyExt as _, Full};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use tokio::sync::Mutex;

use super::job::Failure;
use super::status::OrderResult;
use crate::config::sinks::{Endpoint, ServerAddress, SinkHost};
use crate::hostname::Hostname;
use crate::remote::foreign_text::shown;
use crate::remote::http::{HttpClient as Http, Payload};

/// A client of the authority at the host of its directory.
#[derive(Clone)]
pub(super) struct Authority(Arc<Shared>);

struct Shared {
    endpoint: Endpoint,
    http: Mutex<Http>,
}

impl Authority {
    pub(super) fn new(directory: &str, trust: Option<&Path>) -> Result<Self, Failure> {
        let unreachable = |error: &dyn Display| Failure::new(OrderResult::CaUnreachable, error);
        let url: Uri = directory.parse().map_err(|error: http::uri::InvalidUri| unreachable(&error))?;
        let endpoint = endpoint(&url).map_err(|error| unreachable(&error))?;
        let http = Http::new(&endpoint, trust).map_err(|error| unreachable(&error))?;
        Ok(Self(Arc::new(Shared { endpoint, http: Mutex::new(http) })))
    }
}

impl HttpClient for Authority {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let shared = Arc::clone(&self.0);
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let Ok(body) = body.collect().await;
            let other = |error: String| Error::Other(error.into());
            if endpoint(&head.uri).map_err(other)? != shared.endpoint {
                return Err(other(format!("{} is not at {}", head.uri, shared.endpoint)));
            }
            let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
            let mut ask = Request::builder()
                .method(head.method)
                .uri(path)
                .header(http::header::HOST, shared.endpoint.authority());
            for (name, value) in &head.headers {
                ask = ask.header(name, value);
            }
            let ask = ask.body(Payload::bytes(body.to_bytes()))?;
            let answer = shared.http.lock().await.send(ask).await;
            let answer = answer.map_err(|failure| Error::Other(failure.into()))?;
            let mut response = Response::new(Full::new(answer.body));
            (*response.status_mut(), *response.headers_mut()) = (answer.status, answer.headers);
            Ok(BytesResponse::from(response))
        })
    }
}

/// Where a URL leads.
fn endpoint(url: &Uri) -> Result<Endpoint, String> {
    let (Some("https"), Some(host)) = (url.scheme_str(), url.host()) else {
        return Err(format!("{url} is not an https URL"));
    };
    let host = host.trim_matches(['[', ']']);
    let host = match host.parse() {
        Ok(ip) => SinkHost::Address(ip),
        Err(_) => SinkHost::Name(Hostname::from_unicode(host).map_err(|error| format!("{url}: {error}"))?),
    };
    Ok(Endpoint { is_tls: true, address: ServerAddress { host, port: url.port_u16().unwrap_or(443) } })
}

/// What an error of the library means.
pub(super) fn failed(error: Error) -> Failure {
    let result = match &error {
        Error::Api(_) => OrderResult::CaRefused,
        _ => OrderResult::CaUnreachable,
    };
    Failure::new(result, shown(error.to_string().as_bytes()))
}
