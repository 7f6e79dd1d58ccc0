//! `oss` against a strict server of the tests' own, which judges signatures by Alibaba's SDK.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::gateway::Gateway;
use super::killed::{ObjectServer, ships_everything};
use super::{Spool, records};
use crate::support::python::PythonServer;
use crate::support::time::holds;
use crate::support::{PATIENCE, eventually};

const SECRET: &str = "k3y-Secret";

pub(crate) struct Service {
    folder: TempDir,
    server: Option<PythonServer>,
    pub(crate) address: SocketAddr,
}

impl Service {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        write_state(&folder, &json!({}));
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut service = Self { folder, server: None, address };
        ObjectServer::start(&mut service).await;
        service
    }

    fn state(&self, changes: &Value) {
        write_state(&self.folder, changes);
    }

    fn sink(&self) -> String {
        sink(self.address)
    }

    fn spool(&self) -> Spool {
        let spool = Spool::new();
        let keys = format!("access_key_id: AKID\naccess_key_secret: {SECRET}\n");
        fs_err::write(spool.path("keys.yaml"), keys).expect("written");
        spool
    }
}

impl ObjectServer for Service {
    async fn kill(&mut self) {
        if let Some(server) = self.server.take() {
            server.kill().await;
        }
    }

    async fn start(&mut self) {
        let (port, path) = (self.address.port().to_string(), self.folder.path().display().to_string());
        let server = PythonServer::start_with("oss_server.py", &[&port, &path]).await;
        self.address.set_port(server.port);
        self.server = Some(server);
    }

    async fn records(&self) -> Vec<String> {
        records(&self.folder.path().join("objects"))
    }
}

/// A sink that reaches the service at `address`.
pub(crate) fn sink(address: SocketAddr) -> String {
    format!(
        "{{name: oss, type: oss, endpoint: \"http://{address}\", region: cn-beijing, bucket: audit, \
         credentials: {{from: file, path: keys.yaml}}}}"
    )
}

/// What the server goes by, with `changes` made.
fn write_state(folder: &TempDir, changes: &Value) {
    let mut state = json!({
        "id": "AKID", "secret": SECRET, "region": "cn-beijing", "bucket": "audit",
        "worm": {"state": "Locked", "days": 190},
    });
    for (key, value) in changes.as_object().expect("an object") {
        state[key] = value.clone();
    }
    let aside = folder.path().join("state.aside");
    fs_err::write(&aside, state.to_string()).expect("written");
    fs_err::rename(aside, folder.path().join("state.json")).expect("renamed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_records_arrive_from_a_server_that_is_killed_and_answers_badly() {
    let mut service = Service::start().await;
    let gateway = Gateway::to(service.address).await;
    let mut spool = service.spool();
    ships_everything((&mut spool, &sink(gateway.address), "oss"), &gateway, &mut service).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_of_errors_is_waited_out() {
    let service = Service::start().await;
    let mut spool = service.spool();
    let config = spool.configure(&service.sink());
    service.state(&json!({"next": [
        {"status": 500, "code": "InternalError"}, {"status": 503, "code": "QpsLimitExceeded"},
    ]}));
    let board = spool.start(&config);
    spool.record(1000).await;
    // Both answers are used up before the store is closed.
    eventually("the errors are over", PATIENCE, async || {
        let look = board.look().remove(0);
        (look.errors.iter().map(|(_, count)| count).sum::<u64>() >= 2 && look.last_error.is_none())
            .then_some(())
    })
    .await;
    spool.close().await;
    assert_eq!(board.look()[0].acknowledged_seq, 1000, "{:?}", board.look());
}

#[tokio::test(flavor = "multi_thread")]
async fn segments_are_freed_early_only_if_a_locked_bucket_has_them() {
    for (more, worm, freed) in [
        (", free_shipped: true", json!({"state": "Locked", "days": 190}), true),
        (", free_shipped: true", json!({"state": "Locked", "days": 180}), false),
        ("", json!({"state": "Locked", "days": 190}), false),
    ] {
        let service = Service::start().await;
        service.state(&json!({"worm": worm}));
        let mut spool = service.spool();
        spool.more = more.to_owned();
        let config = spool.configure(&service.sink());
        for _ in 0..3 {
            spool.start(&config);
            spool.record(100).await;
            spool.close().await;
        }
        // A disk without room.
        spool.reserve = u64::MAX;
        let board = spool.start(&config);
        eventually("the promise is known", PATIENCE, async || board.look()[0].promise.clone()).await;
        spool.shipper.as_ref().expect("open").free_confirmed();
        let left = || {
            let files = fs_err::read_dir(spool.path("access")).expect("listed");
            files
                .filter(|entry| {
                    entry.as_ref().expect("listed").path().extension().is_some_and(|end| end == "seg")
                })
                .count()
        };
        if freed {
            eventually("segments are freed", PATIENCE, async || (left() < 3).then_some(())).await;
        } else {
            let kept = format!("{more} {worm}: segments are kept");
            holds(&kept, std::time::Duration::from_secs(2), || left() >= 3).await;
        }
        spool.close().await;
        assert_eq!(spool.verify("oss").await.code, 0, "the sink has everything");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_promise_is_the_bucket_s_worm() {
    let service = Service::start().await;
    for (worm, why) in [
        (json!({"state": "Locked", "days": 190}), None),
        (json!({"state": "Locked", "days": 180}), Some("180 days")),
        (json!({"state": "InProgress", "days": 190}), Some("InProgress")),
        (Value::Null, Some("no retention policy")),
    ] {
        service.state(&json!({"worm": worm}));
        let spool = service.spool();
        spool.configure(&service.sink());
        let told = spool.logs("sinks", &["--json"]).await;
        let sink = &told.json()["sinks"][0];
        assert_eq!(
            (told.code, &sink["retention_ok"]),
            (i32::from(why.is_some()), &why.is_none().into()),
            "{sink}"
        );
        assert!(
            why.is_none_or(|why| sink["unkept"].as_str().is_some_and(|unkept| unkept.contains(why))),
            "{sink}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_refusal_has_its_name_and_shows_no_secret() {
    let service = Service::start().await;
    for (state, kind) in [
        (json!({"secret": "another"}), "unauthorized"),
        (json!({"clock": 3600}), "clock_skew"),
        (json!({"bucket": "other"}), "missing"),
        (json!({"next": vec![json!({"status": 403, "code": "SecurityTokenExpired"}); 9]}), "expired"),
        (json!({"next": vec![json!({"status": 429, "code": "Busy"}); 99]}), "throttled"),
        (json!({"next": vec![json!({"status": 302, "code": ""}); 99]}), "protocol"),
    ] {
        service.state(&state);
        let mut spool = service.spool();
        let board = spool.start(&spool.configure(&service.sink()));
        let look = eventually(kind, PATIENCE, async || {
            board
                .look()
                .into_iter()
                .find(|look| look.last_error.as_ref().is_some_and(|(_, one)| one.kind.name() == kind))
        })
        .await;
        assert!(!format!("{look:?}").contains(SECRET), "{look:?}");
    }
}
