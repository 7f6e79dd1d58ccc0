//! A TCP relay that simulates a long path: delay, loss, silence, dropped and reset connections.
//!
//! Bytes leave in order, each piece no sooner than its time. A change of the path affects open connections
//! and later ones alike.

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

/// Bytes per segment; each segment may be lost.
const SEGMENT: usize = 1448;
/// Segments in flight in one direction.
const IN_FLIGHT: usize = 1024;

/// The properties of a path.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Path {
    /// The delay in one direction.
    one_way: Duration,
    /// Lost segments per thousand.
    lost: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// Everything arrives.
    Open,
    /// Nothing arrives in either direction, without an error.
    Silent,
    /// The server side is closed. A client that waits sees nothing; one that sends is reset.
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
    /// A path to `server` with the delay `one_way` in each direction.
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

    /// The number of connections so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Sets the delay in one direction.
    pub(crate) fn takes(&self, one_way: Duration) {
        self.path.send_modify(|path| path.one_way = one_way);
    }

    /// Loses segments: they arrive a retransmission later, and delay those behind them.
    pub(crate) fn loses(&self, in_a_thousand: u32) {
        self.path.send_modify(|path| path.lost = in_a_thousand);
    }

    /// Turns into a black hole: connections stay open, and nothing arrives.
    pub(crate) fn goes_silent(&self) {
        self.path.send_modify(|path| path.state = State::Silent);
    }

    /// Closes the server sides: a client that sends on an old connection is reset. New connections
    /// are reset too.
    pub(crate) fn forgets(&self) {
        self.path.send_modify(|path| path.state = State::Forgotten);
    }

    /// Resets all connections and new ones.
    pub(crate) fn resets(&self) {
        self.path.send_modify(|path| path.state = State::Reset);
    }

    /// New connections get through again.
    pub(crate) fn opens(&self) {
        self.path.send_modify(|path| path.state = State::Open);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.relaying.abort();
    }
}

/// An address whose SYN segments get no answer.
#[derive(Debug)]
pub(crate) struct BlackHole {
    pub(crate) address: SocketAddr,
    listener: Socket,
    queued: Vec<TcpStream>,
}

impl BlackHole {
    /// At an unused address.
    pub(crate) async fn at(address: SocketAddr) -> Self {
        let listener = Socket::new(Domain::for_address(address), Type::STREAM, None).expect("a socket");
        listener.bind(&address.into()).expect("a free address");
        listener.listen(0).expect("it is bound");
        let address = listener.local_addr().expect("it is bound").as_socket().expect("an address");
        // The backlog is full once a connection attempt times out.
        let mut queued = Vec::new();
        while let Ok(connected) =
            tokio::time::timeout(Duration::from_millis(100), TcpStream::connect(address)).await
        {
            queued.push(connected.expect("it is queued"));
            assert!(queued.len() < 10, "the queue has no end");
        }
        Self { address, listener, queued }
    }

    /// Starts to accept, and answers every request with 200. A client that already tries gets through with
    /// its next SYN, which is sent after one second.
    pub(crate) fn opens(self) -> Opened {
        self.listener.set_nonblocking(true).expect("set");
        self.listener.listen(128).expect("it is bound");
        let listener = TcpListener::from_std(self.listener.into()).expect("it listens");
        drop(self.queued);
        Opened(tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                tokio::spawn(async move {
                    // The client may have left.
                    if near.read(&mut [0; 1024]).await.is_ok_and(|read| read > 0) {
                        let _ = near.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
                    }
                });
            }
        }))
    }
}

/// A former black hole that accepts until it is dropped.
#[derive(Debug)]
pub(crate) struct Opened(JoinHandle<()>);

impl Drop for Opened {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn relay(near: TcpStream, server: SocketAddr, path: watch::Receiver<Path>) {
    // Either end may disconnect at any time.
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
        // The far end is closed; the near end is reset when it sends.
        near.peek(&mut [0]).await?;
    }
    reset()
}

/// A second handle of the same connection.
fn twin(stream: &TcpStream) -> io::Result<TcpStream> {
    TcpStream::from_std(SockRef::from(stream).try_clone()?.into())
}

/// Pieces in flight in one direction, with their arrival times.
#[derive(Default)]
struct UnderWay {
    pieces: VecDeque<(Instant, Vec<u8>)>,
    /// No piece arrives before the one that was sent before it.
    last: Option<Instant>,
    ends: Option<Instant>,
}

/// Carries bytes from `from` to `to` with the properties of the path.
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
                    // Lost, like its retransmissions.
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

/// The delay of a retransmission: Linux waits at least 200 ms.
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
    async fn an_answer_takes_one_round_trip() {
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
    async fn a_forgotten_connection_is_reset_when_it_sends() {
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
