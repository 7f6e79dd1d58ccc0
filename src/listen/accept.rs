//! The accept loop of a bound address.
//!
//! Running out of descriptors or memory pauses it; it never spins, and it ends as soon as the address
//! is to be unbound.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpStream as StdStream};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SocketFlags, acceptfrom_with};
use tokio::io::unix::AsyncFd;
use tokio::net::TcpStream;
use tokio::task::coop::consume_budget;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::handshake::{self, Greeting, READ_BYTES, Refused, Verdict};
use super::hello::HelloReader;
use super::{Accepted, Connection, Ends, Named, Port, clear, client_address, refuse};
use crate::config::{ClientAddress, Limits, Listener, Protocol, RefusalMode};
use crate::edge::{Edge, Phase};
use crate::gate::Refusal;

/// The first pause after a failure of the system; each next one is twice as long.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// How long a connection that is not established may still take once the program ends.
const ESTABLISHING_AT_THE_END: Duration = Duration::from_secs(1);

/// What becomes of a connection that may send requests.
pub type Serve = Arc<dyn Fn(Connection) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// What accept loops need.
#[derive(Clone)]
pub struct Acceptor {
    /// Shared with every connection.
    pub edge: Arc<Edge>,
    /// What becomes of connections.
    pub serve: Serve,
    /// The tasks of connections, to be waited for.
    pub tasks: TaskTracker,
    /// Ends what is left of them when the time to drain is over.
    pub cut: CancellationToken,
}

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acceptor").finish_non_exhaustive()
    }
}

/// A bound socket.
pub type Listening = AsyncFd<std::net::TcpListener>;

/// What a connection has come to when it is taken up.
enum Opening {
    /// Nothing is known of it.
    Unknown,
    /// Its hello is not whole.
    Begun(HelloReader),
    /// It may shake hands.
    Permitted(Greeting),
    /// It is refused in a way that takes its time.
    Refused(Refused),
}

impl Acceptor {
    /// Accepts connections until `unbind` is cancelled.
    pub async fn run(self, socket: Arc<Listening>, port: Arc<Port>, unbind: CancellationToken) {
        let mut pause = SHORTEST_PAUSE;
        let mut bytes = vec![0; READ_BYTES];
        loop {
            // Where one connection comes after the other, those that are open have their turn all the same.
            consume_budget().await;
            let mut ready = tokio::select! {
                biased;
                () = unbind.cancelled() => return,
                ready = socket.readable() => match ready {
                    Ok(ready) => ready,
                    // The runtime has ended.
                    Err(_) => return,
                },
            };
            match accept(socket.get_ref()) {
                Ok((accepted, peer)) => {
                    pause = SHORTEST_PAUSE;
                    self.take(accepted, peer, &port, &mut bytes);
                    if !is_one_waiting(socket.get_ref()) {
                        ready.clear_ready();
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    self.edge.metrics.accept_pauses.inc();
                    tracing::warn!(listener = %port.listener, %error, ?pause, "accepting pauses");
                    tokio::select! {
                        () = unbind.cancelled() => return,
                        () = tokio::time::sleep(pause) => {}
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    /// Takes a connection up. Most clients have said hello by then, so that a stranger's costs one read, and
    /// neither a task nor a place among the open connections.
    fn take(&self, socket: StdStream, peer: SocketAddr, port: &Arc<Port>, bytes: &mut [u8]) {
        let Some(ends) = ends(&socket, peer, port) else { return };
        let snapshot = self.edge.snapshots.load();
        let Some(listener) = snapshot.listener(&port.listener).and_then(|id| snapshot.listener_config(id))
        else {
            return refuse::reset(&socket);
        };
        let opening = match (&listener.protocol, &listener.client_address) {
            (Protocol::Https { refusal }, ClientAddress::OfPeer) => {
                match self.glance(&socket, ends, port, *refusal, bytes) {
                    Some(opening) => opening,
                    None => return,
                }
            }
            (Protocol::Https { .. }, ClientAddress::ToldBy(_)) | (Protocol::Http { .. }, _) => {
                Opening::Unknown
            }
        };
        let limits = snapshot.config.limits;
        let admitted = self.edge.admission.admit(&limits, port.figures.open.clone());
        let counts_now = listener.client_address == ClientAddress::OfPeer;
        let admitted = admitted
            .and_then(|mut admitted| (!counts_now || admitted.count(peer.ip(), &limits)).then_some(admitted));
        let Some(admitted) = admitted else {
            port.refused(&self.edge, Refusal::TooManyConnections, ends, Named::default());
            return refuse::reset(&socket);
        };
        // Answers go out in whole records, so that there is nothing to wait for.
        if socket.set_nodelay(true).is_err() {
            return;
        }
        let Ok(socket) = TcpStream::from_std(socket) else { return };
        let (edge, began, port) = (Arc::clone(&self.edge), Instant::now(), Arc::clone(port));
        let accepted = Accepted { edge, socket, began, ends, port, admitted };
        self.serve(accepted, Arc::clone(listener), limits, opening);
    }

    /// Looks at what a client of a TLS listener has said by now; `None` when that was all.
    fn glance(
        &self,
        socket: &StdStream,
        ends: Ends,
        port: &Port,
        mode: RefusalMode,
        bytes: &mut [u8],
    ) -> Option<Opening> {
        let read = match rustix::net::recv(socket, &mut *bytes, RecvFlags::empty()) {
            Ok((read @ 1.., _)) => read,
            Err(Errno::WOULDBLOCK | Errno::INTR) => return Some(Opening::Unknown),
            Ok((0, _)) | Err(_) => {
                port.figures.empty.inc();
                return None;
            }
        };
        let mut reader = HelloReader::default();
        match handshake::judge(&self.edge, port, mode, &mut reader, &bytes[..read]) {
            Verdict::Wanting => Some(Opening::Begun(reader)),
            Verdict::Permitted(greeting) => Some(Opening::Permitted(greeting)),
            Verdict::Refused(refused) if refused.mode != RefusalMode::Reset => {
                Some(Opening::Refused(refused))
            }
            Verdict::Refused(Refused { refusal, server_name, .. }) => {
                refuse::reset(socket);
                port.refused(&self.edge, refusal, ends, Named { server_name, host: None });
                None
            }
        }
    }

    /// Establishes and serves a connection in a task of its own.
    fn serve(&self, accepted: Accepted, listener: Arc<Listener>, limits: Limits, opening: Opening) {
        let (serve, cut, mut phase) =
            (Arc::clone(&self.serve), self.cut.clone(), self.edge.phase.subscribe());
        self.tasks.spawn(async move {
            let late = async {
                // The sender lives as long as the edge does.
                let _ = phase.wait_for(|phase| *phase == Phase::Draining).await.map(|_| ());
                tokio::time::sleep(ESTABLISHING_AT_THE_END).await;
            };
            // Boxed: what a handshake needs is given back before the connection's long life begins.
            let connection = tokio::select! {
                biased;
                connection = Box::pin(establish(accepted, listener, limits, opening)) => connection,
                () = late => return,
            };
            let Some(connection) = connection else { return };
            cut.run_until_cancelled(serve(connection)).await;
        });
    }
}

async fn establish(
    accepted: Accepted,
    listener: Arc<Listener>,
    limits: Limits,
    opening: Opening,
) -> Option<Connection> {
    let accepted = match &listener.client_address {
        ClientAddress::OfPeer => accepted,
        ClientAddress::ToldBy(trusted) => client_address::client(accepted, trusted, &limits).await?,
    };
    match (&listener.protocol, opening) {
        (Protocol::Https { .. }, Opening::Permitted(greeting)) => {
            handshake::handshake(accepted, &limits, greeting).await
        }
        (Protocol::Https { refusal }, Opening::Begun(reader)) => {
            handshake::establish(accepted, &limits, *refusal, reader).await
        }
        (Protocol::Https { refusal }, Opening::Unknown) => {
            handshake::establish(accepted, &limits, *refusal, HelloReader::default()).await
        }
        (Protocol::Https { .. }, Opening::Refused(refused)) => handshake::refuse(accepted, refused).await,
        (Protocol::Http { health_check, redirect: _ }, _) => {
            clear::establish(accepted, limits, health_check.as_ref()).await
        }
    }
}

/// Takes the next connection of a socket, if there is one.
fn accept(socket: &std::net::TcpListener) -> io::Result<(StdStream, SocketAddr)> {
    let (accepted, peer) = acceptfrom_with(socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
    let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
    // A peer that is gone already has no address.
    Ok((accepted.into(), peer.ok_or(io::ErrorKind::ConnectionAborted)?))
}

/// Whether a connection waits to be accepted. To ask costs a tenth of an attempt to accept that finds none, for
/// which the kernel makes a socket and a file first.
fn is_one_waiting(socket: &std::net::TcpListener) -> bool {
    let mut asked = [PollFd::new(socket, PollFlags::IN)];
    // Where the system does not say, an attempt will.
    rustix::event::poll(&mut asked, Some(&Timespec::default())).map_or(true, |ready| ready > 0)
}

/// Between whom a connection is; `None` when it is gone.
fn ends(socket: &StdStream, peer: SocketAddr, port: &Port) -> Option<Ends> {
    let bound = port.address;
    // The system need not be asked which address of many it is where one alone is bound.
    let local = if bound.ip().is_unspecified() { socket.local_addr().ok()? } else { bound };
    Some(Ends { peer, client: peer, local })
}

/// Whether a failure to accept is that of the connection, gone before it was taken, and not the
/// system's.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
            | io::ErrorKind::PermissionDenied
    )
}
