//! Records to rsyslog by RELP, over TLS or in clear text: the one syslog transport that acknowledges each message.
//!
//! A batch is done when every message of it has its acknowledgement. A session that fails is given up with what it had
//! sent; the batch comes again, on another one.

mod frame;
mod session;
mod syslog;

use std::sync::Arc;
use std::time::Duration;

use self::session::Session;
use super::sink::{BatchLimits, Message, Promise, RecordSink, SinkResult};
use crate::config::sinks::RelpSettings;

/// A sink of type `relp`.
#[derive(Debug)]
pub struct RelpSink {
    settings: RelpSettings,
    node: Arc<str>,
    session: Option<Session>,
}

impl RelpSink {
    /// Connects when there is something to send.
    pub fn new(settings: RelpSettings, node: Arc<str>) -> Self {
        Self { settings, node, session: None }
    }
}

impl RecordSink for RelpSink {
    /// One round trip waits between two batches, and a session that breaks repeats at most one.
    fn limits(&self) -> BatchLimits {
        BatchLimits { records: 4096, bytes: 2 << 20 }
    }

    fn send<'a>(&'a mut self, batch: &'a [Message]) -> SinkResult<'a, ()> {
        Box::pin(async move {
            let mut session = match self.session.take() {
                Some(session) => session,
                None => Session::open(&self.settings).await?,
            };
            session.deliver(&self.node, batch).await?;
            self.session = Some(session);
            Ok(())
        })
    }

    fn promise(&mut self, _retention: Duration) -> SinkResult<'_, Promise> {
        let why = "rsyslog acknowledges what it has accepted, not what is on its disk, and says nothing of how \
                   long it keeps it";
        Box::pin(std::future::ready(Ok(Promise::Nothing { why: why.to_owned() })))
    }
}
