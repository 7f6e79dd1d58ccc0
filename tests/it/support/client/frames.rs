//! HTTP/2 frame by frame, for what no client library sends.

use std::io;

use bytes::{Buf, Bytes};
use tokio::io::AsyncWriteExt as _;

use crate::support::message::Wire;
use crate::support::origin::Stream;
use crate::support::time::within;

/// A raw HTTP/2 connection.
pub(crate) struct Frames {
    pub(crate) wire: Wire<Box<dyn Stream>>,
}

/// A frame as received.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Bytes,
}

/// The preface and empty settings.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const GOAWAY: u8 = 7;

/// A frame's bytes.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The header block of a GET, in literals without the dynamic table.
pub(crate) fn get_block(host: &str, path: &str) -> Vec<u8> {
    // Indexed: `:method: GET`, `:scheme: https`; then literal values for `:authority` and `:path`.
    let mut block = vec![0x82, 0x87];
    for (index, value) in [(0x01, host), (0x04, path)] {
        block.extend_from_slice(&[index, u8::try_from(value.len()).unwrap()]);
        block.extend_from_slice(value.as_bytes());
    }
    block
}

impl Frames {
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.wire.stream.write_all(bytes).await?;
        self.wire.stream.flush().await
    }

    /// The next frame; `None` once the connection has ended.
    pub(crate) async fn next(&mut self) -> Option<Frame> {
        within("a frame, or the end", async {
            while self.wire.ahead.len() < 9 {
                self.wire.fill().await.ok()?;
            }
            let mut head = self.wire.ahead.split_to(9);
            let length = usize::try_from(head.get_uint(3)).unwrap();
            let (kind, flags, stream) = (head.get_u8(), head.get_u8(), head.get_u32());
            while self.wire.ahead.len() < length {
                self.wire.fill().await.ok()?;
            }
            Some(Frame { kind, flags, stream, payload: self.wire.ahead.split_to(length).freeze() })
        })
        .await
    }

    /// The next frame of this kind; `None` if the connection ends before.
    pub(crate) async fn next_of(&mut self, kind: u8) -> Option<Frame> {
        loop {
            let frame = self.next().await?;
            if frame.kind == kind {
                return Some(frame);
            }
        }
    }
}
