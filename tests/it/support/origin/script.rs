//! Scripts: what an origin does with a request, step by step.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

/// The steps for one request. The connection reads the next request afterwards.
pub(crate) type Script = Vec<Step>;

#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Sends bytes.
    Send(Vec<u8>),
    /// Sends bytes one by one, with a pause after each.
    Drip(Vec<u8>, Duration),
    /// Sends bytes until the edge disconnects.
    Flood,
    /// Waits until the gate is open or the edge disconnects.
    Wait(Gate),
    /// Reads the request's body to its end.
    ReadBody,
    /// Echoes bytes until the edge closes.
    Echo,
    /// Reads on until the other side ends.
    AwaitEnd,
    /// Closes the connection.
    Close,
    /// Resets the connection.
    Reset,
}

/// Blocks a script until the test opens the gate.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate(Arc<watch::Sender<bool>>);

impl Gate {
    pub(crate) fn open(&self) {
        self.0.send_replace(true);
    }

    /// Blocks again.
    pub(crate) fn close(&self) {
        self.0.send_replace(false);
    }

    pub(crate) fn is_open(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it is open.
    pub(crate) async fn passed(&self) {
        let _ = self.0.subscribe().wait_for(|open| *open).await;
    }
}

/// A head: status and fields, as written.
pub(crate) fn head(status: &str, fields: &[&str]) -> Step {
    let mut text = format!("HTTP/1.1 {status}\r\n");
    for field in fields {
        text += field;
        text += "\r\n";
    }
    Step::Send((text + "\r\n").into_bytes())
}

/// Bytes of a body.
pub(crate) fn raw(bytes: impl AsRef<[u8]>) -> Step {
    Step::Send(bytes.as_ref().to_vec())
}

/// One chunk; the empty one ends the body.
pub(crate) fn chunk(bytes: impl AsRef<[u8]>) -> Step {
    let bytes = bytes.as_ref();
    Step::Send([format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat())
}

/// A whole answer with `content-length`.
pub(crate) fn answer(status: &str, fields: &[&str], body: impl AsRef<[u8]>) -> Script {
    let body = body.as_ref();
    let length = format!("content-length: {}", body.len());
    let fields: Vec<&str> = fields.iter().copied().chain([length.as_str()]).collect();
    vec![head(status, &fields), raw(body)]
}

/// 200 with a text.
pub(crate) fn ok(text: impl AsRef<[u8]>) -> Script {
    answer("200 OK", &["content-type: text/plain"], text)
}

/// 200 with a page.
pub(crate) fn html(page: impl AsRef<[u8]>) -> Script {
    answer("200 OK", &["content-type: text/html; charset=utf-8"], page)
}
