//! The socket between the two processes: one JSON document a line, with descriptors beside it.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Descriptors in one message. Linux takes 253 (unix(7), SCM_RIGHTS).
const AT_ONCE: usize = 253;
/// The longest line: thousands of listener addresses.
const LINE: usize = 1024 * 1024;

#[derive(Debug)]
pub(super) struct Channel(UnixStream);

/// Why a message did not arrive.
#[derive(Debug, thiserror::Error)]
pub(super) enum Missing {
    #[error("the other process has closed the socket")]
    Closed,
    #[error("nothing came in time")]
    Late,
    #[error("what came is no message: {0}")]
    Malformed(String),
    #[error(transparent)]
    Failed(io::Error),
}

impl Channel {
    /// Both ends.
    pub(super) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (near, far) = UnixStream::pair()?;
        Ok((Self(near), far.into()))
    }

    /// The far end.
    pub(super) fn of(socket: OwnedFd) -> Self {
        Self(socket.into())
    }

    /// Sends a message with descriptors.
    pub(super) fn send(&self, message: &impl Serialize, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        // Each part of the descriptors goes along with a space, which JSON ignores.
        for part in descriptors.chunks(AT_ONCE) {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            if !control.push(SendAncillaryMessage::ScmRights(part)) {
                return Err(io::Error::other("too many descriptors for one message"));
            }
            sendmsg(&self.0, &[IoSlice::new(b" ")], &mut control, SendFlags::NOSIGNAL)?;
        }
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        io::Write::write_all(&mut &self.0, &line)
    }

    /// Waits for a message and the descriptors that come with it.
    pub(super) fn receive<T: DeserializeOwned>(
        &self,
        patience: Duration,
    ) -> Result<(T, Vec<OwnedFd>), Missing> {
        let deadline = Instant::now() + patience;
        let (mut line, mut descriptors) = (Vec::new(), Vec::new());
        loop {
            match self.receive_byte(deadline, &mut descriptors)? {
                b'\n' => break,
                byte => line.push(byte),
            }
            if line.len() > LINE {
                return Err(Missing::Malformed(format!("a line of more than {LINE} bytes")));
            }
        }
        let message = serde_json::from_slice(&line).map_err(|error| Missing::Malformed(error.to_string()))?;
        Ok((message, descriptors))
    }

    /// One byte: what comes after the message stays in the socket. Messages are few and short.
    fn receive_byte(&self, deadline: Instant, descriptors: &mut Vec<OwnedFd>) -> Result<u8, Missing> {
        let mut byte = [0];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(Missing::Late);
            }
            self.0.set_read_timeout(Some(left)).map_err(Missing::Failed)?;
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let received =
                recvmsg(&self.0, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC);
            match received {
                Ok(received) => {
                    for message in control.drain() {
                        if let RecvAncillaryMessage::ScmRights(received) = message {
                            descriptors.extend(received);
                        }
                    }
                    return if received.bytes == 0 { Err(Missing::Closed) } else { Ok(byte[0]) };
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => return Err(Missing::Late),
                Err(rustix::io::Errno::CONNRESET) => return Err(Missing::Closed),
                Err(error) => return Err(Missing::Failed(error.into())),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[test]
    fn any_number_of_descriptors_arrives_with_its_message() {
        let (near, far) = Channel::pair().expect("a pair");
        let far = Channel::of(far);
        let (one, _other) = UnixStream::pair().expect("a pair");
        for count in [0, 1, AT_ONCE, AT_ONCE + 1, 2 * AT_ONCE + 7] {
            let sent = vec![one.as_fd(); count];
            near.send(&"first", &sent).expect("sent");
            near.send(&"second", &[]).expect("sent");
            let (text, received) = far.receive::<String>(PATIENCE).expect("received");
            assert_eq!((text.as_str(), received.len()), ("first", count));
            let (text, received) = far.receive::<String>(PATIENCE).expect("received");
            assert_eq!((text.as_str(), received.len()), ("second", 0));
        }
    }

    #[test]
    fn what_is_no_message_is_told_apart() {
        let receive = |bytes: &[u8]| {
            let (near, far) = UnixStream::pair().expect("a pair");
            io::Write::write_all(&mut &near, bytes).expect("written");
            drop(near);
            Channel(far).receive::<String>(PATIENCE).expect_err("no message")
        };
        assert!(matches!(receive(b""), Missing::Closed));
        assert!(matches!(receive(b"\"begun"), Missing::Closed));
        assert!(matches!(receive(b"garbage\n"), Missing::Malformed(_)));
        assert!(matches!(receive(b"\xff\xfe\n"), Missing::Malformed(_)));
        let (_near, far) = Channel::pair().expect("a pair");
        assert!(matches!(Channel::of(far).receive::<String>(Duration::from_millis(10)), Err(Missing::Late)));
    }
}
