//! Decides when an HTTP/2 connection is pinged, and when it is given up.
//!
//! A server that owes a response and is silent is pinged; any byte shows that it is alive. Servers may close
//! connections with many pings and no data (gRPC servers after three), so that the pauses between pings grow, and
//! there are at most three until the server sends something of its own. A connection without streams is not pinged.

use std::time::Duration;

/// Silence before each of the successive pings.
const SILENCES: [Duration; 3] = [Duration::from_secs(2), Duration::from_secs(8), Duration::from_secs(30)];
/// Time for the reply to a ping: enough for more than one retransmission.
const ANSWER: Duration = Duration::from_secs(4);

/// The state of a connection. Times are since its start.
#[derive(Debug)]
pub(crate) struct Liveness {
    stage: PingStage,
    /// Pings since the server last sent something of its own.
    pings: usize,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum PingStage {
    /// Without streams since then.
    Idle {
        since: Duration,
    },
    /// Last heard from then.
    Listening {
        heard: Duration,
    },
    Pinged {
        at: Duration,
    },
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Observation {
    pub(crate) streams: usize,
    pub(crate) heard: bool,
    /// Part of a response arrived, or a stream was opened.
    pub(crate) news: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Turn {
    /// Nothing before that time.
    WaitUntil(Duration),
    /// Nothing until something happens.
    Wait,
    Ping,
    /// Close: it is idle.
    Retire,
    /// Close: the server is gone.
    GiveUp,
}

impl Liveness {
    pub(crate) fn new(now: Duration) -> Self {
        Self { stage: PingStage::Idle { since: now }, pings: 0 }
    }

    /// Decides what to do; a connection without streams retires after `idle`.
    pub(crate) fn look(&mut self, observed: Observation, now: Duration, idle: Duration) -> Turn {
        if observed.news {
            self.pings = 0;
        }
        self.stage = match self.stage {
            PingStage::Idle { since } if observed.streams == 0 => PingStage::Idle { since },
            _ if observed.streams == 0 => PingStage::Idle { since: now },
            PingStage::Idle { .. } => PingStage::Listening { heard: now },
            _ if observed.heard => PingStage::Listening { heard: now },
            stage => stage,
        };
        let (deadline, due) = match self.stage {
            PingStage::Idle { since } => (since + idle, Turn::Retire),
            PingStage::Pinged { at } => (at + ANSWER, Turn::GiveUp),
            PingStage::Listening { heard } => match SILENCES.get(self.pings) {
                Some(silence) => (heard + *silence, Turn::Ping),
                None => return Turn::Wait,
            },
        };
        if now < deadline {
            return Turn::WaitUntil(deadline);
        }
        if due == Turn::Ping {
            self.stage = PingStage::Pinged { at: now };
            self.pings += 1;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_secs(60);
    const QUIET: Observation = Observation { streams: 1, heard: false, news: false };
    const NEWS: Observation = Observation { streams: 1, heard: true, news: true };
    const PONG: Observation = Observation { streams: 1, heard: true, news: false };
    const NONE: Observation = Observation { streams: 0, heard: false, news: false };

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_silent_server_is_pinged_and_given_up() {
        let mut one = Liveness::new(at(0));
        assert_eq!(one.look(NEWS, at(10), IDLE), Turn::WaitUntil(at(12)));
        assert_eq!(one.look(QUIET, at(12), IDLE), Turn::Ping);
        assert_eq!(one.look(QUIET, at(12), IDLE), Turn::WaitUntil(at(16)));
        assert_eq!(one.look(QUIET, at(16), IDLE), Turn::GiveUp);
    }

    #[test]
    fn a_server_that_only_answers_pings_gets_three() {
        let mut one = Liveness::new(at(0));
        let (mut now, mut pings) = (at(0), Vec::new());
        one.look(NEWS, now, IDLE);
        while now < at(1000) {
            now += at(1);
            if one.look(QUIET, now, IDLE) == Turn::Ping {
                pings.push(now.as_secs());
                one.look(PONG, now, IDLE);
            }
        }
        assert_eq!(pings, [2, 10, 40]);
        assert_eq!(one.look(NEWS, now, IDLE), Turn::WaitUntil(now + at(2)), "it said something");
    }

    #[test]
    fn whatever_comes_shows_that_it_is_there() {
        let mut one = Liveness::new(at(0));
        one.look(NEWS, at(0), IDLE);
        for second in 1..100 {
            assert_eq!(one.look(PONG, at(second), IDLE), Turn::WaitUntil(at(second + 2)));
        }
    }

    #[test]
    fn without_streams_it_is_left_alone_and_retires() {
        let mut one = Liveness::new(at(0));
        assert_eq!(one.look(NONE, at(30), IDLE), Turn::WaitUntil(at(60)));
        one.look(NEWS, at(40), IDLE);
        assert_eq!(one.look(NONE, at(50), IDLE), Turn::WaitUntil(at(110)));
        assert_eq!(one.look(NONE, at(110), IDLE), Turn::Retire);
    }
}
