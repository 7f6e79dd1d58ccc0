//! The accept loop of a bound address.
//!
//! Running out of descriptors or memory pauses it; it never spins, and it ends as soon as the address
//! is to be unbound.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Accepted, Connection, Edge, Ends, Named, Phase, clear, refuse, tls, told};
use crate::config::{ClientAddress, Protocol};
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

impl Acceptor {
    /// Accepts connections of the listener called `name` until `unbind` is cancelled.
    pub async fn run(self, socket: Arc<TcpListener>, name: Arc<str>, unbind: CancellationToken) {
        let mut pause = SHORTEST_PAUSE;
        loop {
            let accepted = tokio::select! {
                () = unbind.cancelled() => return,
                accepted = socket.accept() => accepted,
            };
            match accepted {
                Ok((socket, peer)) => {
                    pause = SHORTEST_PAUSE;
                    self.admit(socket, peer, &name);
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    self.edge.metrics.accept_pauses.inc();
                    tracing::warn!(listener = %name, %error, ?pause, "accepting pauses");
                    tokio::select! {
                        () = unbind.cancelled() => return,
                        () = tokio::time::sleep(pause) => {}
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }

    fn admit(&self, socket: TcpStream, peer: std::net::SocketAddr, name: &Arc<str>) {
        let Ok(local) = socket.local_addr() else { return };
        let snapshot = self.edge.snapshots.load();
        let Some(listener) = snapshot.listener(name).and_then(|id| snapshot.listener_config(id)) else {
            return refuse::reset(&socket);
        };
        let limits = snapshot.config.limits;
        let open = self.edge.metrics.connections_open.with_label_values(&[&**name]);
        let edge = Arc::clone(&self.edge);
        let ends = Ends { peer, client: peer, local };
        let Some(mut admitted) = self.edge.admission.admit(&limits, open) else {
            refuse::reset(&socket);
            return edge.refused(Refusal::TooManyConnections, ends, name, Named::default());
        };
        let client_address = listener.client_address.clone();
        if client_address == ClientAddress::OfPeer && !admitted.count(peer.ip(), &limits) {
            refuse::reset(&socket);
            return edge.refused(Refusal::TooManyConnections, ends, name, Named::default());
        }
        // Answers go out in whole records, so that there is nothing to wait for.
        if socket.set_nodelay(true).is_err() {
            return;
        }
        let began = Instant::now();
        let accepted = Accepted { edge, socket, began, ends, listener: Arc::clone(name), admitted };
        let protocol = listener.protocol.clone();
        let (serve, cut, mut phase) =
            (Arc::clone(&self.serve), self.cut.clone(), self.edge.phase.subscribe());
        self.tasks.spawn(async move {
            let late = async {
                // The sender lives as long as the edge does.
                let _ = phase.wait_for(|phase| *phase == Phase::Draining).await.map(|_| ());
                tokio::time::sleep(ESTABLISHING_AT_THE_END).await;
            };
            // Boxed: what a handshake needs is given back before the connection's long life begins.
            let established = Box::pin(async move {
                let accepted = match client_address {
                    ClientAddress::OfPeer => accepted,
                    ClientAddress::ToldBy(trusted) => told::client(accepted, &trusted, &limits).await?,
                };
                match protocol {
                    Protocol::Https { refusal } => tls::establish(accepted, limits, refusal).await,
                    Protocol::Http { health_check, redirect: _ } => {
                        clear::establish(accepted, limits, health_check).await
                    }
                }
            });
            let connection = tokio::select! {
                connection = established => connection,
                () = late => return,
            };
            let Some(connection) = connection else { return };
            cut.run_until_cancelled(serve(connection)).await;
        });
    }
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
