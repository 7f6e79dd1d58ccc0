//! One connection of an origin: reads requests and runs their scripts.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustls::HandshakeKind;
use socket2::{SockRef, Socket};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use super::{Request, Seen, Shared, Step, Stream};
use crate::support::message::{Body, Wire};

/// Counts an open connection until it is dropped.
struct Open(Arc<Seen>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

pub(super) async fn serve(tcp: TcpStream, connection: usize, seen: Arc<Seen>, shared: Arc<Shared>) {
    seen.open.fetch_add(1, Ordering::Relaxed);
    let _open = Open(Arc::clone(&seen));
    tcp.set_nodelay(true).unwrap();
    let reset = SockRef::from(&tcp).try_clone().unwrap();
    let stream: Box<dyn Stream> = match &shared.tls {
        None => Box::new(tcp),
        Some(config) => match TlsAcceptor::from(Arc::clone(config)).accept(tcp).await {
            Ok(tls) => {
                let resumed = tls.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed);
                seen.resumed.fetch_add(usize::from(resumed), Ordering::Relaxed);
                Box::new(tls)
            }
            Err(_) => return,
        },
    };
    // The edge may disconnect at any time; it must not send malformed requests.
    if let Err(error) = converse(Wire::new(stream), connection, &seen, &shared, &reset).await
        && error.kind() == io::ErrorKind::InvalidData
    {
        seen.nonsense.fetch_add(1, Ordering::Relaxed);
    }
}

async fn converse(
    mut wire: Wire<Box<dyn Stream>>,
    connection: usize,
    seen: &Seen,
    shared: &Shared,
    reset: &Socket,
) -> io::Result<()> {
    while let Some(head) = wire.head().await? {
        let mut body = Body::of_request(&head);
        let request = Request { connection, whole: body.is_done(), head, body: Vec::new() };
        let place = {
            let mut requests = seen.requests.lock().unwrap();
            requests.push(request.clone());
            requests.len() - 1
        };
        let script = (shared.answer)(&request);
        if !script.iter().any(|step| matches!(step, Step::ReadBody)) {
            read_body(&mut wire, &mut body, seen, place).await?;
        }
        for step in script {
            match step {
                Step::Send(bytes) => wire.stream.write_all(&bytes).await?,
                Step::Drip(bytes, pause) => {
                    for byte in bytes {
                        wire.stream.write_all(&[byte]).await?;
                        tokio::time::sleep(pause).await;
                    }
                }
                Step::Flood => loop {
                    wire.stream.write_all(&[b'x'; 16 * 1024]).await?;
                },
                Step::Wait(gate) => tokio::select! {
                    () = gate.passed() => {}
                    gone = async { while wire.read().await? {} io::Result::Ok(()) } => return gone,
                },
                Step::ReadBody => read_body(&mut wire, &mut body, seen, place).await?,
                Step::Echo => loop {
                    if wire.ahead.is_empty() && !wire.read().await? {
                        return wire.stream.shutdown().await;
                    }
                    let bytes = wire.ahead.split();
                    wire.stream.write_all(&bytes).await?;
                },
                Step::AwaitEnd => while wire.read().await? {},
                Step::Close => return wire.stream.shutdown().await,
                Step::Reset => return reset.set_linger(Some(Duration::ZERO)),
            }
        }
        // TLS buffers bytes until a flush.
        wire.stream.flush().await?;
    }
    Ok(())
}

async fn read_body(
    wire: &mut Wire<Box<dyn Stream>>,
    body: &mut Body,
    seen: &Seen,
    place: usize,
) -> io::Result<()> {
    while let Some(bytes) = body.next(wire).await? {
        seen.requests.lock().unwrap()[place].body.extend_from_slice(&bytes);
    }
    seen.requests.lock().unwrap()[place].whole = true;
    Ok(())
}
