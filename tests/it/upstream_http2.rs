//! HTTP/2 to origins: requests share connections, and none is lost when a connection ends.

mod connections;
mod exchanges;
mod floods;
mod negotiation;
mod peers;

use crate::support::HOST;
use crate::support::edge::{Builder, Edge};

/// An edge whose origin speaks HTTP/2 in clear text.
fn h2c() -> Builder {
    Edge::builder().origins(H2C)
}

const H2C: &str = r#"  - {name: main, region: mainland, scheme: h2c, servers: ["$ORIGIN"]}
"#;
