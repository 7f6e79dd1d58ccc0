//! `doctor`: what would cost the address is found before it does, with what to do about it.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::Value;
use tokio::net::{TcpListener, UdpSocket};

use crate::support::edge::{Builder, Edge, Folder};
use crate::support::named::Named;
use crate::support::origin::{Origin, answer, ok};

/// The findings of `icpgate doctor`, each checked for its shape, and the exit code.
async fn doctor(folder: &Folder, more: &[&str]) -> (i32, Vec<Value>) {
    let run = folder.ask("doctor", &[&["--json"], more].concat()).await;
    let found = run.json()["findings"].as_array().unwrap_or_else(|| panic!("{run:?}")).clone();
    for finding in &found {
        for key in ["check", "level", "subject", "message"] {
            assert!(finding[key].as_str().is_some_and(|text| !text.is_empty()), "{key}: {finding}");
        }
        let is_ok = finding["level"] == "ok";
        assert!(is_ok || finding["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "{finding}");
    }
    let fails = found.iter().any(|finding| finding["level"] == "fail");
    assert_eq!(run.code, i32::from(fails), "{run:?}");
    (run.code, found)
}

/// Fails unless there is a finding of `check` and `level` about `subject` that says `said`.
#[track_caller]
fn assert_found(findings: &[Value], [check, level, subject, said]: [&str; 4]) {
    let is_it = |finding: &&Value| {
        let holds = |key: &str, text: &str| finding[key].as_str().is_some_and(|found| found.contains(text));
        finding["check"] == check
            && finding["level"] == level
            && holds("subject", subject)
            && holds("message", said)
    };
    let of_check: Vec<&Value> = findings.iter().filter(|finding| finding["check"] == check).collect();
    assert!(
        findings.iter().any(|finding| is_it(&finding)),
        "no {level} of {subject} with {said:?}: {of_check:#?}"
    );
}

#[tokio::test]
async fn a_sound_deployment_passes_and_is_reported_by_level() {
    let folder = Edge::builder().write();
    let (code, found) = doctor(&folder, &["--offline"]).await;
    assert_eq!(code, 0, "{found:#?}");
    assert_found(&found, ["port", "ok", "listener https", "is free"]);
    assert_found(&found, ["key", "ok", "site.key", "owner and group"]);
    assert_found(&found, ["certificate", "ok", "site shop", "served without a reload"]);
    assert_found(&found, ["disk", "ok", "access", "too few records"]);
    assert_found(&found, ["top_level_domain", "ok", "filings", "estimate"]);
    assert_found(&found, ["configuration", "warn", "access_log.sinks", "no sink"]);
    for online in ["dns", "caa", "sink"] {
        assert!(found.iter().all(|finding| finding["check"] != online), "{online}: {found:#?}");
    }
    let text = folder.ask("doctor", &["--offline"]).await;
    assert_eq!(text.code, 0, "{text:?}");
    let (looks, fine) = (text.stdout.find("needs a look:"), text.stdout.find("is as it should be:"));
    assert!(looks.is_some() && looks < fine && !text.stdout.contains("fails:"), "{text:?}");
    assert!(text.stdout.contains("\n      -> ship records to a store with a lock"), "{text:?}");
}

#[tokio::test]
async fn a_missing_intermediate_and_a_key_that_all_can_read_fail_offline() {
    let folder = Edge::builder().write();
    let chain = fs_err::read_to_string(folder.path("site.pem")).expect("a chain");
    let (alone, _) = chain.split_once("-----END CERTIFICATE-----\n").expect("two certificates");
    folder.replace("site.pem", format!("{alone}-----END CERTIFICATE-----\n"));
    let everyone = std::fs::Permissions::from_mode(0o644);
    fs_err::set_permissions(folder.path("site.key"), everyone).expect("set");
    let (code, found) = doctor(&folder, &["--offline"]).await;
    assert_eq!(code, 1, "{found:#?}");
    assert_found(&found, ["certificate", "fail", "site shop", "intermediate certificate is missing"]);
    assert_found(&found, ["key", "fail", "site.key", "mode 0644"]);
}

#[tokio::test]
async fn risks_of_the_configuration_are_named() {
    let folder = Edge::builder()
        .listeners(
            "  - {name: https, addresses: [\"$HTTPS\"], protocol: https, trusted_proxies: [\"0.0.0.0/0\"]}\n  \
             - {name: http, addresses: [\"$HTTP\"], protocol: http}\n",
        )
        .sites(
            "  - hosts: [www.example.cn]\n    certificate: {chain: site.pem, key: site.key}\n    footer: {pages: off}\n    \
             routes: [{origins: [main]}]\n",
        )
        .access_log("{directory: access, reserve: 1MiB, when_full: drop}")
        .filings(
            "filings:\n  - {domain: example.cn, number: 京ICP备2024012345号-1, status: approved, approved_on: 2020-01-02}\n  \
             - {domain: example.io, status: preparing}\n  - {domain: example.ai, status: preparing}\n",
        )
        .write();
    let open = folder.configuration().replace(&folder.admin().to_string(), "0.0.0.0:9180");
    folder.replace("icpgate.yaml", open);
    let (_, found) = doctor(&folder, &["--offline"]).await;
    assert_found(&found, ["configuration", "fail", "listener https", "0.0.0.0/0"]);
    assert_found(&found, ["configuration", "warn", "admin.address", "whoever reaches"]);
    assert_found(&found, ["configuration", "warn", "when_full", "without a record"]);
    assert_found(&found, ["configuration", "warn", "site www.example.cn", "footer"]);
    assert_found(&found, ["top_level_domain", "warn", "example.io", "(estimate)"]);
    assert!(found.iter().all(|finding| !finding.to_string().contains("example.ai")), "{found:#?}");
    // A configuration that cannot be served is a finding too.
    folder.replace("icpgate.yaml", "listenres: []\n");
    let (code, found) = doctor(&folder, &["--offline"]).await;
    assert_eq!(code, 1);
    assert_found(&found, ["configuration", "fail", "listenres", "listenres"]);
}

#[tokio::test]
async fn a_port_is_free_or_the_program_s_or_another_s() {
    let folder = Edge::builder().write();
    let other = TcpListener::bind(folder.https()).await.expect("free");
    let (code, found) = doctor(&folder, &["--offline"]).await;
    assert_eq!(code, 1);
    assert_found(&found, ["port", "fail", "listener https", "held by another program"]);
    assert_found(&found, ["port", "ok", "listener http", "is free"]);
    drop(other);
    let edge = folder.start().await;
    edge.ports_open().await;
    let (_, found) = doctor(&edge, &["--offline"]).await;
    assert_found(&found, ["port", "ok", "listener https", "held by the running icpgate"]);
    assert!(
        found.iter().any(|finding| finding["check"] == "descriptors" && finding["subject"] == "icpgate run")
    );
}

/// An edge whose listeners have the public address 203.0.113.10, filed for access there alone.
fn filed_at(resolvers: &[&Named]) -> Builder {
    let servers: Vec<String> = resolvers.iter().map(|named| format!("\"{}\"", named.address)).collect();
    Edge::builder()
        .listeners(
            "  - {name: https, addresses: [\"$HTTPS\"], protocol: https, public_addresses: [203.0.113.10]}\n  \
             - {name: http, addresses: [\"$HTTP\"], protocol: http, public_addresses: [203.0.113.10]}\n",
        )
        .filings(
            "filings:\n  - domain: example.cn\n    number: 京ICP备2024012345号-1\n    status: approved\n    \
             approved_on: 2020-01-02\n    access: [{provider: aliyun, addresses: [203.0.113.10]}]\n",
        )
        .more(&format!("resolver: {{servers: [{}]}}\n", servers.join(", ")))
}

/// A time server whose clock is wrong by `seconds`.
async fn time_server(seconds: i64) -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    let address = socket.local_addr().expect("bound").to_string();
    tokio::spawn(async move {
        let mut question = [0; 48];
        while let Ok((48, client)) = socket.recv_from(&mut question).await {
            let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
            let whole = (now.tv_sec + 2_208_988_800 + seconds).cast_unsigned();
            // A nanosecond is about four parts of 2^32.
            let time = ((whole << 32) | (now.tv_nsec.cast_unsigned() * 4)).to_be_bytes();
            let mut told = [0; 48];
            (told[0], told[1]) = (0b00_100_100, 2);
            told[24..32].copy_from_slice(&question[40..]);
            told[32..40].copy_from_slice(&time);
            told[40..].copy_from_slice(&time);
            socket.send_to(&told, client).await.expect("sent");
        }
    });
    address
}

/// A metadata service that demands a token and knows one public address.
async fn metadata(address: &'static str) -> Origin {
    Origin::start(move |request| match (request.method(), request.target()) {
        ("PUT", "/latest/api/token") => ok("a-token"),
        ("GET", "/latest/meta-data/eipv4") => ok(address),
        _ => answer("404 Not Found", &[], "not there"),
    })
    .await
}

#[tokio::test]
async fn dns_that_leads_elsewhere_fails_and_the_cloud_and_the_clock_are_compared() {
    let named = Named::with(
        "www A 203.0.113.10\nwww CAA 0 issue \";\"\n@ A 198.51.100.7\n@ AAAA 2001:db8::7\n@ CAA 0 issue \"digicert.com\"\n",
    )
    .await;
    let folder = filed_at(&[&named]).write();
    let (slow, cloud) = (time_server(100).await, metadata("198.51.100.9").await);
    let cloud_address = cloud.address.to_string();
    let (code, found) = doctor(&folder, &["--ntp", &slow, "--metadata", &cloud_address]).await;
    assert_eq!(code, 1);
    assert_found(&found, ["dns", "ok", "www.example.cn", "203.0.113.10, filed"]);
    assert_found(&found, ["dns", "fail", "example.cn", "198.51.100.7, IPv4 that is not filed"]);
    assert_found(&found, ["dns", "fail", "example.cn", "2001:db8::7, IPv6 that is not filed"]);
    assert_found(&found, ["caa", "fail", "www.example.cn", "nobody may issue"]);
    assert_found(&found, ["caa", "warn", "example.cn", "only digicert.com may issue"]);
    assert_found(&found, ["clock", "fail", &slow, "behind"]);
    assert_found(&found, ["address", "warn", "listener https", "198.51.100.9 leads to this machine"]);
    assert_found(&found, ["address", "warn", "listener https", "203.0.113.10 is not this machine's"]);
    assert_found(&found, ["address", "ok", "listener https", "is in the access of 1 filings"]);
}

#[tokio::test]
async fn name_servers_that_disagree_are_named_and_filed_answers_pass() {
    let one = Named::with("www A 203.0.113.10\n@ A 203.0.113.10\n").await;
    let other = Named::with("www A 203.0.113.10\n").await;
    let folder = filed_at(&[&one, &other]).write();
    let (exact, cloud) = (time_server(0).await, metadata("203.0.113.10").await);
    let cloud_address = cloud.address.to_string();
    let (code, found) = doctor(&folder, &["--ntp", &exact, "--metadata", &cloud_address]).await;
    assert_eq!(code, 0, "{found:#?}");
    assert_found(&found, ["dns", "ok", "www.example.cn", "filed"]);
    assert_found(&found, ["dns", "warn", "example.cn", "answer differently"]);
    assert_found(&found, ["dns", "warn", "example.cn", &other.address.to_string()]);
    assert_found(&found, ["caa", "ok", "www.example.cn", "no record limits"]);
    assert_found(&found, ["clock", "ok", &exact, "from it"]);
    assert_found(&found, ["address", "ok", "listener https", "203.0.113.10 is this machine's"]);
    // Before the approval, a name that leads here is a risk.
    folder.replace("filings.yaml", "filings: [{domain: example.cn, status: bureau_review}]\n");
    let (_, found) = doctor(&folder, &["--ntp", &exact, "--metadata", &cloud_address]).await;
    assert_found(&found, ["dns", "warn", "www.example.cn", "is not served"]);
}

#[tokio::test]
async fn an_address_that_is_not_filed_fails_and_a_sink_is_asked_for_its_promise() {
    let named = Named::with("www A 203.0.113.10\n@ A 203.0.113.10\n").await;
    let folder = filed_at(&[&named])
        .access_log("{directory: access, reserve: 1MiB, sinks: [{name: nas, type: directory, path: audit}]}")
        .write();
    let filings = fs_err::read_to_string(folder.path("filings.yaml")).expect("an allowlist");
    folder.replace("filings.yaml", filings.replace("[203.0.113.10]", "[203.0.113.11]"));
    let (exact, cloud) = (time_server(0).await, metadata("203.0.113.10").await);
    let cloud_address = cloud.address.to_string();
    let (code, found) = doctor(&folder, &["--ntp", &exact, "--metadata", &cloud_address]).await;
    assert_eq!(code, 1);
    assert_found(&found, ["address", "fail", "example.cn", "filed for access at 203.0.113.11 alone"]);
    assert_found(&found, ["sink", "warn", "nas", "it promises nothing"]);
}

const NUMBER: &str = "京ICP备2024012345号-1";

/// A page with `body`, which says nothing else.
fn page(body: &str) -> String {
    format!("<!doctype html><html><head><title>t</title></head><body>{body}</body></html>")
}

#[tokio::test]
async fn the_page_of_every_host_is_looked_at_over_the_listener() {
    let origin = Origin::start(|request| {
        let html = |body: &str| answer("200 OK", &["content-type: text/html; charset=utf-8"], page(body));
        match request.head.get("host").unwrap_or_default() {
            "example.cn" => answer("301 Moved Permanently", &["location: https://www.example.cn/"], ""),
            "www.example.cn" if request.target() == "/" => answer("302 Found", &["location: /home"], ""),
            "www.example.cn" => html("<script src=\"https://ajax.googleapis.com/a.js\"></script>"),
            "linked.example.cn" => html(NUMBER),
            "bare.example.cn" => html("nothing"),
            "api.example.cn" => answer("200 OK", &["content-type: application/json"], "{}"),
            _ => answer("404 Not Found", &[], "not there"),
        }
    })
    .await;
    let site = |name: &str, hosts: &str, footer: &str| {
        format!(
            "  - {{name: {name}, hosts: [{hosts}], certificate: {{chain: site.pem, key: site.key}}, footer: {{pages: {footer}}},              routes: [{{origins: [main]}}]}}\n"
        )
    };
    let hosts = "www.example.cn, example.cn, linked.example.cn, api.example.cn, gone.example.cn, \"*.static.example.cn\"";
    let sites = site("shop", hosts, "all") + &site("bare", "bare.example.cn", "off");
    let folder = Edge::builder().sites(&sites).origin(origin.address).write();
    let names = ["www.example.cn", "example.cn", "*.example.cn", "*.static.example.cn"];
    folder.authority.pair(&names).write(&folder.path(""), "site");
    let named = Named::with("www A 127.0.0.1\n").await;
    let (exact, cloud) = (time_server(0).await, metadata("203.0.113.10").await);
    let resolver = format!("resolver: {{servers: [\"{}\"]}}\n", named.address);
    folder.replace("icpgate.yaml", folder.configuration() + &resolver);
    let cloud_address = cloud.address.to_string();
    let words = ["--ntp", &exact, "--metadata", &cloud_address];
    let (_, found) = doctor(&folder, &words).await;
    assert_found(&found, ["page", "warn", "pages", "icpgate does not run"]);

    let edge = folder.start().await;
    edge.ports_open().await;
    let (code, found) = doctor(&edge, &words).await;
    assert_eq!(code, 1);
    assert_found(&found, ["page", "ok", "www.example.cn", "shows the number"]);
    assert_found(&found, ["page", "warn", "www.example.cn", "ajax.googleapis.com"]);
    assert_found(&found, ["page", "ok", "example.cn", "leads to https://www.example.cn/"]);
    assert_found(&found, ["page", "fail", "linked.example.cn", "not linked to the ministry"]);
    assert_found(&found, ["page", "fail", "bare.example.cn", "does not show the number"]);
    assert_found(&found, ["page", "ok", "api.example.cn", "application/json"]);
    assert_found(&found, ["page", "warn", "gone.example.cn", "404"]);
    let about_pages = found.iter().filter(|finding| finding["check"] == "page");
    assert!(about_pages.clone().all(|finding| finding["subject"] != "*.static.example.cn"), "{found:#?}");
    let (_, found) = doctor(&edge, &["--offline"]).await;
    assert!(found.iter().all(|finding| finding["check"] != "page"), "{found:#?}");
}
