//! Invariants that hold after every input. Owns the checks. All checks are cheap and also run in release builds. A
//! violation is a bug of this crate, never the effect of a message. The core panics, because continuing could lose
//! data.

use crate::raft::Raft;
use crate::state::role::RoleState;

impl Raft {
    /// Asserts the invariants that hold after every input.
    pub(crate) fn check(&mut self) {
        self.check_marks();
        self.check_roles();
        self.high_water.observe(self.hard.term(), self.log.commit());
    }

    fn check_marks(&self) {
        let (floor, last) = (self.log.floor(), self.log.last());
        let (commit, applied) = (self.log.commit(), self.log.applied());
        let base = self.log.base();
        assert!(self.log.is_whole(), "every entry after {base} up to {last} is in memory, purge mark {floor}");
        assert!(floor.index <= commit, "only committed entries are purged: {floor}, commit {commit}");
        assert!(commit <= last.index, "every committed entry is in the log: commit {commit} of {last}");
        assert!(applied <= self.log.applying(), "only entries given to the driver are applied");
        assert!(self.log.applying() <= commit, "only committed entries are applied");
        assert!(self.log.durable() <= last.index, "every durable entry is in the log");
        assert!(last.term <= self.hard.term(), "no entry is of a later term: {last} in term {}", self.hard.term());
        assert!(self.log.unwritten() <= last.index.next(), "only entries of the log are written");
        assert!(self.log.snapshot() <= applied, "a snapshot holds only applied entries");
        assert!(floor.index <= self.log.snapshot(), "only entries of a snapshot are purged: {floor}");
        let is_installing = base == floor.index && self.log.oldest_write_issued_at().is_some();
        assert!(self.log.durable() >= base || is_installing, "every entry that left the memory is durable: {base}");
        assert!(self.outbox.durable() <= self.outbox.issued(), "only issued writes become durable");
        assert!(self.history.latest().0 <= last.index, "the configuration in force is in snapshot or log");
    }

    fn check_roles(&self) {
        let own = self.config.id;
        match &self.role {
            RoleState::Follower => assert!(!self.leader.is(own), "a follower follows another member"),
            RoleState::PreCandidate(_) => {
                assert!(!self.leader.is_known(), "a pre-candidate has no leader");
                assert!(!self.removal.is_suspected(), "a member that may be removed does not campaign");
            }
            RoleState::Candidate(_) => {
                assert!(!self.leader.is_known(), "a candidate has no leader");
                assert!(self.hard.vote() == Some(own), "a candidate votes for itself");
            }
            RoleState::Leader(leader) => {
                assert!(self.leader.is(own), "a leader follows itself");
                assert!(self.hard.vote() == Some(own), "a leader has its own vote");
                assert!(leader.peer(own).is_none(), "a leader does not replicate to itself");
                assert!(leader.first() <= self.log.last().index, "the no-op of a term is in its leader's log");
                assert!(!self.is_removed(), "a removed member does not lead");
                let target = leader.transfer().map(|transfer| transfer.target());
                assert!(target != Some(own), "leadership is transferred to another member");
                let end = self.log.last().index.next();
                for (id, progress) in leader.peers() {
                    assert!(progress.matched() < progress.next(), "next is ahead of matched: member {id}");
                    assert!(progress.next() <= end, "next is in the log or just after its end: member {id}");
                }
            }
        }
    }
}

/// Each test breaks the private state of a core, and expects the assertion of one invariant to fail.
#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use crate::config::Config;
    use crate::configuration::{Configuration, MemberInfo};
    use crate::ids::{Index, MemberId, Now, Term};
    use crate::message::{Payload, SnapshotMeta};
    use crate::output::Output;
    use crate::raft::Raft;
    use crate::restored::Restored;
    use crate::state::role::RoleState;

    const NOW: Now = Now { monotonic: Duration::from_secs(10), wall_ms: 0 };

    /// Returns the only voter of a cluster, which leads and has applied its no-op at index 1.
    fn leader() -> Raft {
        let id = MemberId(1);
        let configuration = Configuration {
            voters: [id].into(),
            members: [(id, MemberInfo::default())].into(),
            ..Configuration::default()
        };
        let snapshot = SnapshotMeta { configuration: Arc::new(configuration), ..SnapshotMeta::default() };
        let restored = Restored { snapshot, ..Restored::default() };
        let mut raft = Raft::new(Config::new(id, 1), restored, NOW).expect("valid settings");
        raft.tick(NOW);
        while let Some(output) = raft.next_output() {
            match output {
                Output::Persist(persist) => raft.persisted(NOW, persist.io),
                Output::Apply(entries) => raft.applied(NOW, entries[entries.len() - 1].id.index),
                _ => {}
            }
        }
        assert!(raft.is_leader(), "the only voter leads");
        assert_eq!(raft.commit(), Index(1), "the no-op is committed");
        raft
    }

    #[test]
    #[should_panic(expected = "the term never falls")]
    fn a_term_that_falls_is_noticed() {
        let mut raft = leader();
        raft.high_water.observe(Term(7), Index(1));
        raft.check();
    }

    #[test]
    #[should_panic(expected = "the commit index never falls")]
    fn a_commit_index_that_falls_is_noticed() {
        let mut raft = leader();
        raft.high_water.observe(Term(1), Index(2));
        raft.check();
    }

    #[test]
    #[should_panic(expected = "every committed entry is in the log")]
    fn a_commit_index_past_the_log_is_noticed() {
        let mut raft = leader();
        raft.log.corrupt_commit(Index(2));
        raft.check();
    }

    #[test]
    #[should_panic(expected = "only entries of a snapshot are purged")]
    fn an_entry_purged_without_a_snapshot_is_noticed() {
        let mut raft = leader();
        raft.log.corrupt_floor();
        raft.check();
    }

    #[test]
    #[should_panic(expected = "every entry after 0 up to 1/1 is in memory")]
    fn a_missing_entry_is_noticed() {
        let mut raft = leader();
        raft.log.corrupt_entries();
        raft.check();
    }

    #[test]
    #[should_panic(expected = "every entry that left the memory is durable")]
    fn an_eviction_ahead_of_the_disk_is_noticed() {
        let mut raft = leader();
        raft.append(Payload::Barrier);
        raft.log.corrupt_base();
        raft.check();
    }

    #[test]
    #[should_panic(expected = "a leader has its own vote")]
    fn a_leader_without_its_own_vote_is_noticed() {
        let mut raft = leader();
        raft.hard.corrupt_vote();
        raft.check();
    }

    #[test]
    #[should_panic(expected = "next is ahead of matched")]
    fn a_next_index_at_the_match_is_noticed() {
        let mut raft = leader();
        let other = [MemberId(2)].into();
        let RoleState::Leader(leader) = &mut raft.role else { panic!("it leads") };
        leader.track(&other, Index(1), NOW.monotonic);
        leader.peer_mut(MemberId(2)).expect("tracked").corrupt_next();
        raft.check();
    }
}
