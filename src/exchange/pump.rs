//! Moving one request up and its answer down, both at once, every wait with its own deadline.
//!
//! A side that does not take what is sent to it holds up nothing that comes from it. Nothing is buffered
//! beyond one read of either side; what comes compressed is decoded as it is taken, the footer is put in on the way.

mod answer;
pub mod drive;
mod upload;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use tokio::time::Instant;

use super::context::RequestContext;
use crate::config::Limits;
use crate::downstream::session::Downstream;
use crate::gate::{Filing, SiteId};
use crate::net::wire::Wire;
use crate::origin::Timeouts;
use crate::rewrite::{Decoder, FooterPages, Footers, Injector};
use crate::upstream::request::Framing;
use crate::upstream::stream::Upstream;

/// What an exchange goes by.
pub(super) struct Exchange<'e> {
    pub(super) site: Page<'e>,
    pub(super) path: &'e str,
    pub(super) timeouts: Timeouts,
    pub(super) limits: &'e Limits,
    pub(super) framing: Framing,
}

/// Which pages get which footer.
#[derive(Clone, Copy)]
pub(super) struct Page<'e> {
    pub(super) pages: FooterPages,
    pub(super) footers: &'e Footers,
    pub(super) site: SiteId,
    pub(super) filing: &'e Arc<Filing>,
}

/// How an exchange with a server ended.
pub(super) enum Ended {
    /// The answer is whole; the connection to the server, where it may be kept.
    Whole(Option<Box<Wire>>),
    /// The answer has begun, and cannot be ended; or nobody is left to take it.
    Broken,
    /// The server closed the connection, or answered what is no HTTP.
    Unanswered {
        /// Whether it may have seen a part of the body.
        sent_body: bool,
    },
    /// The server has not looked at the request, and says so.
    Unprocessed {
        /// Whether a part of the body is gone.
        sent_body: bool,
    },
    /// The server did not answer in time.
    Late,
    /// The client stopped sending the body before the server answered.
    BodyLate,
}

/// Where the request's body stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Upload {
    /// The client has more to send.
    Open,
    /// The client has sent all of it, the server has not taken all of it.
    Ending,
    /// All of it is with the server.
    Done,
    /// The server takes no more of it; its answer may still come.
    Refused,
}

/// Where the answer stands.
enum Answer {
    /// Its head has not come.
    Awaited,
    /// Its body passes as it is.
    Passing,
    /// The footer is put into its body.
    Injecting(Box<Injector>),
    /// The same, with its body decoded before.
    Decoding(Box<Compressed>),
    /// There are no requests and answers any more, only bytes.
    Tunnel,
}

/// A page that comes compressed. It is decoded by steps, each once the client has taken what came of the last.
struct Compressed {
    decoder: Decoder,
    injector: Injector,
    /// It gives others their turn before its next step.
    waits: bool,
}

struct Pump<'p, 'd> {
    exchange: Exchange<'p>,
    up: Upstream,
    down: &'p mut Downstream<'d>,
    context: &'p mut RequestContext<'d>,
    upload: Upload,
    answer: Answer,
    /// When the whole request was with the server, as far as it is.
    sent: Instant,
    /// When bytes of the body last came from the client.
    uploaded: Instant,
    /// When bytes of the answer last came from the server.
    answered: Instant,
    sent_body: bool,
    /// Since when the server has been taking what was put of the body, while it does.
    up_since: Option<Instant>,
    /// Since when the client has been taking what was put of the answer, while it does.
    down_since: Option<Instant>,
    /// What is put next.
    leaving: VecDeque<Bytes>,
    /// What the server said behind the body.
    trailers: Option<HeaderMap>,
}

impl<'p, 'd> Pump<'p, 'd> {
    /// Of a request whose head was `sent`.
    fn new(
        exchange: Exchange<'p>,
        up: Upstream,
        sent: Instant,
        down: &'p mut Downstream<'d>,
        context: &'p mut RequestContext<'d>,
    ) -> Self {
        let upload = if exchange.framing.has_body() { Upload::Open } else { Upload::Done };
        Self {
            exchange,
            up,
            down,
            context,
            upload,
            answer: Answer::Awaited,
            sent,
            uploaded: sent,
            answered: sent,
            sent_body: false,
            up_since: None,
            down_since: None,
            leaving: VecDeque::new(),
            trailers: None,
        }
    }
}
