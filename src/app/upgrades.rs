//! Upgrades as they are ordered: one at a time, each counted, and its failure shown.

use std::future::pending;
use std::pin::pin;

use futures_util::future::BoxFuture;
use tokio::signal::unix::Signal;
use tokio::sync::watch;

use super::signals::Stop;
use super::upgrade::Upgrader;
use crate::admin::process::UpgradeStatus;
use crate::metrics::IntCounterVec;

/// Why this process no longer accepts connections.
pub(super) enum End {
    /// It was told to stop.
    Stopped,
    /// A new process serves in its place.
    Succeeded,
}

pub(super) struct Upgrades {
    pub(super) status: watch::Sender<UpgradeStatus>,
    /// By result.
    pub(super) counted: IntCounterVec,
}

impl Upgrades {
    /// Serves, which `binding` does, and upgrades when `order` comes, until this process is stopped or replaced.
    pub(super) async fn serve(
        &self,
        upgrader: &Upgrader<'_>,
        binding: impl Future<Output = ()>,
        stop: &mut Stop,
        order: &mut Signal,
    ) -> End {
        let mut binding = pin!(binding);
        let mut upgrade: Option<BoxFuture<'_, anyhow::Result<u32>>> = None;
        loop {
            tokio::select! {
                () = &mut binding => return End::Stopped,
                () = stop.next() => return End::Stopped,
                _ = order.recv() => {
                    if upgrade.is_some() {
                        tracing::warn!("SIGUSR2: an upgrade is under way already");
                        continue;
                    }
                    self.status.send_modify(|status| {
                        status.begun += 1;
                        status.under_way = true;
                    });
                    upgrade = Some(Box::pin(upgrader.upgrade()));
                }
                outcome = outcome(&mut upgrade) => {
                    upgrade = None;
                    match outcome {
                        Ok(pid) => {
                            tracing::info!(pid, "upgraded: the new process serves");
                            return End::Succeeded;
                        }
                        Err(error) => self.failed(&error),
                    }
                }
            }
        }
    }

    fn failed(&self, error: &anyhow::Error) {
        tracing::error!("the upgrade failed, and this process serves on: {error:#}");
        self.counted.with_label_values(&["failed"]).inc();
        self.status.send_modify(|status| {
            status.under_way = false;
            status.failure = Some(format!("{error:#}"));
        });
    }
}

async fn outcome(upgrade: &mut Option<BoxFuture<'_, anyhow::Result<u32>>>) -> anyhow::Result<u32> {
    match upgrade {
        Some(upgrade) => upgrade.await,
        None => pending().await,
    }
}
