//! The request's body on its way up.
//!
//! A server that takes no more of it may still answer: it is read from all the same.

use bytes::Bytes;
use tokio::time::Instant;

use super::{Answer, Pump, Upload};
use crate::upstream::UpstreamFailure;

impl Pump<'_, '_> {
    /// Takes bytes of the body up, or its end. `true` once the exchange is over.
    pub(super) fn on_body(&mut self, body: Option<Bytes>) -> bool {
        self.uploaded = Instant::now();
        match body {
            // HTTP/2 may send parts of no bytes, which in chunks would be the end.
            Some(bytes) if !bytes.is_empty() => {
                self.context.facts.bytes_in += bytes.len() as u64;
                self.sent_body = true;
                self.up.put_body(bytes);
                self.up_since = Some(self.uploaded);
                false
            }
            None if matches!(self.answer, Answer::Tunnel) => true,
            Some(_) | None => self.ends(),
        }
    }

    /// The server has taken what was put, or takes no more. `true` once the exchange is over.
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

    /// Ends the body, if the client has sent all of it: mostly that is known with its last bytes.
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

    /// A server that takes no more may have said why.
    pub(super) fn refused(&mut self) -> bool {
        self.up_since = None;
        self.upload = Upload::Refused;
        self.sent = Instant::now();
        matches!(self.answer, Answer::Tunnel)
    }
}
