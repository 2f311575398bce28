//! Compaction without a client's request. Owns the task that looks at the clock and proposes. Does not own the decision
//! (`engine::retention`).

use std::time::Instant;

use engine::handle::Handle;
use engine::retention::{Notes, Retention};
use mvcc::{Command, Compact};
use tokio::time::{MissedTickBehavior, interval};

/// Notes this member's revision, and compacts while the member leads. Runs until it is aborted.
pub(super) async fn run(handle: Handle, retention: Retention) {
    let (started, mut notes) = (Instant::now(), Notes::new(retention));
    let mut ticks = interval(retention.interval());
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let (revision, compacted) = {
            let published = handle.published();
            (published.view.revision(), published.view.compact_revision())
        };
        let due = notes.look(started.elapsed(), revision);
        let leads = handle.status().leader == Some(handle.member());
        let Some(mark) = due.filter(|mark| leads && *mark > compacted) else { continue };
        // A refused proposal is repeated at a later tick, and by another leader after a change.
        match handle.propose(Command::Compact(Compact { revision: mark.0, physical: false })).await {
            Ok(_) => tracing::info!(revision = mark.0, "history is compacted"),
            Err(reason) => tracing::debug!(revision = mark.0, %reason, "history was not compacted"),
        }
    }
}
