//! The running program, asked at its admin address.

use std::path::Path;

use anyhow::Context as _;
use serde_json::Value;

use crate::config::Config;
use crate::config::sinks::{Endpoint, ServerAddress, SinkHost};
use crate::remote::http::{Answer, HttpClient, Payload};

/// `/status.json` of the program that runs with `config`.
pub(super) async fn status(config: &Config) -> anyhow::Result<Value> {
    let (endpoint, answer) = ask(config, "GET", "/status.json").await?;
    anyhow::ensure!(answer.status == http::StatusCode::OK, "{endpoint} answered {}", answer.status);
    let status: Value = serde_json::from_slice(&answer.body)?;
    // The address may belong to another edge: its store tells.
    let directory = config.access_log.directory.display().to_string();
    anyhow::ensure!(status["retention"]["directory"] == directory, "{endpoint} is another edge's");
    Ok(status)
}

/// Its answer to a request without a body.
pub(super) async fn ask(config: &Config, method: &str, target: &str) -> anyhow::Result<(Endpoint, Answer)> {
    let mut ip = config.admin.address.ip();
    if ip.is_unspecified() {
        ip = if ip.is_ipv4() { [127, 0, 0, 1].into() } else { std::net::Ipv6Addr::LOCALHOST.into() };
    }
    let address = ServerAddress { host: SinkHost::Address(ip), port: config.admin.address.port() };
    let endpoint = Endpoint { is_tls: false, address };
    let request = http::Request::builder().method(method).uri(target);
    let request = request.header(http::header::HOST, endpoint.authority());
    let answer = HttpClient::new(&endpoint, None)?.send(request.body(Payload::empty())?).await?;
    Ok((endpoint, answer))
}

/// The configuration at `file`; fails with every problem.
pub(super) fn configuration(file: &Path) -> anyhow::Result<Config> {
    let loaded = crate::config::load(file)?;
    let problems: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
    loaded.value.with_context(|| problems.join("\n"))
}
