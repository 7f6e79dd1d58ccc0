//! Threads for slow work beside the data plane, such as reading the files again.
//!
//! No connection waits for such work, and slow work gives way to the threads that serve.

use std::future::Future;
use std::io;
use std::thread;

/// The nice value of slow work: a thread at 5 gets about a quarter of a core beside one other busy thread.
const NICENESS: i32 = 5;

/// Whether a thread gives way to those that serve.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Priority {
    /// For work that takes milliseconds.
    Usual,
    /// For work that takes longer.
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

/// Runs a future that does I/O to its end on a thread of its own, which gives way and which the future may block.
pub fn run_low<F>(name: &str, make: impl FnOnce() -> F + Send + 'static) -> io::Result<thread::JoinHandle<()>>
where
    F: Future<Output = ()>,
{
    // The blocking threads are for name lookups: one at a time, and one that hangs.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(2).build()?;
    thread::Builder::new().name(name.to_owned()).spawn(move || {
        set_priority(Priority::Low);
        runtime.block_on(make());
        // A name lookup that hangs is not waited for.
        runtime.shutdown_background();
    })
}

/// Runs `work` on a thread of its own and blocks the caller until it ends; `None` if it panics or no thread can be
/// started.
pub fn run_blocking<T: Send>(name: &str, priority: Priority, work: impl FnOnce() -> T + Send) -> Option<T> {
    let work = move || {
        set_priority(priority);
        work()
    };
    thread::scope(|scope| {
        let worker = thread::Builder::new().name(name.to_owned()).spawn_scoped(scope, work);
        let worker =
            worker.inspect_err(|error| tracing::error!(%error, "Cannot start a thread for {name}")).ok()?;
        worker.join().inspect_err(|_| tracing::error!("The thread for {name} panicked")).ok()
    })
}

/// Sets the priority of the calling thread; Linux keeps one for each thread.
fn set_priority(priority: Priority) {
    if priority == Priority::Low
        && let Err(error) = rustix::process::setpriority_process(None, NICENESS)
    {
        tracing::debug!(%error, "Cannot lower the priority of a thread");
    }
}
