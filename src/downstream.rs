//! Clients: one request on a connection or stream, and the response to it.

mod client;
mod early;
mod filling;
pub mod http1;
pub mod http2;
pub mod session;

/// The client is gone or broke the protocol: nobody is left to answer.
#[derive(Debug)]
pub(crate) enum ClientFailure {
    /// The client closed or reset, or sent a malformed body.
    Gone,
    /// The client did not take the response, or did not begin its body, in time.
    Slow,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Wanted {
    Body,
    /// Only whether it stays: the body is complete.
    Presence,
    /// Nothing: there is no room for more of the body.
    Nothing,
}
