//! A request of our own, without a body, over a connection of its own: health checks and probes.

use h2::client;
use http::{Method, Request, StatusCode, Uri, Version, header};

use super::{Part, Speaks, UpstreamFailure, http1};
use crate::message::BadMessage;
use crate::net::wire::Wire;
use crate::origin::Scheme;

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asking<'a> {
    pub(crate) method: &'a Method,
    pub(crate) path: &'a str,
    pub(crate) host: &'a str,
    pub(crate) scheme: &'a Scheme,
}

/// The name that goes with it.
const USER_AGENT: &str = "icpgate";

/// The status of the answer. Whoever calls bounds the time; the connection ends with it.
pub(crate) async fn ask(
    wire: Box<Wire>,
    speaks: Speaks,
    asking: Asking<'_>,
) -> Result<StatusCode, UpstreamFailure> {
    match speaks {
        Speaks::Http1 => over_http1(wire, asking).await,
        Speaks::Http2 => over_http2(wire, asking).await,
    }
}

async fn over_http1(wire: Box<Wire>, asking: Asking<'_>) -> Result<StatusCode, UpstreamFailure> {
    let mut session = http1::Session::new(wire);
    let fields =
        [(header::HOST, asking.host), (header::USER_AGENT, USER_AGENT), (header::CONNECTION, "close")];
    session.ask(asking.method, asking.path.as_bytes(), &fields).await?;
    loop {
        match session.read().await? {
            Part::Head { head, .. } if !head.status.is_informational() => return Ok(head.status),
            Part::Head { .. } => {}
            Part::Body(_) | Part::End(_) => return Err(BadMessage::Syntax.into()),
        }
    }
}

async fn over_http2(wire: Box<Wire>, asking: Asking<'_>) -> Result<StatusCode, UpstreamFailure> {
    let failed = |error: h2::Error| UpstreamFailure::from(std::io::Error::other(error));
    let uri = Uri::builder().scheme(asking.scheme.uri()).authority(asking.host).path_and_query(asking.path);
    let mut head = Request::new(());
    *head.method_mut() = asking.method.clone();
    *head.version_mut() = Version::HTTP_2;
    *head.uri_mut() = uri.build().map_err(|_| BadMessage::Target)?;
    head.headers_mut().insert(header::USER_AGENT, header::HeaderValue::from_static(USER_AGENT));
    let (mut send, connection) = client::handshake(wire.into_transport()).await.map_err(failed)?;
    let (response, _) = send.send_request(head, true).map_err(failed)?;
    tokio::select! {
        response = response => Ok(response.map_err(failed)?.status()),
        ended = connection => match ended {
            Err(error) => Err(failed(error)),
            Ok(()) => Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into()),
        },
    }
}
