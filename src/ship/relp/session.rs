//! A RELP session: the greeting, then messages with a window of those that are not acknowledged yet.

use std::collections::VecDeque;
use std::time::Duration;

use super::frame::{self, ServerFrame, Transaction};
use super::syslog::{self, Origin};
use crate::config::sinks::RelpSettings;
use crate::remote::failure::{FailureKind, RemoteFailure};
use crate::remote::foreign_text;
use crate::ship::sink::Message;
use crate::ship::stream::Stream;

/// Messages that may be on their way unacknowledged. Their answers, of some 20 bytes each, fit into a socket's buffer.
const WINDOW: usize = 1024;
/// Bytes that are gathered before they are sent.
const CHUNK: usize = 64 << 10;
/// How long the server may take for one acknowledgement: rsyslog holds them back while its queue is full.
const PATIENCE: Duration = Duration::from_secs(30);
/// Answers that are read and not yet understood. One is at most 4 KiB, as `frame` sees to.
const MAX_UNREAD: usize = 64 << 10;

/// What the client can do. rsyslog wants exactly these three lines.
const OFFER: &[u8] = b"relp_version=0\nrelp_software=icpgate,1\ncommands=syslog";

/// An open session.
#[derive(Debug)]
pub(super) struct Session {
    stream: Stream,
    unread: Vec<u8>,
    next: Transaction,
}

impl Session {
    /// Connects and greets.
    pub(super) async fn open(settings: &RelpSettings) -> Result<Self, RemoteFailure> {
        let stream = Stream::connect(&settings.address, settings.tls.as_ref()).await?;
        let mut session = Self { stream, unread: Vec::new(), next: Transaction::FIRST };
        let mut greeting = Vec::new();
        let transaction = session.number();
        frame::write(transaction, "open", OFFER, &mut greeting);
        session.stream.write(&greeting).await?;
        let mut outstanding = VecDeque::from([transaction]);
        while !outstanding.is_empty() {
            session.read_acknowledgements(&mut outstanding).await?;
        }
        Ok(session)
    }

    /// Sends every message of `batch` and waits until all are acknowledged.
    pub(super) async fn deliver(&mut self, node: &str, batch: &[Message]) -> Result<(), RemoteFailure> {
        let mut messages = batch.iter().peekable();
        let mut outstanding = VecDeque::with_capacity(WINDOW);
        let (mut out, mut text) = (Vec::new(), Vec::new());
        while messages.peek().is_some() {
            while outstanding.len() < WINDOW
                && out.len() < CHUNK
                && let Some(message) = messages.next()
            {
                text.clear();
                let origin = Origin { node, epoch: &message.epoch, seq: message.seq };
                syslog::write(origin, message.time, &message.json, &mut text);
                let transaction = self.number();
                frame::write(transaction, "syslog", &text, &mut out);
                outstanding.push_back(transaction);
            }
            self.stream.write(&out).await?;
            out.clear();
            // Messages leave as soon as there is room: what they carry back of TCP keeps rsyslog's small answers from
            // waiting 40 ms for a delayed ACK.
            while outstanding.len() >= WINDOW {
                self.read_acknowledgements(&mut outstanding).await?;
            }
        }
        while !outstanding.is_empty() {
            self.read_acknowledgements(&mut outstanding).await?;
        }
        Ok(())
    }

    fn number(&mut self) -> Transaction {
        let number = self.next;
        self.next = number.next();
        number
    }

    /// Waits for answers and strikes out what they acknowledge.
    async fn read_acknowledgements(
        &mut self,
        outstanding: &mut VecDeque<Transaction>,
    ) -> Result<(), RemoteFailure> {
        self.stream.read(&mut self.unread, PATIENCE).await?;
        let mut done = 0;
        let outcome = loop {
            match frame::parse(&self.unread[done..]) {
                Ok(None) => break Ok(()),
                Ok(Some((frame, length))) => {
                    if let Err(failure) = self.strike_out(&frame, outstanding) {
                        break Err(failure);
                    }
                    done += length;
                }
                Err(malformed) => break Err(self.stream.failure(FailureKind::Protocol, malformed)),
            }
        };
        self.unread.drain(..done);
        if self.unread.len() > MAX_UNREAD {
            return Err(self.stream.failure(FailureKind::Protocol, "an answer without an end"));
        }
        outcome
    }

    fn strike_out(
        &self,
        frame: &ServerFrame<'_>,
        outstanding: &mut VecDeque<Transaction>,
    ) -> Result<(), RemoteFailure> {
        match *frame {
            ServerFrame::Response { transaction, code: 200, .. } => {
                // Answers come in the order of the messages; the first is nearly always the one.
                let found = outstanding.iter().position(|sent| *sent == transaction);
                let Some(place) = found else {
                    let what = "it acknowledged a message that was not sent";
                    return Err(self.stream.failure(FailureKind::Protocol, what));
                };
                outstanding.remove(place);
                Ok(())
            }
            // rsyslog could not take a message now. It judges no contents, so the batch is tried again as it is.
            ServerFrame::Response { code, text, .. } => {
                let text = foreign_text::shown(text);
                Err(self.stream.failure(FailureKind::Unavailable, format_args!("it answered {code} {text}")))
            }
            ServerFrame::Close => Err(self.stream.failure(FailureKind::Unreachable, "it ended the session")),
        }
    }
}
