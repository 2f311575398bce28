//! Steps during which a client writes without pause. Owns the limit on the time without an acknowledged write, and the
//! lines that report it. Does not own the client (crate `scenario`).

use std::time::Duration;

use anyhow::{Result, ensure};
use scenario::client::{Phase, Traffic, Verdict};

use crate::steps::Steps;

/// Runs `work` while the client writes. Fails if the longest time without an acknowledgement exceeds `limit`.
pub(crate) fn watched(
    traffic: &Traffic<'_>,
    steps: &Steps,
    limit: Duration,
    work: impl FnOnce() -> Result<()>,
) -> Result<()> {
    traffic.mark("watched")?;
    let done = work();
    let phase = traffic.mark("between")?;
    steps.note(&summary(&phase));
    done?;
    ensure!(
        phase.longest_gap <= limit,
        "no write was acknowledged for {} ms, at most {} ms are allowed; the client's last error: {}",
        phase.longest_gap.as_millis(),
        limit.as_millis(),
        phase.last_error.as_deref().unwrap_or("none")
    );
    ensure!(phase.acknowledged > 0, "no write was acknowledged");
    Ok(())
}

/// Describes a phase of the client in one line.
pub(crate) fn summary(phase: &Phase) -> String {
    format!(
        "longest gap {} ms; {} writes acknowledged, {} with an unknown outcome",
        phase.longest_gap.as_millis(),
        phase.acknowledged,
        phase.unknown
    )
}

/// Describes a successful comparison of the store with the client's ledger.
pub(crate) fn checked(verdict: &Verdict) -> String {
    format!(
        "{} acknowledged writes checked, none lost, none applied twice; of those with an unknown outcome {} were applied and {} were not",
        verdict.acknowledged, verdict.unknown_applied, verdict.unknown_absent
    )
}
