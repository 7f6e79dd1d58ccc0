//! Bytes between this edge and its clients and servers: transports, TLS, buffered streams for HTTP/1.1 and
//! HTTP/2, and the PROXY header.
//!
//! Nothing here takes decisions.

pub mod address;
mod field_count;
pub(crate) mod frame_budget;
pub mod frames;
mod held;
pub mod http1_stream;
pub mod http2_stream;
pub mod outflow;
pub mod proxy_protocol;
pub mod timer;
pub mod tls_stream;
pub mod transport;
pub mod untaken;
