//! Clients: a request that came on a connection or stream, and the answer that goes back on it.

pub mod http1;
pub mod http2;
pub mod session;

/// The client is gone, or breaks the protocol: there is nobody left to answer.
#[derive(Debug)]
pub(crate) enum ClientFailure {
    /// It sent what is no body.
    Gone,
    /// It took longer than a limit to take what is sent to it.
    Slow,
}

/// What is wanted of a client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Wanted {
    /// The next bytes of the body.
    Body,
    /// That it stays, with nothing more to come of the body.
    Presence,
    /// Nothing: there is no room for what it sends.
    Nothing,
}
