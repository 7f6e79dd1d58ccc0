//! Programs that cannot take over: the old process serves on, and says why.

use rustix::process::Signal;

use super::{ended, proved, serving, signal, upgrade};
use crate::support::client::Target;
use crate::support::edge::Edge;
use crate::support::origin::Origin;
use crate::support::{HOST, PATIENCE, eventually};

#[tokio::test]
async fn a_program_that_cannot_take_over_leaves_the_old_one_serving() {
    let origin = Origin::text("hello").await;
    let folder = Edge::builder()
        .origin(origin.address)
        .limit("upgrade_timeout", "1s")
        .access_log(
            "{directory: access, reserve: 1MiB, sinks: [{name: audit, type: directory, path: audit}]}",
        )
        .write();
    folder.install();
    let edge = folder.start().await;
    let first = serving(&edge).await;
    let mut client = Target::https(&edge).http1(HOST).await;
    let programs = [
        ("#!/bin/sh\nexit 1\n", 0o755, "exit status: 1"),
        ("#!/bin/sh\necho nonsense >&0\nexec sleep 600\n", 0o755, "no icpgate that can take over"),
        ("#!/bin/sh\necho '\"Ready\"' >&0\nexec sleep 600\n", 0o755, "in place of Prepared"),
        ("#!/bin/sh\nexec sleep 600\n", 0o755, "limits.upgrade_timeout"),
        ("#!/bin/sh\nexec <&- sleep 600\n", 0o755, "closed its standard input"),
        ("#!/bin/sh\nexit 0\n", 0o644, "cannot be started"),
        ("neither a script nor a program", 0o755, "cannot be started"),
        // Says that it is prepared, and ends when it is handed everything.
        (
            "#!/bin/sh\nread -r hello\necho '\"Prepared\"' >&0\nhead -c 1 >/dev/null\nexit 5\n",
            0o755,
            "exit status: 5",
        ),
        (
            "#!/bin/sh\nread -r hello\necho '\"Prepared\"' >&0\nexec sleep 600\n",
            0o755,
            "limits.upgrade_timeout",
        ),
    ];
    for (count, (text, mode, reason)) in programs.into_iter().enumerate() {
        edge.install_script(text, mode);
        let run = edge.ask("upgrade", &[]).await;
        assert!(run.code == 1 && run.stdout.contains(reason), "{text}: {run:?}");
        assert_eq!(serving(&edge).await, first, "{text}");
        edge.logged(reason).await;
        let metric = "icpgate_upgrades_total{result=\"failed\"}";
        edge.metric_becomes(metric, (count + 1) as f64).await;
        // Open connections and new ones are served, and recorded.
        assert_eq!(client.get(HOST, &format!("/open/{count}")).await.text(), "hello");
        assert_eq!(Target::https(&edge).get(HOST, &format!("/new/{count}")).await.text(), "hello");
        edge.records_where(2 * (count + 1), |record| record["event"] == "request").await;
    }
    // The next good program takes over.
    edge.install();
    let second = upgrade(&edge).await;
    assert_eq!(Target::https(&edge).get(HOST, "/last").await.text(), "hello");
    drop(client);
    signal(second, Signal::TERM);
    ended(second).await;
    proved(&edge).await;
}

#[tokio::test]
async fn a_configuration_that_the_new_program_rejects_leaves_the_old_one_serving() {
    let origin = Origin::text("hello").await;
    let edge = Edge::in_front_of(&origin).await;
    let first = serving(&edge).await;
    let good = edge.configuration();
    edge.replace("icpgate.yaml", good.replace("protocol: https", "protocol: gopher"));
    edge.signal(Signal::USR2);
    edge.logged("the upgrade failed, and this process serves on").await;
    assert!(edge.log().contains("gopher"), "the new process says why");
    assert_eq!(edge.status().await["process"]["upgrades"]["begun"], 1);
    assert_eq!((serving(&edge).await, edge.get("/readyz").await.unwrap().0), (first, 200));
    // The command does not even try.
    let run = edge.ask("upgrade", &[]).await;
    assert!(run.code == 2 && run.stderr.contains("gopher"), "{run:?}");
    assert_eq!(Target::https(&edge).get(HOST, "/").await.text(), "hello");
    edge.replace("icpgate.yaml", good);
    upgrade(&edge).await;
}

#[tokio::test]
async fn a_stop_during_an_upgrade_ends_both_processes() {
    let folder = Edge::builder().limit("upgrade_timeout", "60s").write();
    folder.install();
    let mut edge = folder.start().await;
    edge.install_script("#!/bin/sh\necho \"began $$\" >&2\nexec sleep 600\n", 0o755);
    edge.signal(Signal::USR2);
    edge.logged("began ").await;
    // Only one at a time.
    edge.signal(Signal::USR2);
    edge.logged("an upgrade is under way already").await;
    let log = edge.log();
    let began = log.lines().find_map(|line| line.strip_prefix("began ")).expect("a process id");
    let pid: u32 = began.parse().expect("a process id");
    edge.signal(Signal::TERM);
    assert_eq!(edge.wait_exit().await, 0);
    ended(pid).await;
    eventually("nobody answers", PATIENCE, async || edge.get("/readyz").await.is_none().then_some(())).await;
}
