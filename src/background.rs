//! Work beside the data plane, such as reading the files anew: on threads of its own.
//!
//! Nothing that serves a connection waits for it, and what takes long gives way to those that serve.

use std::future::Future;
use std::io;
use std::thread;

use tokio::sync::oneshot;

/// How far a thread steps back when others want its core: a quarter of one is left to it beside one other.
const NICENESS: i32 = 5;

/// Whether a thread gives way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Priority {
    /// It does not, being done in no time.
    Usual,
    /// It does.
    Low,
}

/// Runs a future to its end on a thread of its own, which it may block.
pub fn run<F>(name: &str, make: impl FnOnce() -> F + Send + 'static) -> io::Result<()>
where
    F: Future<Output = ()>,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    thread::Builder::new().name(name.to_owned()).spawn(move || runtime.block_on(make()))?;
    Ok(())
}

/// What comes of `work`, done by a thread of its own while the caller blocks; `None` when it panics, or
/// there is no thread.
pub fn apart<T: Send>(name: &str, priority: Priority, work: impl FnOnce() -> T + Send) -> Option<T> {
    let work = move || {
        take(priority);
        work()
    };
    thread::scope(|scope| {
        let worker = thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, work);
        let worker = worker.inspect_err(|error| tracing::error!(%error, "no thread for {name}")).ok()?;
        worker.join().inspect_err(|_| tracing::error!("{name} failed")).ok()
    })
}

/// The same at [`Priority::Low`], awaited.
pub async fn done<T: Send + 'static>(
    name: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let (sender, done) = oneshot::channel();
    let worker = thread::Builder::new().name(name.to_owned()).spawn(move || {
        take(Priority::Low);
        // Whoever asked may have gone.
        let _ = sender.send(work());
    });
    worker.inspect_err(|error| tracing::error!(%error, "no thread for {name}")).ok()?;
    done.await.ok()
}

/// Gives the calling thread a priority; Linux has one for each thread.
fn take(priority: Priority) {
    if priority == Priority::Low
        && let Err(error) = rustix::process::setpriority_process(None, NICENESS)
    {
        tracing::debug!(%error, "a thread keeps its priority");
    }
}
