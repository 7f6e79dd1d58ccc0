//! A long way to a server: a relay of TCP that is slow, loses segments, goes silent, forgets or resets.
//!
//! What goes in comes out in its order, each piece no sooner than its time. What happens to a path is set
//! while connections are open, and reaches them and later ones alike.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};

/// As much as one segment carries; each may get lost by itself.
const SEGMENT: usize = 1448;
/// What may be under way in one direction, in segments.
const IN_FLIGHT: usize = 1024;

/// What a path does with what is sent along it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Path {
    /// From one end to the other.
    one_way: Duration,
    /// In a thousand segments.
    lost: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// Everything arrives.
    Open,
    /// Nothing arrives in either direction, and nobody is told.
    Silent,
    /// The server has gone; who waits for it is not told, and who sends is reset.
    Forgotten,
    /// Connections are reset.
    Reset,
}

/// A relay to one server, on a port of its own.
#[derive(Debug)]
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    path: Arc<watch::Sender<Path>>,
    connections: Arc<AtomicUsize>,
    relaying: JoinHandle<()>,
}

impl Relay {
    /// A way to `server` that takes `one_way` in each direction.
    pub(crate) async fn to(server: SocketAddr, one_way: Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let path = Arc::new(watch::Sender::new(Path { one_way, lost: 0, state: State::Open }));
        let connections = Arc::<AtomicUsize>::default();
        let (subscribed, counted) = (Arc::clone(&path), Arc::clone(&connections));
        let relaying = tokio::spawn(async move {
            let mut open = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                open.spawn(relay(near, server, subscribed.subscribe()));
                while open.try_join_next().is_some() {}
            }
        });
        Self { address, path, connections, relaying }
    }

    /// Connections that came so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// What is read from now on takes `one_way`.
    pub(crate) fn takes(&self, one_way: Duration) {
        self.path.send_modify(|path| path.one_way = one_way);
    }

    /// So many segments in a thousand come a retransmission later, and hold back those behind them.
    pub(crate) fn loses(&self, in_a_thousand: u32) {
        self.path.send_modify(|path| path.lost = in_a_thousand);
    }

    /// A black hole: connections stay open and are accepted, and nothing arrives.
    pub(crate) fn goes_silent(&self) {
        self.path.send_modify(|path| path.state = State::Silent);
    }

    /// Half-open: the server's ends are closed; whoever sends along an old connection is reset. New ones
    /// are reset as well.
    pub(crate) fn forgets(&self) {
        self.path.send_modify(|path| path.state = State::Forgotten);
    }

    /// Resets all connections, and new ones as they come.
    pub(crate) fn resets(&self) {
        self.path.send_modify(|path| path.state = State::Reset);
    }

    /// New connections get through again; old ones that were reset or forgotten do not come back.
    pub(crate) fn opens(&self) {
        self.path.send_modify(|path| path.state = State::Open);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.relaying.abort();
    }
}

/// An address that accepts no connection and refuses none: what is sent there gets lost.
#[derive(Debug)]
pub(crate) struct BlackHole {
    pub(crate) address: SocketAddr,
    listener: Socket,
    queued: Vec<TcpStream>,
}

impl BlackHole {
    /// At an address that nobody else has.
    pub(crate) async fn at(address: SocketAddr) -> Self {
        let listener = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket");
        listener.bind(&address.into()).expect("a free address");
        listener.listen(0).expect("it is bound");
        let address = listener.local_addr().expect("it is bound").as_socket().expect("an address");
        // The queue is full as soon as one connection is not taken.
        let mut queued = Vec::new();
        while let Ok(connected) =
            tokio::time::timeout(Duration::from_millis(100), TcpStream::connect(address)).await
        {
            queued.push(connected.expect("it is queued"));
            assert!(queued.len() < 10, "the queue has no end");
        }
        Self { address, listener, queued }
    }

    /// Accepts from now on, and answers whatever comes with 200. Who tries already gets through with the
    /// next segment that is sent to begin a connection: the second goes out after one second.
    pub(crate) fn opens(self) -> Opened {
        self.listener.set_nonblocking(true).expect("set");
        self.listener.listen(128).expect("it is bound");
        let listener = TcpListener::from_std(self.listener.into()).expect("it listens");
        drop(self.queued);
        Opened(tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                tokio::spawn(async move {
                    // Who has gone needs no answer.
                    if near.read(&mut [0; 1024]).await.is_ok_and(|read| read > 0) {
                        let _ = near.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
                    }
                });
            }
        }))
    }
}

/// A black hole that has opened, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Opened(JoinHandle<()>);

impl Drop for Opened {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn relay(near: TcpStream, server: SocketAddr, path: watch::Receiver<Path>) {
    // Both ends may go away at any time, which is what this is for.
    let _ = relay_until(near, server, path).await;
}

async fn relay_until(near: TcpStream, server: SocketAddr, mut path: watch::Receiver<Path>) -> io::Result<()> {
    near.set_nodelay(true)?;
    let reset = || SockRef::from(&near).set_linger(Some(Duration::ZERO));
    let first = path.wait_for(|path| path.state != State::Silent).await.map_err(io::Error::other)?.state;
    if first != State::Open {
        return reset();
    }
    let far = TcpStream::connect(server).await?;
    far.set_nodelay(true)?;
    let there = carry(twin(&near)?, twin(&far)?, path.clone());
    let back = carry(far, twin(&near)?, path.clone());
    let both = async move { tokio::try_join!(there, back).map(|_| ()) };
    let mut watched = path.clone();
    let ended = async {
        match watched.wait_for(|path| matches!(path.state, State::Forgotten | State::Reset)).await {
            Ok(path) => path.state,
            Err(_) => State::Reset,
        }
    };
    let ended = tokio::select! {
        outcome = both => return outcome,
        ended = ended => ended,
    };
    if ended == State::Forgotten {
        // The far end is closed by now; the near one learns it when it sends.
        near.peek(&mut [0]).await?;
    }
    reset()
}

/// The same connection, which ends with the last of its twins.
fn twin(stream: &TcpStream) -> io::Result<TcpStream> {
    TcpStream::from_std(SockRef::from(stream).try_clone()?.into())
}

/// What is under way in one direction: pieces, and when each arrives.
#[derive(Default)]
struct UnderWay {
    pieces: VecDeque<(Instant, Vec<u8>)>,
    /// No piece arrives before the one that was sent before it.
    last: Option<Instant>,
    ends: Option<Instant>,
}

/// Carries bytes from `from` to `to`, as the path of the moment does.
async fn carry(mut from: TcpStream, mut to: TcpStream, mut path: watch::Receiver<Path>) -> io::Result<()> {
    let mut under_way = UnderWay::default();
    let mut buffer = vec![0; SEGMENT];
    loop {
        let now = *path.borrow_and_update();
        let silent = now.state == State::Silent;
        let next = under_way.pieces.front().map(|(at, _)| *at).or(under_way.ends);
        tokio::select! {
            changed = path.changed() => changed.map_err(io::Error::other)?,
            read = from.read(&mut buffer), if under_way.ends.is_none() && under_way.pieces.len() < IN_FLIGHT => {
                let read = read?;
                let mut arrives = Instant::now() + now.one_way;
                if fastrand::u32(..1000) < now.lost {
                    arrives += retransmission(now.one_way);
                }
                let arrives = under_way.last.map_or(arrives, |last| last.max(arrives));
                under_way.last = Some(arrives);
                match read {
                    0 => under_way.ends = Some(arrives),
                    // It got lost, and so does whatever is sent again.
                    _ if silent => {}
                    _ => under_way.pieces.push_back((arrives, buffer[..read].to_vec())),
                }
            }
            () = sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() && !silent => {
                match under_way.pieces.pop_front() {
                    Some((_, piece)) => to.write_all(&piece).await?,
                    None => return to.shutdown().await,
                }
            }
        }
    }
}

/// How much later a lost segment arrives: the sender waits for its timer, which is never less than 200 ms.
fn retransmission(one_way: Duration) -> Duration {
    (one_way * 2 + Duration::from_millis(50)).max(Duration::from_millis(200))
}

#[cfg(test)]
mod tests {
    use super::super::origin::{Origin, ok};
    use super::super::{PATIENCE, eventually};
    use super::*;

    async fn ask(address: SocketAddr) -> io::Result<(TcpStream, Duration)> {
        let mut socket = TcpStream::connect(address).await?;
        let took = again(&mut socket).await?;
        Ok((socket, took))
    }

    async fn again(socket: &mut TcpStream) -> io::Result<Duration> {
        let began = Instant::now();
        socket.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"fine") {
            if socket.read_buf(&mut answer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(began.elapsed())
    }

    #[tokio::test]
    async fn an_answer_takes_the_way_there_and_back() {
        let origin = Origin::start(|_| ok("fine")).await;
        let relay = Relay::to(origin.address, Duration::from_millis(60)).await;
        let (_, took) = ask(relay.address).await.unwrap();
        assert!(took >= Duration::from_millis(120) && took < Duration::from_secs(5), "{took:?}");
        relay.takes(Duration::ZERO);
        relay.loses(1000);
        let (_, took) = ask(relay.address).await.unwrap();
        assert!(took >= Duration::from_millis(400), "{took:?}: both ways lost their first");
        assert_eq!(relay.connections(), 2);
    }

    #[tokio::test]
    async fn a_path_goes_silent_and_comes_back() {
        let origin = Origin::start(|_| ok("fine")).await;
        let relay = Relay::to(origin.address, Duration::ZERO).await;
        let (mut socket, _) = ask(relay.address).await.unwrap();
        relay.goes_silent();
        assert!(tokio::time::timeout(Duration::from_millis(200), again(&mut socket)).await.is_err());
        assert!(tokio::time::timeout(Duration::from_millis(200), ask(relay.address)).await.is_err());
        assert_eq!(origin.seen().len(), 1);
        relay.opens();
        ask(relay.address).await.unwrap();
    }

    #[tokio::test]
    async fn who_is_forgotten_learns_it_by_sending() {
        let origin = Origin::start(|_| ok("fine")).await;
        let relay = Relay::to(origin.address, Duration::ZERO).await;
        let (mut socket, _) = ask(relay.address).await.unwrap();
        relay.forgets();
        eventually("the server has lost it", PATIENCE, async || (origin.open() == 0).then_some(())).await;
        let nothing = tokio::time::timeout(Duration::from_millis(100), socket.peek(&mut [0])).await;
        assert!(nothing.is_err(), "nobody is told");
        let error = again(&mut socket).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        relay.resets();
        assert_eq!(ask(relay.address).await.map(drop).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    }
}
