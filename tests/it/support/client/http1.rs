//! An HTTP/1 client over raw bytes.

use std::io;

use tokio::io::AsyncWriteExt as _;

use super::{Answer, End};
use crate::support::message::{Body, Head, Wire};
use crate::support::origin::Stream;
use crate::support::time::within;

/// An HTTP/1 connection.
pub(crate) struct Http1 {
    pub(crate) wire: Wire<Box<dyn Stream>>,
}

impl Http1 {
    pub(crate) fn over(stream: Box<dyn Stream>) -> Self {
        Self { wire: Wire::new(stream) }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).await.expect("sent");
    }

    pub(crate) async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        within("room to send", async {
            self.wire.stream.write_all(bytes.as_ref()).await?;
            self.wire.stream.flush().await
        })
        .await
    }

    /// Sends a request without a body.
    pub(crate) async fn ask(&mut self, method: &str, host: &str, path: &str) {
        self.send(format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")).await;
    }

    pub(crate) async fn get(&mut self, host: &str, path: &str) -> Answer {
        self.ask("GET", host, path).await;
        self.answer("GET").await
    }

    /// Sends a POST, and reads the whole answer.
    pub(crate) async fn post(&mut self, host: &str, path: &str, body: &str) -> Answer {
        let length = body.len();
        self.send(format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n{body}"))
            .await;
        self.answer("POST").await
    }

    /// The next head.
    pub(crate) async fn head(&mut self) -> Head {
        within("a head", self.wire.head()).await.expect("a head").expect("a head before the end")
    }

    /// The final answer to a request with this method.
    pub(crate) async fn answer(&mut self, method: &str) -> Answer {
        self.try_answer(method).await.expect("an answer")
    }

    pub(crate) async fn try_answer(&mut self, method: &str) -> io::Result<Answer> {
        within("an answer", async {
            loop {
                let head = self.wire.head().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
                let status = status_of(&head);
                if status / 100 == 1 && status != 101 {
                    continue;
                }
                let mut body = Body::of_answer(&head, method);
                let mut bytes = Vec::new();
                while let Some(more) = body.next(&mut self.wire).await? {
                    bytes.extend_from_slice(&more);
                }
                return Ok(Answer { status, head, body: bytes });
            }
        })
        .await
    }

    /// Exactly `length` bytes.
    pub(crate) async fn read(&mut self, length: usize) -> Vec<u8> {
        within("bytes", async {
            while self.wire.ahead.len() < length {
                self.wire.fill().await.expect("bytes before the end");
            }
        })
        .await;
        self.wire.ahead.split_to(length).to_vec()
    }

    /// Waits for the end of the connection; the bytes before it, and how it ended.
    pub(crate) async fn end(&mut self) -> (Vec<u8>, End) {
        let end = within("the end of the connection", async {
            loop {
                match self.wire.read().await {
                    Ok(false) => return End::Closed,
                    Ok(true) => {}
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return End::Cut,
                    Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return End::Reset,
                    Err(error) => panic!("{error}"),
                }
            }
        })
        .await;
        (self.wire.ahead.split().to_vec(), end)
    }
}

pub(crate) fn status_of(head: &Head) -> u16 {
    let status = head.start.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.unwrap_or_else(|| panic!("no status line: {:?}", head.start))
}
