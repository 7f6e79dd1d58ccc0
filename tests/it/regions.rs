//! Routing by the client's region, and residency of routes.

mod residency;

use std::path::Path;

use crate::support::edge::{Builder, Edge};
use crate::support::origin::{Origin, ok};
use crate::support::probe::probe;
use crate::support::{PATIENCE, eventually};

/// The PROXY header names the client, so that it can be anywhere.
const LISTENERS: &str = "  - {name: http, addresses: [\"$HTTP\"], protocol: http, redirect: none, proxy_protocol: {trusted: [127.0.0.1]}}\n";

fn sites(routes: &str) -> String {
    format!("  - {{name: shop, hosts: [www.example.cn], routes: [{routes}]}}\n")
}

const BY_CLIENT: &str = "{match: {clients: mainland}, origins: [mainland]}, {match: {clients: offshore}, origins: [offshore]}, \
                         {match: {path: /inside}, origins: [mainland]}";

fn shores(mainland: &Origin, offshore: &Origin) -> Builder {
    let origins = format!(
        "  - {{name: mainland, region: mainland, scheme: http, servers: [\"{}\"]}}\n  \
         - {{name: offshore, region: offshore, scheme: http, servers: [\"{}\"]}}\n",
        mainland.address, offshore.address
    );
    Edge::builder().listeners(LISTENERS).origins(&origins)
}

/// The status and the last line of the answer to a client at that address.
async fn ask(edge: &Edge, client: &str, path: &str) -> (u16, String) {
    let family = if client.contains(':') { "TCP6" } else { "TCP4" };
    let destination = if client.contains(':') { "::1" } else { "127.0.0.1" };
    let request = format!(
        "PROXY {family} {client} {destination} 40001 80\r\nGET {path} HTTP/1.1\r\nHost: www.example.cn\r\nConnection: close\r\n\r\n"
    );
    let answer = probe(edge.http(), request.as_bytes()).await;
    (answer.status(), answer.text().lines().last().unwrap_or_default().to_owned())
}

#[track_caller]
fn data(name: &str) -> Vec<u8> {
    fs_err::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)).expect("test data")
}

#[tokio::test]
async fn a_route_is_for_the_clients_of_one_region() {
    let (mainland, offshore) = (Origin::text("mainland").await, Origin::text("offshore").await);
    let folder =
        shores(&mainland, &offshore).sites(&sites(BY_CLIENT)).more("client_regions: cn.txt\n").write();
    folder.replace("cn.txt", "# test networks\n203.0.113.0/24\n2408::/20\n10.9.0.0/16 # an office\n");
    let edge = folder.start().await;
    for (client, expected) in [
        ("203.0.113.9", "mainland"),
        ("2408::9", "mainland"),
        ("10.9.1.2", "mainland"),
        ("198.51.100.9", "offshore"),
        ("2001:db8::9", "offshore"),
    ] {
        assert_eq!(ask(&edge, client, "/").await, (200, expected.to_owned()), "{client}");
        let record = edge.records_where(1, |record| record["client_ip"] == client).await.remove(0);
        assert_eq!((&record["origin"], &record["region"]), (&expected.into(), &expected.into()));
    }
    // A private address that the list does not name is in no region.
    assert_eq!(ask(&edge, "10.1.2.3", "/").await.0, 404);
    assert_eq!(ask(&edge, "10.1.2.3", "/inside").await, (200, "mainland".to_owned()));

    // The file is watched; a broken one changes nothing.
    edge.replace("cn.txt", "198.51.100.0/24\n");
    eventually("the new list", PATIENCE, async || {
        (ask(&edge, "203.0.113.9", "/").await.1 == "offshore").then_some(())
    })
    .await;
    assert_eq!(ask(&edge, "198.51.100.9", "/").await.1, "mainland");
    edge.replace("cn.txt", "198.51.100.0/24\n203.0.113.0/\n");
    edge.metric_becomes("icpgate_reloads_total{result=\"rejected\"}", 1.0).await;
    edge.logged("\"203.0.113.0/\" is not a network").await;
    assert_eq!(ask(&edge, "198.51.100.9", "/").await.1, "mainland");
}

#[tokio::test]
async fn a_country_database_tells_hong_kong_from_the_mainland() {
    let (mainland, offshore) = (Origin::text("mainland").await, Origin::text("offshore").await);
    let folder =
        shores(&mainland, &offshore).sites(&sites(BY_CLIENT)).more("client_regions: geo/c.mmdb\n").write();
    fs_err::create_dir(folder.path("geo")).unwrap();
    folder.replace("geo/c.mmdb", data("country.mmdb"));
    let edge = folder.start().await;
    for (client, expected) in [
        ("203.0.113.1", "mainland"),
        ("203.0.113.129", "offshore"), // Hong Kong
        ("203.0.113.193", "offshore"), // Macau
        ("203.0.113.225", "offshore"), // Taiwan
        ("192.0.2.1", "offshore"),
        ("8.8.8.8", "offshore"),
        ("2408::1", "mainland"),
        ("2404:c800::1", "offshore"),
    ] {
        assert_eq!(ask(&edge, client, "/").await, (200, expected.to_owned()), "{client}");
    }
}

#[tokio::test]
async fn a_route_never_leaves_its_region() {
    let mut mainland = Origin::down(|_| ok("mainland"), None);
    let offshore = Origin::text("offshore").await;
    let routes = "{match: {path: /records}, origins: [mainland], residency: mainland}, \
                  {match: {path: /any}, origins: [mainland, offshore], residency: any}, {origins: [mainland]}";
    let edge = shores(&mainland, &offshore).sites(&sites(routes)).start().await;
    for _ in 0..5 {
        assert_eq!(ask(&edge, "203.0.113.9", "/records").await.0, 503);
    }
    assert_eq!(offshore.connections(), 0);
    assert_eq!(ask(&edge, "203.0.113.9", "/any").await, (200, "offshore".to_owned()));
    let status = ask(&edge, "203.0.113.9", "/").await.0;
    assert!([502, 503].contains(&status), "{status}");
    assert_eq!(offshore.seen().len(), 1);
    mainland.up();
    eventually("the mainland serves", PATIENCE, async || {
        (ask(&edge, "203.0.113.9", "/records").await.0 == 200).then_some(())
    })
    .await;
    assert!(offshore.seen().iter().all(|request| request.target() == "/any"));
}

#[tokio::test]
async fn check_refuses_routes_to_the_wrong_region_and_finds_unreachable_ones() {
    let (mainland, offshore) = (Origin::text("").await, Origin::text("").await);
    let problems = async |routes: &str, more: &str| {
        let folder = shores(&mainland, &offshore).sites(&sites(routes)).more(more).write();
        folder.replace("cn.txt", "203.0.113.0/24\n");
        let run = folder.check(&["--json"]).await;
        let places = |key: &str| -> Vec<String> {
            let found = run.json()[key].as_array().expect("a list").clone();
            found.iter().map(|one| format!("{}: {}", one["place"], one["message"]).replace('"', "")).collect()
        };
        (run.code, places("problems"), places("warnings"))
    };
    let (code, found, _) = problems("{origins: [mainland, offshore], residency: mainland}", "").await;
    assert_eq!(code, 1);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with("sites[0].routes[0].origins[1]: ") && found[0].contains("offshore"),
        "{found:?}"
    );

    let (code, found, _) = problems(BY_CLIENT, "").await;
    assert_eq!(code, 1);
    assert!(
        found.iter().all(|problem| problem.contains("match.clients: ")
            && problem.ends_with("nothing tells where clients are")),
        "{found:?}"
    );
    assert_eq!(found.len(), 2);

    let shadowed = "{match: {path: /a}, origins: [mainland]}, {match: {path: /a/b, clients: offshore}, origins: [offshore]}, \
                    {match: {clients: mainland}, origins: [mainland]}, {match: {path: /c, clients: mainland}, origins: [mainland]}, \
                    {match: {path: /c, clients: offshore}, origins: [offshore]}";
    let (code, found, warnings) = problems(shadowed, "client_regions: cn.txt\n").await;
    assert_eq!((code, found.len()), (0, 0), "{found:?}");
    let never: Vec<&str> =
        warnings.iter().filter(|warning| warning.contains("never reached")).map(String::as_str).collect();
    assert_eq!(never.len(), 2, "{warnings:?}");
    assert!(
        never[0].starts_with("sites[0].routes[1]: ") && never[1].starts_with("sites[0].routes[3]: "),
        "{never:?}"
    );

    let (code, _, warnings) = problems("{origins: [mainland, offshore]}", "client_regions: cn.txt\n").await;
    assert_eq!(code, 0);
    assert!(
        warnings.iter().any(|warning| warning.starts_with("client_regions: no route asks")),
        "{warnings:?}"
    );
}
