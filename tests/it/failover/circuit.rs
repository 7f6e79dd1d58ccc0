//! The limit of requests in flight, and the slow start of a server that comes back.

use http::Method;

use super::{HOST, ONE_ORIGIN, SITES, origin, up};
use crate::support::client::{Target, answer};
use crate::support::edge::Edge;
use crate::support::origin::{Gate, Origin, Step, ok};
use crate::support::{PATIENCE, eventually};

fn held(gate: &Gate, text: &'static str) -> Vec<Step> {
    [vec![Step::Wait(gate.clone())], ok(text)].concat()
}

#[tokio::test]
async fn a_server_at_max_in_flight_is_passed_over_without_waiting() {
    let gate = Gate::default();
    let (waiting, stuck) = (gate.clone(), gate.clone());
    let one = Origin::start(move |_| held(&waiting, "first")).await;
    let two = Origin::start(move |_| held(&stuck, "second")).await;
    let limited =
        |name, server| origin(name, &[server]).replace("scheme: http,", "scheme: http, max_in_flight: 3,");
    let origins = [limited("first", &one), limited("second", &two)].concat();
    let edge = Edge::builder().sites(SITES).origins(&origins).start().await;
    let mut client = Target::https(&edge).http2(HOST).await;
    let mut waiting = Vec::new();
    for _ in 0..6 {
        waiting.push(client.begin(Method::GET, HOST, "/", &[], true).await.0);
    }
    one.until("it has all it may have", |seen| seen.len() == 3).await;
    two.until("the next has the rest", |seen| seen.len() == 3).await;
    for _ in 0..20 {
        assert_eq!(client.get(HOST, "/").await.status, 503);
    }
    assert_eq!((one.seen().len(), two.seen().len()), (3, 3));
    assert!((edge.metric("icpgate_upstream_overflow_total{origin=\"first\"}").await - 20.0).abs() < 0.1);
    gate.open();
    let mut texts = Vec::new();
    for response in waiting {
        texts.push(answer(response).await.unwrap().text());
    }
    texts.sort();
    assert_eq!(texts, ["first", "first", "first", "second", "second", "second"]);
    eventually("there is room again", PATIENCE, async || {
        (client.get(HOST, "/").await.text() == "first").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_server_that_comes_back_gets_its_share_gradually() {
    let (mut one, two) = (Origin::text("one").await, Origin::text("two").await);
    let edge = Edge::builder().sites(ONE_ORIGIN).origins(&origin("first", &[&one, &two])).start().await;
    let mut client = Target::https(&edge).http1(HOST).await;
    let up = up(&one);
    one.stop().await;
    eventually("it is missed", PATIENCE, async || {
        client.get(HOST, "/").await;
        (edge.metric(&up).await == 0.0).then_some(())
    })
    .await;
    one.up();
    eventually("it serves again", PATIENCE, async || {
        (client.get(HOST, "/").await.text() == "one").then_some(())
    })
    .await;
    let share = async |client: &mut crate::support::client::Http1| {
        let mut of_one = 0;
        for _ in 0..200 {
            of_one += usize::from(client.get(HOST, "/").await.text() == "one");
        }
        of_one
    };
    let first = share(&mut client).await;
    assert!(first < 60, "{first} of 200: an even share would be a hundred");
    eventually("it has its share", PATIENCE, async || (share(&mut client).await >= 80).then_some(())).await;
}
