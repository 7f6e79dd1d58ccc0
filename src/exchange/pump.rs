//! Moves one request to a server and its response to the client, both directions at once, each wait with its
//! own deadline.
//!
//! A side that stops reading does not block the other direction. At most one read of either side is buffered.
//! Bodies are decoded, given the footer and encoded as the client takes them.

mod answer;
pub mod drive;
mod mapped;
mod pace;
mod upload;

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderMap;
use tokio::time::Instant;

use super::context::RequestContext;
use super::grpc;
use crate::cache::PageStamp;
use crate::config::{Limits, Site};
use crate::downstream::session::Downstream;
use crate::gate::{Filing, Permit, SiteId};
use crate::message::hop_by_hop::Nominated;
use crate::message::{BadMessage, ResponseHead};
use crate::net::http1_stream::Http1Stream;
use crate::origin::Timeouts;
use crate::rewrite::{Ask, AssetMap, Compress, Conversion, FooterPages, Footers, Injector};
use crate::route::{Forward, PathRewrite};
use crate::snapshot::Snapshot;
use crate::upstream::request::BodyFraming;
use crate::upstream::session::ServerSession;
use pace::Pace;

pub(super) struct ExchangeSettings<'e> {
    pub(super) site: FooterContext<'e>,
    pub(super) compress: Compress<'e>,
    /// Whether the server was asked for codings that the client may not accept.
    pub(super) asked_for_codings: bool,
    pub(super) path: &'e str,
    /// The route's change of the path, which paths in the answer follow back.
    pub(super) rewrite: Option<&'e PathRewrite>,
    /// The most bytes of the request's body.
    pub(super) max_body: Option<u64>,
    pub(super) timeouts: Timeouts,
    pub(super) limits: &'e Limits,
    pub(super) framing: BodyFraming,
    /// What the footer requires of the response.
    pub(super) ask: Ask,
    /// The 416 that the server sent before the whole was asked for.
    pub(super) out_of_range: Option<Arc<ResponseHead>>,
}

/// Which pages get which footer.
#[derive(Clone, Copy)]
pub(super) struct FooterContext<'e> {
    pub(super) pages: FooterPages,
    /// Whether the foreign assets of those pages are counted.
    pub(super) reports_assets: bool,
    pub(super) footers: &'e Footers,
    /// The copied assets that pages and style sheets refer to.
    pub(super) assets: Option<&'e Arc<AssetMap>>,
    pub(super) site: SiteId,
    pub(super) filing: &'e Arc<Filing>,
}

impl<'e> FooterContext<'e> {
    /// Of a request to `site` that `permit` is for.
    pub(super) fn of(snapshot: &'e Snapshot, site: &Site, permit: &'e Permit) -> Self {
        Self {
            pages: site.footer.pages,
            reports_assets: site.reports_assets,
            footers: &snapshot.footers,
            assets: snapshot.asset_map(permit.site()),
            site: permit.site(),
            filing: permit.filing(),
        }
    }

    /// What an answer of this route carries now.
    pub(super) fn stamp(&self, route: &Forward) -> PageStamp {
        let footer = self.footers.of(self.site, self.filing).map(|footer| footer.html());
        PageStamp {
            route: route.digest,
            pages: self.pages,
            footer,
            assets: self.assets.map_or(0, |map| map.digest()),
        }
    }
}

pub(super) enum ExchangeEnd {
    /// The response is complete; the connection to the server if it can be reused.
    Whole(Option<Box<Http1Stream>>),
    /// The response is about a part of a page that gets the footer, or 416 for what may be such a page. Nothing of it
    /// was sent; the whole has to be asked for.
    WholeWanted {
        /// The connection to the server, if it can be reused.
        kept: Option<Box<Http1Stream>>,
        out_of_range: Option<Arc<ResponseHead>>,
    },
    /// The response has started and cannot be completed, or the client is gone.
    Broken,
    /// The server closed the connection.
    Unanswered {
        /// Whether the server may have received part of the body.
        sent_body: bool,
    },
    /// The server's response cannot be passed on, and nothing of it was sent.
    Refused {
        bad: BadMessage,
        /// Whether part of the body was sent.
        sent_body: bool,
    },
    /// The server says that it has not processed the request.
    Unprocessed {
        /// Whether part of the body was sent.
        sent_body: bool,
    },
    Late,
    /// The client sent more of a body than the site takes, and nothing of a response was sent.
    BodyTooLarge,
    /// The client stopped sending the body before the server answered.
    BodyLate,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Upload {
    Open,
    /// The client has sent everything, the server has not yet taken everything.
    Ending,
    Done,
    /// The server takes no more of the body; it may still answer.
    Refused,
}

enum ResponsePhase {
    Awaited,
    /// It is dropped, and the whole is asked for: [`ExchangeEnd::WholeWanted`].
    Dropped(Option<Arc<ResponseHead>>),
    Passing,
    Injecting(Box<Injector>),
    /// The body is decoded, injected and encoded, as far as each applies.
    Converting(Box<Converted>),
    /// An upgraded connection: bytes pass in both directions.
    Tunnel,
    /// The server has ended its side of the tunnel; the client's connection is half-closed next.
    TunnelEnding,
    /// The client's connection is half-closed. The client may go on.
    TunnelEnded,
}

/// A body that is converted. The next step is taken only when the client has taken the output of the last one.
struct Converted {
    conversion: Conversion,
    /// Whether it yields to other tasks before the next step.
    waits: bool,
    /// Whether the server had nothing more when it was last asked.
    pauses: bool,
}

struct Pump<'p, 'd> {
    exchange: ExchangeSettings<'p>,
    up: ServerSession,
    down: &'p mut Downstream<'d>,
    context: &'p mut RequestContext<'d>,
    upload: Upload,
    answer: ResponsePhase,
    /// A head that is sent with what follows it, so that a response that is malformed from the start gets 502.
    held: Option<ResponseHead>,
    /// What the head declares hop-by-hop.
    nominated: Nominated,
    /// When one side of a tunnel ended.
    half_closed: Option<Instant>,
    /// When the server had the whole request.
    sent: Instant,
    /// When body bytes last came from the client.
    uploaded: Instant,
    /// Since when the client is waited for, while its body is open.
    wanted_since: Instant,
    upload_pace: Pace,
    download_pace: Pace,
    /// Bytes of the pending write to the client.
    leaving_bytes: usize,
    /// When response bytes last came from the server.
    answered: Instant,
    sent_body: bool,
    /// Since when a write to the server has been pending.
    up_since: Option<Instant>,
    /// Since when a write to the client has been pending.
    down_since: Option<Instant>,
    /// Parts of the response that are written next.
    leaving: VecDeque<Bytes>,
    trailers: Option<HeaderMap>,
}

impl<'p, 'd> Pump<'p, 'd> {
    fn new(
        exchange: ExchangeSettings<'p>,
        up: ServerSession,
        sent: Instant,
        down: &'p mut Downstream<'d>,
        context: &'p mut RequestContext<'d>,
    ) -> Self {
        let limits = exchange.limits;
        // A gRPC client sends its messages when it has some.
        let upload_pace = Pace::new(limits.body_pace.filter(|_| !grpc::is_call(down.head)));
        let upload = if exchange.framing.has_body() { Upload::Open } else { Upload::Done };
        Self {
            exchange,
            up,
            down,
            context,
            upload,
            answer: ResponsePhase::Awaited,
            held: None,
            nominated: Nominated::default(),
            half_closed: None,
            sent,
            uploaded: sent,
            wanted_since: sent,
            upload_pace,
            download_pace: Pace::new(limits.body_pace),
            leaving_bytes: 0,
            answered: sent,
            sent_body: false,
            up_since: None,
            down_since: None,
            leaving: VecDeque::new(),
            trailers: None,
        }
    }
}
