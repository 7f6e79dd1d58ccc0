//! An HTTP/2 client by the h2 crate.

use bytes::Bytes;
use http::Method;
use tokio::task::JoinHandle;

use super::Answer;
use crate::support::message::Head;
use crate::support::origin::Stream;
use crate::support::time::within;
use crate::support::{PATIENCE, eventually};

/// An HTTP/2 connection.
pub(crate) struct Http2 {
    send: h2::client::SendRequest<Bytes>,
    connection: JoinHandle<Result<(), h2::Error>>,
}

impl Http2 {
    pub(crate) async fn over(stream: Box<dyn Stream>, builder: h2::client::Builder) -> Self {
        let (send, connection) = within("HTTP/2", builder.handshake(stream)).await.unwrap();
        Self { send, connection: tokio::spawn(connection) }
    }

    /// Begins a request; `end` if it has no body.
    pub(crate) async fn begin(
        &mut self,
        method: Method,
        host: &str,
        path: &str,
        fields: &[(&str, &str)],
        end: bool,
    ) -> (h2::client::ResponseFuture, h2::SendStream<Bytes>) {
        let uri = format!("https://{host}{path}");
        let mut request = http::Request::builder().method(method).uri(uri).version(http::Version::HTTP_2);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let ready = within("room for a stream", self.send.clone().ready()).await;
        self.send = ready.expect("an open connection");
        self.send.send_request(request.body(()).unwrap(), end).expect("sent")
    }

    /// Opens a WebSocket (RFC 8441), once the server has announced support.
    pub(crate) async fn websocket(
        &mut self,
        host: &str,
        path: &str,
    ) -> (h2::client::ResponseFuture, h2::SendStream<Bytes>) {
        let allowed = eventually("the setting", PATIENCE, async || {
            self.send.is_extended_connect_protocol_enabled().then_some(())
        });
        allowed.await;
        let request = http::Request::builder()
            .method(Method::CONNECT)
            .uri(format!("https://{host}{path}"))
            .version(http::Version::HTTP_2)
            .extension(h2::ext::Protocol::from_static("websocket"))
            .header("sec-websocket-version", "13")
            .body(())
            .unwrap();
        self.send.send_request(request, false).expect("sent")
    }

    /// A request without a body, and its whole answer.
    pub(crate) async fn request(
        &mut self,
        method: Method,
        host: &str,
        path: &str,
        fields: &[(&str, &str)],
    ) -> Result<Answer, h2::Error> {
        let (response, _) = self.begin(method, host, path, fields, true).await;
        answer(response).await
    }

    pub(crate) async fn get(&mut self, host: &str, path: &str) -> Answer {
        self.request(Method::GET, host, path, &[]).await.expect("an answer")
    }

    /// Waits for the end of the connection.
    pub(crate) async fn end(self) {
        // The client's own GOAWAY may fail.
        let _ = within("the end of the connection", self.connection).await.unwrap();
    }

    /// Whether the connection has ended.
    pub(crate) fn is_ended(&self) -> bool {
        self.connection.is_finished()
    }
}

/// The head of an answer over HTTP/2, and its body stream.
pub(crate) async fn head_of(
    response: h2::client::ResponseFuture,
) -> Result<(Answer, h2::RecvStream), h2::Error> {
    let (parts, body) = within("a head", response).await?.into_parts();
    let fields = parts.headers.iter().map(|(name, value)| {
        (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    });
    let head = Head { start: parts.status.to_string(), fields: fields.collect() };
    Ok((Answer { status: parts.status.as_u16(), head, body: Vec::new() }, body))
}

/// The next bytes of a body over HTTP/2.
pub(crate) async fn next_data(body: &mut h2::RecvStream) -> Option<Result<Bytes, h2::Error>> {
    let data = within("a part of the body", body.data()).await?;
    Some(data.inspect(|bytes| body.flow_control().release_capacity(bytes.len()).unwrap()))
}

/// A whole answer over HTTP/2.
pub(crate) async fn answer(response: h2::client::ResponseFuture) -> Result<Answer, h2::Error> {
    let (mut answer, mut body) = head_of(response).await?;
    while let Some(bytes) = next_data(&mut body).await {
        answer.body.extend_from_slice(&bytes?);
    }
    Ok(answer)
}
