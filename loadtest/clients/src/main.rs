//! Clients of the load test with one connection per request, faster than a server on one core.
//!
//! Each client works sequentially until the time is over. Anything unexpected ends the program with a
//! message and an error status: a count is of correct answers only.

mod connection;
mod exchange;
mod refusal;
mod tls;

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use exchange::{Exchange, Handshakes};
use refusal::Refusal;

const USAGE: &str = "usage: icpgate-clients fresh|resumed PORT SECONDS HOST PATH CHAIN BODY
       icpgate-clients refused PORT SECONDS HELLO

Asks 127.0.0.1:PORT for so many seconds, then prints how often it was done; how often so far, for each line that comes.
CHAIN holds the certificate, in PEM, BODY what PATH is answered with, HELLO the bytes of a ClientHello that is refused.";

/// Clients in parallel.
const CLIENTS: usize = 8;

/// Longer than the last exchanges take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a client repeats.
type Act = Box<dyn FnMut() -> anyhow::Result<()> + Send>;

fn main() -> anyhow::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match *words.as_slice() {
        ["fresh", port, seconds, host, path, chain, body] => {
            let exchange = Exchange::new(local(port)?, host, path, chain, body)?;
            run(seconds, || exchange.client(Handshakes::Full))
        }
        ["resumed", port, seconds, host, path, chain, body] => {
            let exchange = Exchange::new(local(port)?, host, path, chain, body)?;
            run(seconds, || exchange.client(Handshakes::Resumed))
        }
        ["refused", port, seconds, hello] => {
            let refusal = Refusal::new(local(port)?, hello)?;
            run(seconds, || Ok(refusal.client()))
        }
        _ => bail!(USAGE),
    }
}

fn local(port: &str) -> anyhow::Result<SocketAddr> {
    let port: u16 = port.parse().with_context(|| format!("{port}: no port"))?;
    Ok((Ipv4Addr::LOCALHOST, port).into())
}

/// Runs all clients until the time is over or one fails, and prints the count.
fn run(seconds: &str, client: impl Fn() -> anyhow::Result<Act>) -> anyhow::Result<()> {
    let seconds: u64 = seconds.parse().with_context(|| format!("{seconds}: no whole number of seconds"))?;
    let over = Instant::now() + Duration::from_secs(seconds);
    let done = Arc::new(AtomicU64::new(0));
    let (ended, ends) = mpsc::channel();
    for _ in 0..CLIENTS {
        let (mut act, done, ended) = (client()?, Arc::clone(&done), ended.clone());
        thread::spawn(move || ended.send(repeat(&mut act, over, &done)));
    }
    // The channel closes with the last client.
    drop(ended);
    answer_lines(Arc::clone(&done));
    for _ in 0..CLIENTS {
        match ends.recv_timeout((over + PATIENCE).saturating_duration_since(Instant::now())) {
            Ok(end) => end?,
            Err(RecvTimeoutError::Timeout) => {
                bail!("a client waits for the server still, {PATIENCE:?} after the end")
            }
            Err(RecvTimeoutError::Disconnected) => bail!("a client panicked"),
        }
    }
    say(&done)
}

fn repeat(act: &mut Act, over: Instant, done: &AtomicU64) -> anyhow::Result<()> {
    while Instant::now() < over {
        act()?;
        done.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

/// Prints the count for each line read from stdin, on a thread that ends with the program.
fn answer_lines(done: Arc<AtomicU64>) {
    thread::spawn(move || {
        for _ in std::io::stdin().lines() {
            // The reader may be gone.
            let _ = say(&done);
        }
    });
}

fn say(done: &AtomicU64) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout(), "{}", done.load(Ordering::Relaxed))?)
}
