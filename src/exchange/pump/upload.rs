//! The request body on its way to the server.
//!
//! A server that stops reading the body may still answer, so that its response is read all the same.

use bytes::Bytes;
use tokio::time::Instant;

use super::{Pump, ResponsePhase, Upload};
use crate::message::hop_by_hop::Nominated;
use crate::message::trailers::passable;
use crate::upstream::UpstreamFailure;

impl Pump<'_, '_> {
    /// Forwards bytes of the body, or its end. `true` once the exchange is over.
    pub(super) fn on_body(&mut self, body: Option<Bytes>) -> bool {
        self.uploaded = Instant::now();
        let bytes = body.as_ref().map_or(0, Bytes::len);
        self.upload_pace.moved(self.uploaded.saturating_duration_since(self.wanted_since), bytes);
        self.wanted_since = self.uploaded;
        let body_ended = body.is_none();
        match body {
            // HTTP/2 allows empty DATA frames; an empty chunk would end the body.
            Some(bytes) if !bytes.is_empty() => {
                self.context.facts.bytes_in += bytes.len() as u64;
                self.sent_body = true;
                self.up.put_body(bytes);
                self.up_since = Some(self.uploaded);
                false
            }
            Some(_) | None => self.ends(body_ended),
        }
    }

    /// Whether this many bytes more make the body larger than the site takes. What passes a tunnel is no body.
    pub(super) fn is_too_large(&self, more: usize) -> bool {
        let Some(most) = self.exchange.max_body else { return false };
        self.context.facts.bytes_in.saturating_add(more as u64) > most && !self.is_tunnel()
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
            return self.is_tunnel_over();
        }
        self.wanted_since = Instant::now();
        self.ends(false)
    }

    /// Ends the body if the client `has_ended` it, or is known to have sent everything, as usually with its last
    /// bytes.
    pub(super) fn ends(&mut self, has_ended: bool) -> bool {
        if self.upload != Upload::Open || !(has_ended || self.down.is_body_done()) {
            return false;
        }
        if self.is_tunnel() {
            self.half_closed.get_or_insert_with(Instant::now);
        }
        let trailers = self.down.take_trailers();
        let trailers = trailers.and_then(|sent| passable(sent, &Nominated::of(&self.down.head.headers)));
        if self.up.put_end(trailers).is_err() {
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
        if self.is_tunnel() {
            self.half_closed.get_or_insert_with(Instant::now);
        }
        self.is_tunnel_over()
    }

    pub(super) fn is_tunnel(&self) -> bool {
        matches!(
            self.answer,
            ResponsePhase::Tunnel | ResponsePhase::TunnelEnding | ResponsePhase::TunnelEnded
        )
    }
}
