//! The request body on its way to the server.
//!
//! A server that stops reading the body may still answer, so that its response is read all the same.

use bytes::Bytes;
use tokio::time::Instant;

use super::{Pump, ResponsePhase, Upload};
use crate::upstream::UpstreamFailure;

impl Pump<'_, '_> {
    /// Forwards bytes of the body, or its end. `true` once the exchange is over.
    pub(super) fn on_body(&mut self, body: Option<Bytes>) -> bool {
        self.uploaded = Instant::now();
        match body {
            // HTTP/2 allows empty DATA frames; an empty chunk would end the body.
            Some(bytes) if !bytes.is_empty() => {
                self.context.facts.bytes_in += bytes.len() as u64;
                self.sent_body = true;
                self.up.put_body(bytes);
                self.up_since = Some(self.uploaded);
                false
            }
            None if matches!(self.answer, ResponsePhase::Tunnel) => true,
            Some(_) | None => self.ends(),
        }
    }

    /// The server has taken the last write, or has failed. `true` once the exchange is over.
    pub(super) fn on_sent(&mut self, sent: &Result<(), UpstreamFailure>) -> bool {
        self.up_since = None;
        if sent.is_err() {
            return self.refused();
        }
        if self.upload == Upload::Ending {
            self.upload = Upload::Done;
            self.sent = Instant::now();
        }
        self.ends()
    }

    /// Ends the body once the client has sent everything, which is usually known with its last bytes.
    fn ends(&mut self) -> bool {
        if self.upload != Upload::Open || !self.down.is_body_done() {
            return false;
        }
        if self.up.put_end(self.down.take_trailers()).is_err() {
            return self.refused();
        }
        self.upload = Upload::Ending;
        self.up_since = Some(self.uploaded);
        false
    }

    /// The server takes no more of the body, and its response may say why.
    pub(super) fn refused(&mut self) -> bool {
        self.up_since = None;
        self.upload = Upload::Refused;
        self.sent = Instant::now();
        matches!(self.answer, ResponsePhase::Tunnel)
    }
}
