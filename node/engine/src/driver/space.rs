//! Owns what the driver does with a measurement of the volume: it informs the core, saves space, takes snapshots early while space is
//! short, and answers commands for which no quorum has space. Does not own when the volume is measured (`space_watch.rs`), the limits
//! (`crate::space`) or the rules that follow (`raft`).

use std::io;
use std::time::Duration;

use raft::{Now, Standing};
use storage::MemberSpace;

use super::run::Driver;
use super::space_watch::INTERVAL;
use crate::error::ProposeError;
use crate::level;
use crate::log_thread::LogJob;
use crate::propose::pending::Batch;
use crate::space::SpaceJudgement;
use crate::status::Space;

impl Driver {
    pub(super) fn measure_if_due(&mut self, now: Duration) {
        if !self.space.is_asked && self.space.due <= now {
            self.space.is_asked = true;
            self.log_jobs.push(LogJob::Measure { saves: self.space.judgement.saves });
        }
    }

    pub(super) fn space_measured(&mut self, now: Now, measured: io::Result<MemberSpace>) {
        self.space.is_asked = false;
        self.space.due = now.monotonic + INTERVAL;
        let measured = match measured {
            Ok(measured) => measured,
            Err(reason) => {
                if !std::mem::replace(&mut self.space.is_failing, true) {
                    tracing::warn!(%reason, "the volume cannot be measured: what is known of its space stays as it is");
                }
                return;
            }
        };
        self.space.is_failing = false;
        let before = self.space.judgement;
        self.space.judgement.judge(self.published.view.size_bytes(), &measured);
        let SpaceJudgement { standing, saves, .. } = self.space.judgement;
        if saves != measured.saves {
            // The effect is measured at once.
            self.space.hasten();
        }
        if standing != before.standing {
            let (free, reserve) = (measured.free_bytes, self.space.judgement.space.map(|space| space.reserve_bytes));
            match standing {
                Standing::Above => tracing::info!(free, reserve, "the volume is above its reserve again"),
                Standing::Below | Standing::Exhausted => tracing::warn!(
                    free,
                    reserve,
                    "the volume is below its reserve: compact and delete, or enlarge it ({standing:?})"
                ),
            }
            self.tell_standing(now);
        }
        if self.space.judgement.saves && !before.saves {
            // What is kept for older snapshots alone may go now, also after a restart, which knows no purge.
            let first_kept = self.raft.snapshot_taken(self.snapshots.newest);
            self.log_jobs.push(LogJob::Purge { first_kept });
        }
        if standing < Standing::Above && self.published.applied > self.snapshots.newest && self.knows_configuration() {
            // A snapshot lets the log before it be removed. The time between two snapshots stays limited.
            self.snapshots.asked = true;
        }
    }

    /// Informs the core of the standing, if members may tell each other theirs. Otherwise a leader would take all others for
    /// members above their reserve, and leadership would move in circles while all of them are short of space.
    pub(super) fn tell_standing(&mut self, now: Now) {
        if self.level >= level::SPACE {
            self.raft.set_standing(now, self.space.judgement.standing);
        }
    }

    /// Returns whether a snapshot of the present state would hold a configuration. That of a member which is being added, and
    /// has not got the entry of its first configuration yet, would not, and a start from it would not know the cluster.
    fn knows_configuration(&self) -> bool {
        let meta = self.raft.snapshot_meta(self.published.applied, self.published.time_ms);
        meta.is_some_and(|meta| !meta.configuration.voters.is_empty())
    }

    /// Space of the volume, for the status report.
    pub(super) fn space(&self) -> Option<Space> {
        let writes_refused = self.raft.quorum_standing().is_some_and(|standing| standing < Standing::Above);
        self.space.judgement.space.map(|space| Space { writes_refused, ..space })
    }

    /// Answers the commands of a batch for which no quorum has space, and proposes the others again. They were proposed in one
    /// entry with them, so that the leader refused all of them. If none of them adds content, all are answered. The batch
    /// certainly did not enter the log.
    pub(super) fn refuse_for_space(&mut self, now: Duration, batch: Batch) {
        let (refused, rest) = self.batcher.without_content(batch);
        self.answer(vec![refused], ProposeError::NoSpace);
        if let Some(rest) = rest {
            self.batcher.requeue(rest, now);
        }
    }
}
