//! Downloads that last until the test opens a gate.

use http::Method;

use super::client::{Http1, Http2, Target, head_of, next_data};
use super::edge::Edge;
use super::message::Body;
use super::origin::{Gate, Origin, Request, Script, Step, head, ok, raw};

/// The answer to `/slow`: `begin`, and once the gate is open `ended`. Everything else gets `hello`.
pub(crate) fn slow(request: &Request, gate: &Gate) -> Script {
    match request.target() {
        "/slow" => {
            let fields = ["content-type: text/plain", "content-length: 10"];
            vec![head("200 OK", &fields), raw("begin"), Step::Wait(gate.clone()), raw("ended")]
        }
        _ => ok("hello"),
    }
}

/// An origin with these answers.
pub(crate) async fn slow_origin(gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::start(move |request| slow(request, &gate)).await
}

/// A download over HTTP/1.1 that has begun.
pub(crate) async fn download(edge: &Edge, host: &str) -> (Http1, Body) {
    let mut client = Target::https(edge).http1(host).await;
    client.ask("GET", host, "/slow").await;
    let head = client.head().await;
    let mut body = Body::of_answer(&head, "GET");
    assert_eq!(body.next(&mut client.wire).await.unwrap().unwrap(), "begin");
    (client, body)
}

/// A download over HTTP/2 that has begun.
pub(crate) async fn stream(client: &mut Http2, host: &str) -> h2::RecvStream {
    let (response, _) = client.begin(Method::GET, host, "/slow", &[], true).await;
    let (_, mut body) = head_of(response).await.unwrap();
    assert_eq!(next_data(&mut body).await.unwrap().unwrap(), "begin");
    body
}
