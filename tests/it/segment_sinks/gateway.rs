//! A relay in front of an HTTP server. On request, its next connection goes wrong.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::support::time::pause;
use crate::support::{PATIENCE, eventually};

/// What goes wrong with a connection.
#[derive(Clone, Copy, Debug)]
pub(super) enum Trouble {
    /// The request gets this answer, and the server never sees it.
    Answers(&'static str),
    /// The server closes its sending side at once and reads on.
    HalfCloses,
    /// The answer arrives byte by byte.
    Slow,
    /// The server does what was asked, and its answer is cut in the middle.
    CutsAnswer,
}

/// A relay to one server. It ends on drop.
pub(super) struct Gateway {
    pub(super) address: SocketAddr,
    next: Arc<Mutex<Option<Trouble>>>,
    open: Arc<AtomicUsize>,
    /// Closes the connections that are open.
    close: watch::Sender<()>,
    accepting: JoinHandle<()>,
}

impl Gateway {
    /// A relay to `server`, which may be down.
    pub(super) async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let (next, open) = (Arc::new(Mutex::new(None)), Arc::<AtomicUsize>::default());
        let close = watch::Sender::new(());
        let (troubles, counted, closing) = (Arc::clone(&next), Arc::clone(&open), close.clone());
        let accepting = tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let (counted, mut closing) = (Arc::clone(&counted), closing.subscribe());
                counted.fetch_add(1, Ordering::Relaxed);
                let trouble = troubles.lock().unwrap_or_else(PoisonError::into_inner).take();
                tokio::spawn(async move {
                    tokio::select! {
                        // Either end may close at any time.
                        _ = serve(&mut near, server, trouble) => {}
                        _ = closing.changed() => {
                            let _ = near.shutdown().await;
                            while near.read(&mut [0; 1024]).await.is_ok_and(|read| read > 0) {}
                        }
                    }
                    counted.fetch_sub(1, Ordering::Relaxed);
                });
            }
        });
        Self { address, next, open, close, accepting }
    }

    /// Closes the open connections, and waits until the client has noticed; the next one has this trouble.
    pub(super) async fn befalls(&self, trouble: Trouble) {
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(trouble);
        self.close.send_replace(());
        let closed = async || (self.open.load(Ordering::Relaxed) == 0).then_some(());
        eventually("the client closes its connection", PATIENCE, closed).await;
    }

    /// Whether a connection has had the trouble.
    pub(super) fn is_over(&self) -> bool {
        self.next.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(near: &mut TcpStream, server: SocketAddr, trouble: Option<Trouble>) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    match trouble {
        None => {
            let mut far = TcpStream::connect(server).await?;
            tokio::io::copy_bidirectional(near, &mut far).await?;
        }
        Some(Trouble::Answers(answer)) => {
            let _ = near.read(&mut buffer).await?;
            near.write_all(answer.as_bytes()).await?;
            near.shutdown().await?;
            while near.read(&mut buffer).await? > 0 {}
        }
        Some(Trouble::HalfCloses) => {
            near.shutdown().await?;
            while near.read(&mut buffer).await? > 0 {}
        }
        Some(trouble @ (Trouble::Slow | Trouble::CutsAnswer)) => {
            let mut far = TcpStream::connect(server).await?;
            let (mut from_server, mut to_server) = far.split();
            let (mut from_client, mut to_client) = near.split();
            let upload = tokio::io::copy(&mut from_client, &mut to_server);
            let download = async {
                loop {
                    let read = from_server.read(&mut buffer).await?;
                    if matches!(trouble, Trouble::CutsAnswer) {
                        return to_client.write_all(&buffer[..read / 2]).await;
                    }
                    if read == 0 {
                        return Ok(());
                    }
                    for byte in &buffer[..read] {
                        to_client.write_all(&[*byte]).await?;
                        pause(Duration::from_millis(2)).await;
                    }
                }
            };
            tokio::select! {
                ended = upload => drop(ended?),
                ended = download => ended?,
            }
        }
    }
    Ok(())
}
