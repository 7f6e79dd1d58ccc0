//! The clock: whether the kernel says that it is synchronized, and how far it is from time servers.

use super::finding::{Check, Finding};
use super::ntp;
use crate::clock::Clock;
use crate::retention::write::kernel_clock;

/// Alibaba Cloud's and Tencent Cloud's public time servers.
const SERVERS: [&str; 2] = ["ntp.aliyun.com", "ntp.tencent.com"];
/// Seconds from which approvals, dates of certificates and records are wrong.
const FAR: f64 = 1.0;

/// What the kernel says. No network is asked.
pub(super) fn synchronized() -> Finding {
    if kernel_clock::state().synchronized {
        return Finding::ok(Check::Clock, "kernel", "the clock is synchronized");
    }
    Finding::warn(
        Check::Clock,
        "kernel",
        "the clock is not synchronized, and records say so",
        "run chrony or systemd-timesyncd with time servers of the mainland, such as ntp.aliyun.com",
    )
}

/// The offset from `servers`, or from those of the mainland's clouds.
pub(super) async fn offsets(servers: &[String], clock: &Clock) -> Vec<Finding> {
    let servers: Vec<&str> =
        if servers.is_empty() { SERVERS.to_vec() } else { servers.iter().map(String::as_str).collect() };
    let asked = servers.iter().map(|server| ntp::offset(server, clock));
    let answers = futures_util::future::join_all(asked).await;
    servers.iter().zip(answers).map(|(server, answer)| judge(server, answer)).collect()
}

fn judge(server: &str, answer: Result<f64, String>) -> Finding {
    match answer {
        Ok(offset) if offset.abs() < FAR => {
            Finding::ok(Check::Clock, server, format!("the clock is {:.3} s from it", offset.abs()))
        }
        Ok(offset) => Finding::fail(
            Check::Clock,
            server,
            format!(
                "the clock is {:.1} s {} it",
                offset.abs(),
                if offset > 0.0 { "behind" } else { "ahead of" }
            ),
            "synchronize the clock: approvals begin and end by it, and records are dated by it",
        ),
        Err(problem) => Finding::warn(
            Check::Clock,
            server,
            format!("the clock cannot be compared: {problem}"),
            "let UDP port 123 out, or name your own time server with --ntp",
        ),
    }
}
