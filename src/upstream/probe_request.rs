//! This edge's own request without a body, over its own connection: for health checks and `probe`.

use h2::client;
use http::{Method, Request, StatusCode, Uri, Version, header};

use super::{NegotiatedProtocol, ResponsePart, UpstreamFailure, http1};
use crate::message::BadMessage;
use crate::net::http1_stream::Http1Stream;
use crate::origin::Scheme;

#[derive(Clone, Copy, Debug)]
pub(crate) struct ProbeRequest<'a> {
    pub(crate) method: &'a Method,
    pub(crate) path: &'a str,
    pub(crate) host: &'a str,
    pub(crate) scheme: &'a Scheme,
}

const USER_AGENT: &str = "icpgate";

/// The response's status. The caller bounds the time; the connection is closed afterwards.
pub(crate) async fn ask(
    stream: Box<Http1Stream>,
    protocol: NegotiatedProtocol,
    request: ProbeRequest<'_>,
) -> Result<StatusCode, UpstreamFailure> {
    match protocol {
        NegotiatedProtocol::Http1 => over_http1(stream, request).await,
        NegotiatedProtocol::Http2 => over_http2(stream, request).await,
    }
}

async fn over_http1(
    stream: Box<Http1Stream>,
    request: ProbeRequest<'_>,
) -> Result<StatusCode, UpstreamFailure> {
    let mut session = http1::ServerHttp1::new(stream);
    let fields =
        [(header::HOST, request.host), (header::USER_AGENT, USER_AGENT), (header::CONNECTION, "close")];
    session.ask(request.method, request.path.as_bytes(), &fields).await?;
    loop {
        match session.read().await? {
            ResponsePart::Head { head, .. } if !head.status.is_informational() => return Ok(head.status),
            ResponsePart::Head { .. } => {}
            ResponsePart::Body(_) | ResponsePart::End(_) => return Err(BadMessage::Syntax.into()),
        }
    }
}

async fn over_http2(
    stream: Box<Http1Stream>,
    request: ProbeRequest<'_>,
) -> Result<StatusCode, UpstreamFailure> {
    let failed = |error: h2::Error| UpstreamFailure::from(std::io::Error::other(error));
    let uri =
        Uri::builder().scheme(request.scheme.uri()).authority(request.host).path_and_query(request.path);
    let mut head = Request::new(());
    *head.method_mut() = request.method.clone();
    *head.version_mut() = Version::HTTP_2;
    *head.uri_mut() = uri.build().map_err(|_| BadMessage::Target)?;
    head.headers_mut().insert(header::USER_AGENT, header::HeaderValue::from_static(USER_AGENT));
    let (mut send, connection) = client::handshake(stream.into_transport()).await.map_err(failed)?;
    let (response, _) = send.send_request(head, true).map_err(failed)?;
    tokio::select! {
        response = response => Ok(response.map_err(failed)?.status()),
        ended = connection => match ended {
            Err(error) => Err(failed(error)),
            Ok(()) => Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()),
        },
    }
}
