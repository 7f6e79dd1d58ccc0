//! The forwarder: the writer thread of a process that has handed its store over. It sends the records of the last
//! exchanges to the process that writes the store now.
//!
//! A block is kept until it is acknowledged. If the other process ends before that, this one takes the store back.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use jiff::Timestamp;

use crate::retention::format::rows::{RowBlock, Rows};
use crate::retention::write::intake::Intake;
use crate::retention::write::link::{write_block, write_end};
use crate::retention::write::predecessor::{Arrival, Predecessor};
use crate::retention::write::premises::{IDLE, Premises, TICK};
use crate::retention::write::recorder::Shared;
use crate::retention::write::{CloseError, Now, StoreFull, kernel_clock};

/// Unacknowledged bytes at which nothing more is gathered: records then wait in their slots.
const UNACKNOWLEDGED_LIMIT: usize = 64 * 1024 * 1024;
/// How long the other process may take for the last records once this one has nothing else to do.
const LAST_RECORDS: Duration = Duration::from_secs(20);
/// How long a process that handed the store to this one may take to end. Longer than its `drain_timeout` usually is.
const PREDECESSOR_ENDS: Duration = Duration::from_secs(120);

pub(super) struct Forwarder {
    intake: Intake,
    premises: Premises,
    shared: Arc<Shared>,
    rows: Rows,
    link: UnixStream,
    /// Bytes that the socket has not taken yet.
    unsent: BytesMut,
    unacknowledged: VecDeque<Unacknowledged>,
    unacknowledged_bytes: usize,
    predecessor: Option<Predecessor>,
}

/// A block that the other process has not acknowledged.
pub(super) struct Unacknowledged {
    pub(super) block: RowBlock,
    pub(super) is_predecessors: bool,
}

/// How forwarding ends.
pub(super) enum ForwarderEnd {
    /// Every record is acknowledged.
    Done,
    /// The other process has ended, with these blocks not acknowledged.
    Alone(Box<Forwarder>, VecDeque<Unacknowledged>),
}

impl Forwarder {
    /// Forwards over `link`, which must not block.
    pub(super) fn new(
        shared: Arc<Shared>,
        (intake, premises): (Intake, Premises),
        link: UnixStream,
        predecessor: Option<Predecessor>,
    ) -> Self {
        let rows = Rows::new(Arc::clone(&premises.node));
        Self {
            intake,
            premises,
            shared,
            rows,
            link,
            unsent: BytesMut::new(),
            unacknowledged: VecDeque::new(),
            unacknowledged_bytes: 0,
            predecessor,
        }
    }

    /// What is needed to write again.
    pub(super) fn into_parts(self) -> (Intake, Premises, Option<Predecessor>) {
        (self.intake, self.premises, self.predecessor)
    }

    /// Forwards until the store is closed in this process and everything is acknowledged.
    pub(super) fn run(mut self) -> Result<ForwarderEnd, CloseError> {
        // The disk is the other process's concern now.
        self.shared.stats.set_trouble(None);
        let mut deadline = None;
        let mut end_is_sent = false;
        loop {
            let closing = self.shared.is_closing();
            if closing && deadline.is_none() {
                deadline = Some(Instant::now() + PREDECESSOR_ENDS);
                self.shared.stats.set_trouble(Some(StoreFull::Closed));
            }
            let more = !end_is_sent && self.gather(closing);
            if closing && !more && !end_is_sent && self.predecessor.is_none() {
                write_end(&mut self.unsent);
                end_is_sent = true;
                deadline = Some(Instant::now() + LAST_RECORDS);
            }
            let linked = self.exchange();
            if end_is_sent && self.unsent.is_empty() && self.unacknowledged.is_empty() {
                return Ok(ForwarderEnd::Done);
            }
            if linked.is_err() {
                let unacknowledged = std::mem::take(&mut self.unacknowledged);
                return Ok(ForwarderEnd::Alone(Box::new(self), unacknowledged));
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Err(self.give_up());
            }
            if closing {
                std::thread::park_timeout(TICK);
            } else if !more {
                self.shared.rest(TICK, if self.unacknowledged.is_empty() { IDLE } else { TICK });
            }
        }
    }

    /// Turns waiting records into blocks; returns whether more wait.
    fn gather(&mut self, closing: bool) -> bool {
        if self.unacknowledged_bytes >= UNACKNOWLEDGED_LIMIT {
            return false;
        }
        let now = Now { monotonic: Instant::now(), wall: self.premises.clock.now() };
        self.rows.set_clock(kernel_clock::state());
        if closing {
            self.intake.gather_refusals(&mut self.rows, true, true);
        }
        let more = self.intake.gather(&mut self.rows, now, true);
        if closing && !more {
            self.intake.gather_gaps(&mut self.rows, true, now);
        }
        self.gather_predecessor(now.wall);
        if let Some(block) = self.rows.take() {
            let load = std::mem::take(&mut self.intake.loose);
            self.shared.stats.records.fetch_add(load.records, Ordering::Relaxed);
            self.shared.stats.release(load.slots);
            self.queue(block, false);
        }
        more
    }

    /// Passes on what the process sends that handed the store to this one.
    fn gather_predecessor(&mut self, now: Timestamp) {
        while let Some(arrival) = self.predecessor.as_mut().and_then(|predecessor| predecessor.next(now)) {
            match arrival {
                Arrival::Block(block) => self.queue(block, true),
                Arrival::Gap(gap) => self.intake.push_gap(&mut self.rows, &gap),
            }
        }
        let waits = self.unacknowledged.iter().any(|sent| sent.is_predecessors);
        self.predecessor.take_if(|predecessor| !waits && predecessor.is_done());
    }

    fn queue(&mut self, block: RowBlock, is_predecessors: bool) {
        write_block(&block, &mut self.unsent);
        self.unacknowledged_bytes += block.bytes.len();
        self.unacknowledged.push_back(Unacknowledged { block, is_predecessors });
    }

    /// Sends what the socket takes, and reads acknowledgements. Fails once the other process has ended.
    fn exchange(&mut self) -> io::Result<()> {
        let sent = loop {
            if self.unsent.is_empty() {
                break Ok(());
            }
            match self.link.write(&self.unsent) {
                Ok(written) => self.unsent.advance(written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => break Err(error),
            }
        };
        let mut bytes = [0; 256];
        loop {
            match self.link.read(&mut bytes) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(read) => self.acknowledged(read),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return sent,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn acknowledged(&mut self, blocks: usize) {
        for Unacknowledged { block, is_predecessors } in
            self.unacknowledged.drain(..blocks.min(self.unacknowledged.len()))
        {
            self.unacknowledged_bytes -= block.bytes.len();
            if is_predecessors && let Some(predecessor) = &mut self.predecessor {
                predecessor.acknowledge(1);
            }
        }
    }

    fn give_up(&mut self) -> CloseError {
        let blocks = self.unacknowledged.iter().map(|sent| u64::from(sent.block.count));
        let lost = blocks.sum::<u64>() + self.intake.drop_waiting() + self.shared.refusals().waiting();
        self.shared.stats.lost.fetch_add(lost, Ordering::Relaxed);
        let cause = io::Error::other("the process that writes the store now does not acknowledge them");
        CloseError { directory: self.premises.log.directory.clone(), lost, cause }
    }
}
