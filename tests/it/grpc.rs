//! gRPC, with Google's library on both sides.

use std::future;

use http::Method;

use crate::support::client::{Target, head_of};
use crate::support::edge::Edge;
use crate::support::http2_origin::{Exchange, Http2Origin};
use crate::support::python::{PythonServer, client, part};

#[tokio::test]
async fn every_kind_of_call_passes_with_its_status_deadline_and_end() {
    let server = PythonServer::start("grpc_echo.py").await;
    let origins = r#"  - {name: main, region: mainland, scheme: h2c, servers: ["$ORIGIN"]}
"#;
    let edge = Edge::builder().origins(origins).origin(([127, 0, 0, 1], server.port).into()).start().await;
    let (address, ca) = (edge.https().to_string(), edge.path("ca.pem").display().to_string());
    client("grpc_echo.py", &[&address, &ca, "www.example.cn"]).await;
}

#[tokio::test]
async fn the_edges_own_failures_are_grpc_statuses_and_recorded_as_http() {
    let silent = Http2Origin::start(|exchange: Exchange| async move {
        future::pending::<()>().await;
        drop(exchange);
    })
    .await;
    let sites = "  - name: shop\n    hosts: [www.example.cn]\n    certificate: {chain: site.pem, key: site.key}\n    \
                 routes: [{match: {path: /down.Echo}, origins: [down]}, {match: {path: /slow.Echo}, origins: [slow]}]\n";
    let origins = r#"  - {name: down, region: mainland, scheme: h2c, servers: ["$IP:7001"]}
  - {name: slow, region: mainland, scheme: h2c, servers: ["$ORIGIN"], timeouts: {first_byte: 200ms}}
"#;
    let edge = Edge::builder().sites(sites).origins(origins).origin(silent.address).start().await;
    let (address, ca) = (edge.https().to_string(), edge.path("ca.pem").display().to_string());
    part("grpc_echo.py", "failing", &[&address, &ca, "www.example.cn"]).await;
    for (path, status, origin) in [
        ("/down.Echo/Call", 502, Some("down")),
        ("/slow.Echo/Call", 504, Some("slow")),
        ("/none.Echo/Call", 404, None),
    ] {
        let records = edge.records_where(2, |record| record["path"] == path).await;
        for record in records {
            assert_eq!(
                (record["status"].as_u64(), record["origin"].as_str()),
                (Some(status), origin),
                "{record}"
            );
        }
    }
    assert!((edge.metric("icpgate_requests_total{site=\"shop\",status=\"5xx\"}").await - 4.0).abs() < 0.1);
    assert!((edge.metric("icpgate_requests_total{site=\"shop\",status=\"2xx\"}").await).abs() < 0.1);
}

#[tokio::test]
async fn a_call_for_a_host_that_is_not_permitted_is_refused_like_any_request() {
    let edge = Edge::builder().start().await;
    let mut client = Target::https(&edge).http2("www.example.cn").await;
    let fields = [("content-type", "application/grpc"), ("te", "trailers")];
    let (response, _) =
        client.begin(Method::POST, "elsewhere.example.com", "/Echo/Call", &fields, true).await;
    let (answer, _) = head_of(response).await.expect("an answer");
    assert_eq!((answer.status, answer.field("grpc-status")), (421, None));
}
