//! When a connection is pinged, and when it is given up.
//!
//! While a server that has been asked something is silent, it is pinged; whatever comes shows that it
//! is there. Servers may end connections that are pinged often without having been sent anything
//! (gRPC's do after three pings), so that the pauses between pings grow and there are no more than
//! three until the server says something of its own. A connection without streams is not pinged.

use std::time::Duration;

/// So long a silence, before each of the pings that follow each other.
const SILENCES: [Duration; 3] = [Duration::from_secs(2), Duration::from_secs(8), Duration::from_secs(30)];
/// So long may the answer take: a lost packet is sent again within that time, more than once.
const ANSWER: Duration = Duration::from_secs(4);

/// Where a connection stands. Time is a [`Duration`] since it was made.
#[derive(Debug)]
pub(crate) struct Liveness {
    stage: Stage,
    /// Pings since the server said something of its own.
    pings: usize,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Stage {
    /// Without streams since then.
    Idle { since: Duration },
    /// Heard of at that time.
    Listening { heard: Duration },
    /// A ping was sent then.
    Pinged { at: Duration },
}

/// What has happened since the last look.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Observed {
    /// Streams that are open.
    pub(crate) streams: usize,
    /// Bytes came.
    pub(crate) heard: bool,
    /// A head or a part of a body came, or a stream was begun.
    pub(crate) news: bool,
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Turn {
    /// Nothing before that time.
    WaitUntil(Duration),
    /// Nothing until something happens.
    Wait,
    /// Send a ping.
    Ping,
    /// Nobody needs it any more.
    Retire,
    /// Nobody is there any more.
    GiveUp,
}

impl Liveness {
    /// A connection that has just been made.
    pub(crate) fn new(now: Duration) -> Self {
        Self { stage: Stage::Idle { since: now }, pings: 0 }
    }

    /// Looks at the connection; one without streams retires after `idle`.
    pub(crate) fn look(&mut self, observed: Observed, now: Duration, idle: Duration) -> Turn {
        if observed.news {
            self.pings = 0;
        }
        self.stage = match self.stage {
            Stage::Idle { since } if observed.streams == 0 => Stage::Idle { since },
            _ if observed.streams == 0 => Stage::Idle { since: now },
            Stage::Idle { .. } => Stage::Listening { heard: now },
            _ if observed.heard => Stage::Listening { heard: now },
            stage => stage,
        };
        let (deadline, due) = match self.stage {
            Stage::Idle { since } => (since + idle, Turn::Retire),
            Stage::Pinged { at } => (at + ANSWER, Turn::GiveUp),
            Stage::Listening { heard } => match SILENCES.get(self.pings) {
                Some(silence) => (heard + *silence, Turn::Ping),
                None => return Turn::Wait,
            },
        };
        if now < deadline {
            return Turn::WaitUntil(deadline);
        }
        if due == Turn::Ping {
            self.stage = Stage::Pinged { at: now };
            self.pings += 1;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_secs(60);
    const QUIET: Observed = Observed { streams: 1, heard: false, news: false };
    const NEWS: Observed = Observed { streams: 1, heard: true, news: true };
    const PONG: Observed = Observed { streams: 1, heard: true, news: false };
    const NONE: Observed = Observed { streams: 0, heard: false, news: false };

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
