//! Chromium without a window.

use std::process::Stdio;
use std::time::Duration;

use super::edge::Edge;

/// A browser starts slowly on a busy machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// The document that `path` becomes in Chromium once its scripts are done, as HTML. Any certificate is believed.
pub(crate) async fn document(edge: &Edge, host: &str, path: &str) -> String {
    let mut command = tokio::process::Command::new("chromium");
    // Without a sandbox, which root cannot have: it loads the test's own pages alone.
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]);
    command.args(["--ignore-certificate-errors", "--virtual-time-budget=5000", "--dump-dom"]);
    command.arg(format!("--host-resolver-rules=MAP {host} {}", edge.https().ip()));
    command.arg(format!("--user-data-dir={}", edge.path("chromium").display()));
    command.arg(format!("https://{host}:{}{path}", edge.https().port()));
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output())
        .await
        .expect("chromium ends")
        .unwrap_or_else(|error| panic!("chromium: {error}; scripts/setup installs it"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}
