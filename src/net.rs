//! Bytes between this edge and its clients and servers: transports, TLS, gathered writes, HTTP/2 streams, and
//! the PROXY header.
//!
//! Nothing here decides anything.

pub mod deadline;
pub mod edge_stream;
pub mod frames;
pub mod outflow;
pub mod proxy_protocol;
pub mod tls_stream;
pub mod transport;
pub mod wire;
