//! The accept loop of a bound address.
//!
//! When file descriptors become scarce, the connections that have been idle the longest are closed for new ones. Running
//! out of descriptors or memory pauses the loop, so that it does not spin. It ends as soon as the address is to be
//! unbound.

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

use super::handshake::{self, HelloRefusal, HelloVerdict, PermittedHello, READ_BYTES};
use super::hello::HelloReader;
use super::metrics::ListenMetrics;
use super::refuse::Farewell;
use super::{Accepted, Connection, Endpoints, NamedHost, Port, clear, client_address, refuse};
use crate::config::{ClientAddressSource, Limits, Listener, Protocol, RefusalMode};
use crate::edge::descriptors::Room;
use crate::edge::{Edge, Phase};
use crate::gate::Refusal;
use crate::net::address::{LocalAddress, PeerAddress};

/// The first pause after a system failure; it doubles up to `LONGEST_PAUSE`.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// Time for connections that are not established yet once the program stops.
const ESTABLISHING_AT_THE_END: Duration = Duration::from_secs(1);

/// The handler of established connections.
pub type Serve = Arc<dyn Fn(Connection) -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// What accept loops share.
#[derive(Clone)]
pub struct Acceptor {
    /// Shared state.
    pub edge: Arc<Edge>,
    /// The families of listeners.
    pub metrics: ListenMetrics,
    /// The handler of established connections.
    pub serve: Serve,
    /// Tracks the tasks of connections.
    pub tasks: TaskTracker,
    /// Cuts the remaining connections when the drain timeout is over.
    pub cut: CancellationToken,
}

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Acceptor").finish_non_exhaustive()
    }
}

/// A bound socket.
pub type Listening = AsyncFd<std::net::TcpListener>;

/// What is known of a connection when its task starts.
enum Opening {
    Unknown,
    Begun(HelloReader),
    Permitted(PermittedHello),
    /// The ClientHello is refused, in a mode that takes time.
    Refused(HelloRefusal),
}

impl Acceptor {
    /// Accepts connections until `unbind` is cancelled.
    pub async fn run(self, socket: Arc<Listening>, port: Arc<Port>, unbind: CancellationToken) {
        let mut pause = SHORTEST_PAUSE;
        let mut bytes = vec![0; READ_BYTES];
        loop {
            // Lets other tasks run while connections keep arriving.
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
                    if self.edge.admission.is_making_room() {
                        // Their descriptors are free only when they are gone.
                        drop(ready);
                        tokio::select! {
                            () = unbind.cancelled() => return,
                            () = self.edge.admission.room_made() => {}
                        }
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    self.metrics.accept_pauses.inc();
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

    /// Takes an accepted connection. Most clients have sent their ClientHello by then: refusing them costs
    /// one read, and neither a task nor a place among the open connections.
    fn take(&self, socket: StdStream, peer: SocketAddr, port: &Arc<Port>, bytes: &mut [u8]) {
        let Some(endpoints) = endpoints(&socket, peer, port) else { return };
        let snapshot = self.edge.snapshots.load();
        let id = snapshot.listener(&port.listener);
        let Some(listener) = id.and_then(|id| snapshot.listener_config(id)) else {
            return refuse::reset(&socket);
        };
        let opening = match (&listener.protocol, &listener.client_address) {
            (Protocol::Https { refusal }, ClientAddressSource::Peer) => {
                let judge = |reader: &mut HelloReader, bytes: &[u8]| {
                    handshake::judge(&self.edge, &snapshot, id, *refusal, reader, bytes)
                };
                match self.judge_first_bytes(&socket, endpoints, port, judge, bytes) {
                    Some(opening) => opening,
                    None => return,
                }
            }
            (Protocol::Https { .. }, ClientAddressSource::ProxyHeader(_)) | (Protocol::Http { .. }, _) => {
                Opening::Unknown
            }
        };
        let limits = snapshot.config.limits;
        let admitted = if self.has_room(&socket) {
            self.edge.admission.admit(&limits, port.counters.open.clone())
        } else {
            None
        };
        let counts_now = listener.client_address == ClientAddressSource::Peer;
        let admitted = admitted
            .and_then(|mut admitted| (!counts_now || admitted.count(peer.ip(), &limits)).then_some(admitted));
        let Some(admitted) = admitted else {
            port.refused(&self.edge, Refusal::TooManyConnections, endpoints, NamedHost::default());
            return refuse::reset(&socket);
        };
        // Output is written in whole TLS records: Nagle's algorithm would only delay it.
        if socket.set_nodelay(true).is_err() {
            return;
        }
        let Ok(socket) = TcpStream::from_std(socket) else { return };
        let (edge, began, port) = (Arc::clone(&self.edge), Instant::now(), Arc::clone(port));
        let accepted = Accepted { edge, socket, began, endpoints, port, admitted };
        self.serve(accepted, Arc::clone(listener), limits, opening);
    }

    /// Whether descriptors are left for a new connection. While they are scarce, idle connections make room.
    fn has_room(&self, socket: &StdStream) -> bool {
        let room = self.edge.descriptors.room(socket);
        if room == Room::Ample {
            return true;
        }
        let closed = self.edge.admission.close_longest_idle();
        if let Some(closed @ 1..) = closed {
            self.metrics.made_room.inc_by(closed as u64);
            tracing::warn!(
                closed,
                "file descriptors are scarce: the connections that were idle the longest are closed"
            );
        }
        room == Room::Scarce && closed.is_some()
    }

    /// Reads what a TLS client has sent so far and judges it; `None` if the connection is over.
    fn judge_first_bytes(
        &self,
        socket: &StdStream,
        endpoints: Endpoints,
        port: &Port,
        judge: impl FnOnce(&mut HelloReader, &[u8]) -> HelloVerdict,
        bytes: &mut [u8],
    ) -> Option<Opening> {
        let read = match rustix::net::recv(socket, &mut *bytes, RecvFlags::empty()) {
            Ok((read @ 1.., _)) => read,
            Err(Errno::WOULDBLOCK | Errno::INTR) => return Some(Opening::Unknown),
            Ok((0, _)) | Err(_) => {
                port.counters.empty.inc();
                return None;
            }
        };
        let mut reader = HelloReader::default();
        match judge(&mut reader, &bytes[..read]) {
            HelloVerdict::Wanting => Some(Opening::Begun(reader)),
            HelloVerdict::Permitted(greeting) => Some(Opening::Permitted(greeting)),
            HelloVerdict::Refused(refused)
                if refused.farewell != Farewell::Configured(RefusalMode::Reset) =>
            {
                Some(Opening::Refused(refused))
            }
            HelloVerdict::Refused(HelloRefusal { refusal, server_name, .. }) => {
                refuse::reset(socket);
                port.refused(&self.edge, refusal, endpoints, NamedHost { server_name, host: None });
                None
            }
        }
    }

    fn serve(&self, accepted: Accepted, listener: Arc<Listener>, limits: Limits, opening: Opening) {
        let (serve, cut, mut phase) =
            (Arc::clone(&self.serve), self.cut.clone(), self.edge.phase.subscribe());
        let presence = accepted.admitted.presence();
        let task = self.tasks.spawn(async move {
            let late = async {
                // The sender lives as long as the edge.
                let _ = phase.wait_for(|phase| *phase == Phase::Draining).await.map(|_| ());
                tokio::time::sleep(ESTABLISHING_AT_THE_END).await;
            };
            // Boxed, so that the memory of a handshake is free during the connection's life.
            let connection = tokio::select! {
                biased;
                connection = Box::pin(establish(accepted, listener, limits, opening)) => connection,
                () = late => return,
            };
            let Some(connection) = connection else { return };
            cut.run_until_cancelled(serve(connection)).await;
        });
        presence.serve_in(task.abort_handle());
    }
}

async fn establish(
    accepted: Accepted,
    listener: Arc<Listener>,
    limits: Limits,
    opening: Opening,
) -> Option<Connection> {
    let accepted = match &listener.client_address {
        ClientAddressSource::Peer => accepted,
        ClientAddressSource::ProxyHeader(trusted) => {
            client_address::client(accepted, trusted, &limits).await?
        }
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

fn accept(socket: &std::net::TcpListener) -> io::Result<(StdStream, SocketAddr)> {
    let (accepted, peer) = acceptfrom_with(socket, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
    let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
    // A peer that is already gone has no address.
    Ok((accepted.into(), peer.ok_or(io::ErrorKind::ConnectionAborted)?))
}

/// Whether a connection waits to be accepted. This poll costs a tenth of an `accept` that finds none, for
/// which the kernel first allocates a socket and a file.
fn is_one_waiting(socket: &std::net::TcpListener) -> bool {
    let mut asked = [PollFd::new(socket, PollFlags::IN)];
    // If the poll fails, an `accept` will tell.
    rustix::event::poll(&mut asked, Some(&Timespec::default())).map_or(true, |ready| ready > 0)
}

/// The addresses of a connection; `None` if it is gone.
fn endpoints(socket: &StdStream, peer: SocketAddr, port: &Port) -> Option<Endpoints> {
    let bound = port.address;
    // No system call is needed if the bound address is a specific one.
    let local = if bound.ip().is_unspecified() { socket.local_addr().ok()? } else { bound };
    let peer = PeerAddress(peer);
    Some(Endpoints { peer, client: peer.as_client(), local: LocalAddress(local) })
}

/// Whether accepting failed because of the connection itself, not the system.
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
