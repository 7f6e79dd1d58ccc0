//! The operator's own program, which changes the DNS: `PROGRAM present|cleanup NAME VALUE`.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use tokio::time::timeout;

use super::job::{Change, TxtRecord};
use crate::config::acme::ExecSettings;
use crate::remote::foreign_text::shown;

/// How long the program may run.
const LONGEST: Duration = Duration::from_secs(120);
/// How much of its stderr is kept, in bytes.
const KEPT: u64 = 4096;

/// Runs the program. Its exit code 0 means that it has done it.
pub(super) async fn run(settings: &ExecSettings, change: Change, record: &TxtRecord) -> Result<(), String> {
    let word = match change {
        Change::Present => "present",
        Change::Cleanup => "cleanup",
    };
    let program = settings.program.display();
    let mut child = Command::new(&settings.program)
        .args([word, &record.name, &record.value])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("{program} cannot be started: {error}"))?;
    let mut text = Vec::new();
    let stderr = child.stderr.take();
    let read = async {
        if let Some(mut stderr) = stderr {
            // The exit code decides; the text only explains it.
            let _ = (&mut stderr).take(KEPT).read_to_end(&mut text).await;
            let _ = tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await;
        }
    };
    let status = match timeout(LONGEST, async { tokio::join!(child.wait(), read).0 }).await {
        Ok(status) => status.map_err(|error| format!("{program}: {error}"))?,
        Err(_) => {
            return Err(format!(
                "{program} {word} did not end within {} s, and was killed",
                LONGEST.as_secs()
            ));
        }
    };
    if status.success() {
        return Ok(());
    }
    Err(format!("{program} {word} {} failed ({status}): {}", record.name, shown(&text)))
}
