//! gRPC, with Google's library on both sides.

use crate::support::edge::Edge;
use crate::support::python::{PythonServer, client};

#[tokio::test]
async fn every_kind_of_call_passes_with_its_status_deadline_and_end() {
    let server = PythonServer::start("grpc_echo.py").await;
    let origins = r#"  - {name: main, region: mainland, scheme: h2c, servers: ["$ORIGIN"]}
"#;
    let edge = Edge::builder().origins(origins).origin(([127, 0, 0, 1], server.port).into()).start().await;
    let (address, ca) = (edge.https().to_string(), edge.path("ca.pem").display().to_string());
    client("grpc_echo.py", &[&address, &ca, "www.example.cn"]).await;
}
