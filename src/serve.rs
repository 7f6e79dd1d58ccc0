//! Connections with clients: one request after another over HTTP/1, streams over HTTP/2.

mod http1;
mod http2;
mod timeouts;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::exchange::Proxy;
use crate::listen::accept::Serve;
use crate::listen::{Connection, HttpVersion};

/// The handler that accept loops give established connections to.
pub fn with(proxy: Arc<Proxy>) -> Serve {
    Arc::new(move |connection: Connection| {
        let proxy = Arc::clone(&proxy);
        let served: Pin<Box<dyn Future<Output = ()> + Send>> = match connection.protocol {
            HttpVersion::Http1 => Box::pin(http1::serve(proxy, connection)),
            HttpVersion::Http2 => Box::pin(http2::serve(proxy, connection)),
        };
        served
    })
}
