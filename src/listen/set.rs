//! The set of bound addresses, and the only place that binds.
//!
//! After [`ListenerSet::reconcile`], an address is bound if and only if the gate has issued a [`BindPermit`]
//! for its listener, unless the system refuses; that is reported and retried.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Port;
use super::accept::{Acceptor, Listening};
use crate::gate::{self, BindPermit, Refusal};

/// Connections that the kernel may queue; it caps this at `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// The bound addresses of all listeners.
#[derive(Debug)]
pub struct ListenerSet {
    acceptor: Acceptor,
    loops: NonZeroUsize,
    bound: BTreeMap<Address, Bound>,
    /// Sockets that the previous process listened on and that nothing has taken yet.
    inherited: BTreeMap<SocketAddr, TcpListener>,
    sockets: BoundSockets,
}

/// The sockets of a set, for the process that replaces this one. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct BoundSockets(Arc<Mutex<BTreeMap<SocketAddr, Weak<Listening>>>>);

impl BoundSockets {
    /// Those bound now, by their configured address. A socket stays open while it is held.
    pub fn now(&self) -> Vec<(SocketAddr, Arc<Listening>)> {
        let sockets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sockets.iter().filter_map(|(address, socket)| Some((*address, socket.upgrade()?))).collect()
    }

    fn add(&self, address: SocketAddr, socket: &Arc<Listening>) {
        let mut sockets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sockets.retain(|_, socket| socket.strong_count() > 0);
        sockets.insert(address, Arc::downgrade(socket));
    }
}

type Address = (Arc<str>, SocketAddr);

#[derive(Debug)]
struct Bound {
    unbind: CancellationToken,
    loops: JoinSet<()>,
}

/// The status of all listeners.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ListenersStatus {
    /// In the order of the configuration.
    pub listeners: Vec<ListenerStatus>,
    /// Why nothing is bound, whatever the gate permits.
    pub held: Option<String>,
}

/// The status of one listener.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ListenerStatus {
    /// The listener's name.
    pub name: Arc<str>,
    /// Why it must not be bound; `None` if it may.
    pub refusal: Option<Refusal>,
    /// The bound addresses.
    pub bound: Vec<SocketAddr>,
    /// The addresses that could not be bound, with the system's reason.
    pub failed: Vec<(SocketAddr, String)>,
}

impl ListenersStatus {
    /// Whether a permitted address is not bound.
    pub fn wants_retry(&self) -> bool {
        self.listeners.iter().any(|listener| !listener.failed.is_empty())
    }
}

impl ListenerSet {
    /// Nothing is bound yet. Each address gets `loops` accept loops.
    pub fn new(acceptor: Acceptor, loops: NonZeroUsize) -> Self {
        let (bound, inherited, sockets) = (BTreeMap::new(), BTreeMap::new(), BoundSockets::default());
        Self { acceptor, loops, bound, inherited, sockets }
    }

    /// Takes the sockets of the previous process. The next [`ListenerSet::reconcile`] uses those whose address is
    /// permitted, with the connections that wait in their queues, and closes the others.
    pub fn inherit(&mut self, sockets: Vec<(SocketAddr, TcpListener)>) {
        self.inherited = sockets.into_iter().collect();
    }

    /// The sockets of this set, now and later.
    pub fn sockets(&self) -> BoundSockets {
        self.sockets.clone()
    }

    /// Binds what is permitted and unbinds the rest. Binds nothing while `held` has a reason.
    pub async fn reconcile(&mut self, held: Option<String>) -> ListenersStatus {
        let edge = Arc::clone(&self.acceptor.edge);
        let snapshot = edge.snapshots.load_full();
        let at = edge.moment();
        let permits: Vec<Result<BindPermit, Refusal>> = (0..snapshot.config.listeners.len())
            .map(|place| gate::bind(&snapshot.gate, gate::ListenerId(place), at))
            .collect();
        let wanted: Vec<Address> = permits
            .iter()
            .flatten()
            .filter(|_| held.is_none())
            .filter_map(|permit| snapshot.listener_config(permit.listener()))
            .flat_map(|listener| {
                listener.addresses.iter().map(|address| (Arc::clone(&listener.name), *address))
            })
            .collect();
        self.inherited.retain(|address, _| wanted.iter().any(|(_, wanted)| wanted == address));
        // Unbind first: a renamed or moved listener frees addresses for others.
        let gone: Vec<Address> =
            self.bound.keys().filter(|address| !wanted.contains(address)).cloned().collect();
        for address in gone {
            // A listener that is still configured gets its value below.
            self.acceptor.metrics.bound.with_label_values(&[&*address.0]).set(0);
            self.unbind(&address).await;
        }
        let mut status = ListenersStatus::default();
        for (listener, permit) in snapshot.config.listeners.iter().zip(permits) {
            let mut state = ListenerStatus {
                name: Arc::clone(&listener.name),
                refusal: permit.as_ref().err().copied(),
                bound: Vec::new(),
                failed: Vec::new(),
            };
            if let Ok(permit) = permit
                && held.is_none()
            {
                for (address, outcome) in self.bind(permit, &listener.name, &listener.addresses) {
                    match outcome {
                        Ok(()) => state.bound.push(address),
                        Err(error) => state.failed.push((address, error.to_string())),
                    }
                }
            }
            let whole = held.is_none() && state.refusal.is_none() && state.failed.is_empty();
            self.acceptor.metrics.bound.with_label_values(&[&*listener.name]).set(i64::from(whole));
            status.listeners.push(state);
        }
        status.held = held;
        status
    }

    /// Unbinds every address.
    pub async fn close(&mut self) {
        let all: Vec<Address> = self.bound.keys().cloned().collect();
        for address in all {
            self.acceptor.metrics.bound.with_label_values(&[&*address.0]).set(0);
            self.unbind(&address).await;
        }
    }

    /// Binds addresses that are not bound yet. Consumes the permit, which is valid now and not later.
    fn bind(
        &mut self,
        permit: BindPermit,
        name: &Arc<str>,
        addresses: &[SocketAddr],
    ) -> Vec<(SocketAddr, io::Result<()>)> {
        tracing::trace!(listener = ?permit.listener(), "may be bound");
        let mut outcomes = Vec::with_capacity(addresses.len());
        for address in addresses {
            let key = (Arc::clone(name), *address);
            if self.bound.contains_key(&key) {
                outcomes.push((*address, Ok(())));
                continue;
            }
            outcomes.push((
                *address,
                self.open(*address).map(|socket| {
                    tracing::info!(listener = %name, %address, "bound");
                    self.bound.insert(key, self.start(socket, name, *address));
                }),
            ));
        }
        outcomes
    }

    /// The socket that was inherited for the address, or a new one.
    fn open(&mut self, address: SocketAddr) -> io::Result<Listening> {
        match self.inherited.remove(&address) {
            Some(socket) => listening(socket),
            None => open(address),
        }
    }

    fn start(&self, socket: Listening, name: &Arc<str>, address: SocketAddr) -> Bound {
        let counters = self.acceptor.metrics.of(name);
        let port = Arc::new(Port { listener: Arc::clone(name), address, counters });
        let (socket, unbind) = (Arc::new(socket), CancellationToken::new());
        self.sockets.add(address, &socket);
        let mut loops = JoinSet::new();
        for _ in 0..self.loops.get() {
            loops.spawn(self.acceptor.clone().run(Arc::clone(&socket), Arc::clone(&port), unbind.clone()));
        }
        Bound { unbind, loops }
    }

    /// Ends the accept loops; the last one closes the socket.
    async fn unbind(&mut self, address: &Address) {
        if let Some(mut bound) = self.bound.remove(address) {
            bound.unbind.cancel();
            while bound.loops.join_next().await.is_some() {}
            tracing::info!(listener = %address.0, address = %address.1, "closed");
        }
    }
}

fn open(address: SocketAddr) -> io::Result<Listening> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // So that `[::]:443` and `0.0.0.0:443` are two addresses, as configured.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    listening(socket.into())
}

fn listening(socket: TcpListener) -> io::Result<Listening> {
    #[expect(deprecated, reason = "its successor is unsafe to call, for types that change their descriptor")]
    AsyncFd::with_interest(socket, Interest::READABLE)
}
