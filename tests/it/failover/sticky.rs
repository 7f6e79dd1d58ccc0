//! Sticky servers: the same value of a request goes to the same server while that is up.

use std::collections::{BTreeMap, BTreeSet};

use super::{HOST, ONE_ORIGIN, up};
use crate::support::client::{Http1, Target};
use crate::support::edge::Edge;
use crate::support::origin::Origin;
use crate::support::{PATIENCE, eventually};

const VALUES: usize = 60;

/// Three servers, a backup, and the edge in front of them.
async fn start(balance: &str) -> (Edge, Vec<Origin>) {
    let mut servers = Vec::new();
    for name in ["a", "b", "c", "backup"] {
        servers.push(Origin::text(name).await);
    }
    let list: Vec<String> = servers
        .iter()
        .enumerate()
        .map(|(index, server)| format!("{{address: \"{}\", backup: {}}}", server.address, index == 3))
        .collect();
    let origins = format!(
        "  - {{name: first, region: mainland, scheme: http, balance: {balance}, servers: [{}]}}\n",
        list.join(", ")
    );
    (Edge::builder().sites(ONE_ORIGIN).origins(&origins).start().await, servers)
}

/// The server of each value.
async fn servers_of_all(http1: &mut Http1, field: &str) -> BTreeMap<usize, String> {
    let mut servers = BTreeMap::new();
    for value in 0..VALUES {
        servers.insert(value, server_of(http1, &format!("{field}user-{value}")).await);
    }
    servers
}

async fn server_of(http1: &mut Http1, field: &str) -> String {
    http1.send(format!("GET / HTTP/1.1\r\nHost: {HOST}\r\n{field}\r\n\r\n")).await;
    http1.answer("GET").await.text()
}

#[tokio::test]
async fn a_cookie_stays_with_its_server_and_returns_to_it() {
    let (edge, mut servers) = start("{hash: {cookie: sid}}").await;
    let mut http1 = Target::https(&edge).http1(HOST).await;
    let field = "Cookie: theme=dark; sid=";
    let before = servers_of_all(&mut http1, field).await;
    let used: BTreeSet<&str> = before.values().map(String::as_str).collect();
    assert_eq!(used, BTreeSet::from(["a", "b", "c"]), "each has a share, the backup has none");
    assert_eq!(servers_of_all(&mut http1, field).await, before);

    let up = up(&servers[0]);
    servers[0].stop().await;
    let values_of_a: Vec<usize> =
        before.iter().filter(|(_, server)| *server == "a").map(|(value, _)| *value).collect();
    eventually("it is missed", PATIENCE, async || {
        for value in &values_of_a {
            server_of(&mut http1, &format!("{field}user-{value}")).await;
        }
        (edge.metric(&up).await == 0.0).then_some(())
    })
    .await;
    let without = servers_of_all(&mut http1, field).await;
    for (value, server) in &before {
        match server.as_str() {
            "a" => {
                assert!(["b", "c"].contains(&without[value].as_str()), "{value} went to {}", without[value])
            }
            _ => assert_eq!(&without[value], server, "{value} stays"),
        }
    }

    servers[0].up();
    eventually("each is where it was", PATIENCE, async || {
        (servers_of_all(&mut http1, field).await == before).then_some(())
    })
    .await;
}

#[tokio::test]
async fn the_backup_serves_while_no_other_server_can() {
    let (edge, mut servers) = start("{hash: {header: X-User}}").await;
    for server in &mut servers[..3] {
        server.stop().await;
    }
    let mut http1 = Target::https(&edge).http1(HOST).await;
    for value in 0..VALUES {
        assert_eq!(server_of(&mut http1, &format!("X-User: {value}")).await, "backup");
    }
}

#[tokio::test]
async fn requests_without_the_value_are_spread() {
    let (edge, _servers) = start("{hash: {header: X-User}}").await;
    let mut http1 = Target::https(&edge).http1(HOST).await;
    let mut used = BTreeSet::new();
    for _ in 0..VALUES {
        used.insert(server_of(&mut http1, "X-Other: 1").await);
    }
    assert_eq!(used.len(), 3, "{used:?}");
    let known = server_of(&mut http1, "X-User: 1").await;
    for _ in 0..VALUES {
        assert_eq!(server_of(&mut http1, "X-User: 1").await, known);
    }
}

#[tokio::test]
async fn a_client_stays_with_its_server() {
    let (edge, _servers) = start("{hash: client}").await;
    let mut used = BTreeSet::new();
    for _ in 0..20 {
        used.insert(Target::https(&edge).get(HOST, "/").await.text());
    }
    assert_eq!(used.len(), 1, "{used:?}");
}
