//! What stays open while a process is replaced: a WebSocket, and a download that waits in its middle.

use crate::support::HOST;
use crate::support::client::{Http1, Target};
use crate::support::message::Body;
use crate::support::origin::{Gate, Request, Script, Step, head, ok, raw};

const HANDSHAKE: &str = "GET /chat HTTP/1.1\r\nHost: www.example.cn\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
const ACCEPTED: [&str; 3] =
    ["connection: Upgrade", "upgrade: websocket", "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="];

/// `/slow/…` sends its second half once the gate is open, `/chat` echoes, everything else is `hello`.
pub(super) fn answer(request: &Request, gate: &Gate) -> Script {
    match request.target() {
        "/chat" => vec![head("101 Switching Protocols", &ACCEPTED), Step::Echo],
        slow if slow.starts_with("/slow/") => {
            let fields = ["content-type: text/plain", "content-length: 10"];
            vec![head("200 OK", &fields), raw("begin"), Step::Wait(gate.clone()), raw("ended")]
        }
        _ => ok("hello"),
    }
}

/// What is open while a process is replaced.
pub(super) struct Open {
    chat: Http1,
    download: Http1,
    body: Body,
}

impl Open {
    /// Opens both; `name` is that of the gate that ends the download.
    pub(super) async fn begin(target: &Target, name: usize) -> Self {
        let mut chat = target.http1(HOST).await;
        chat.send(HANDSHAKE).await;
        assert_eq!(chat.head().await.start, "HTTP/1.1 101 Switching Protocols");
        let mut download = target.http1(HOST).await;
        download.ask("GET", HOST, &format!("/slow/{name}")).await;
        let head = download.head().await;
        let mut body = Body::of_answer(&head, "GET");
        assert_eq!(body.next(&mut download.wire).await.unwrap().unwrap(), "begin");
        Self { chat, download, body }
    }

    pub(super) async fn speak(&mut self) {
        self.chat.send("still here").await;
        assert_eq!(self.chat.read(10).await, b"still here");
    }

    pub(super) async fn finish(mut self) {
        self.speak().await;
        assert_eq!(self.body.next(&mut self.download.wire).await.unwrap().unwrap(), "ended");
    }
}
