//! The ledger of a run: every entry ever created, every member's log, the leader of each term, and the committed
//! entries. Owns these facts. Does not own the checks that use them (the other files of this folder).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use raft::{Configuration, Entry, EntryId, Index, MemberId, Payload, Raft, Role, Term};
use world::disk::Contents;

use crate::invariant::{Checked, ensure};

/// An entry that a leader created.
#[derive(Clone, Debug)]
pub struct Known {
    /// The entry.
    pub entry: Entry,
    /// ID of the preceding entry.
    pub before: EntryId,
}

/// Leadership of one member in one term.
#[derive(Clone, Debug)]
pub struct Leadership {
    /// The member that led.
    pub leader: MemberId,
    /// Terms of the entries that the leader's log had at its election, by index; `None` until the leader is checked for
    /// the first time.
    pub inherited: Option<Vec<Term>>,
    /// Index of the last entry that the leader's log had in this term.
    pub last: Index,
}

impl Leadership {
    /// ID of the entry that the leader's log had at `index` while it led `term`.
    #[must_use]
    pub fn at(&self, term: Term, index: Index) -> Option<EntryId> {
        let inherited = self.inherited.as_ref()?;
        if index > self.last || index == Index(0) {
            return None;
        }
        let term = inherited.get(index.0 as usize - 1).copied().unwrap_or(term);
        Some(EntryId { term, index })
    }
}

/// An entry known to be committed.
#[derive(Clone, Copy, Debug)]
pub struct Committed {
    /// ID of the entry.
    pub id: EntryId,
    /// Term of the leader that committed the entry.
    pub by: Term,
}

/// Complete log of a member, including purged entries.
#[derive(Clone, Debug, Default)]
pub struct MemberLog {
    terms: Vec<Term>,
    /// The configuration with which the disk was bootstrapped.
    blank: Arc<Configuration>,
    /// Configurations in the log. The first is the configuration of the cluster's bootstrap.
    configurations: Vec<(Index, Arc<Configuration>)>,
    /// Role after the latest step.
    pub role: Option<Role>,
    /// Term after the latest step.
    pub term: Term,
    /// Commit index after the latest step.
    pub commit: Index,
    /// Configuration in force before the step that is being checked; `None` if this is the first step after a start.
    pub before: Option<Arc<Configuration>>,
}

impl MemberLog {
    /// Index of the last entry.
    #[must_use]
    pub fn last(&self) -> Index {
        Index(self.terms.len() as u64)
    }

    /// ID of the entry at `index`.
    #[must_use]
    pub fn at(&self, index: Index) -> EntryId {
        let place = index.0.checked_sub(1).map(|place| place as usize);
        let term = place.and_then(|place| self.terms.get(place)).copied().unwrap_or_default();
        EntryId { term, index }
    }

    /// The configuration with which the member's disk was bootstrapped.
    #[must_use]
    pub fn blank(&self) -> &Arc<Configuration> {
        &self.blank
    }

    /// Terms of the entries, by index.
    #[must_use]
    pub fn terms(&self) -> &[Term] {
        &self.terms
    }

    /// The configuration in force, and the index of its entry.
    #[must_use]
    pub fn configuration(&self) -> (Index, &Arc<Configuration>) {
        let (index, configuration) =
            self.configurations.last().expect("the configuration of the bootstrap is always there");
        (*index, configuration)
    }

    /// All configurations in the log and the indices of their entries.
    #[must_use]
    pub fn configurations(&self) -> &[(Index, Arc<Configuration>)] {
        &self.configurations
    }

    fn push(&mut self, entry: &Entry) {
        self.terms.truncate(entry.id.index.0 as usize - 1);
        let kept = self.configurations.partition_point(|(at, _)| *at < entry.id.index);
        self.configurations.truncate(kept.max(1));
        self.terms.push(entry.id.term);
        if let Payload::Configuration(configuration) = &entry.payload {
            self.configurations.push((entry.id.index, Arc::clone(configuration)));
        }
    }
}

/// Everything that the observer of a run knows.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Every entry that a leader created. The map is never iterated, because its order is not deterministic.
    known: HashMap<EntryId, Known>,
    committed: Vec<Committed>,
    /// Every term that had a leader.
    pub leaderships: BTreeMap<Term, Leadership>,
    member_logs: BTreeMap<MemberId, MemberLog>,
    /// The configuration with which the first members were bootstrapped.
    bootstrap: Option<Arc<Configuration>>,
    /// The latest committed configuration; initially the configuration of the bootstrap.
    configuration: Option<(Index, Arc<Configuration>)>,
    /// Number of committed configurations.
    pub configurations: u64,
}

impl Ledger {
    /// Adds a member whose disk was bootstrapped with this configuration.
    pub fn add_member(&mut self, id: MemberId, bootstrap: Arc<Configuration>) {
        self.bootstrap.get_or_insert_with(|| Arc::clone(&bootstrap));
        self.configuration.get_or_insert_with(|| (Index(0), Arc::clone(&bootstrap)));
        let blank = Arc::clone(&bootstrap);
        self.member_logs
            .insert(id, MemberLog { blank, configurations: vec![(Index(0), bootstrap)], ..MemberLog::default() });
    }

    /// A member's log.
    #[must_use]
    pub fn member_log(&self, id: MemberId) -> &MemberLog {
        &self.member_logs[&id]
    }

    fn member_log_mut(&mut self, id: MemberId) -> &mut MemberLog {
        self.member_logs.get_mut(&id).expect("every member is in the ledger")
    }

    /// The entry with this ID, if a leader created it.
    #[must_use]
    pub fn known(&self, id: EntryId) -> Option<&Known> {
        self.known.get(&id)
    }

    /// Notes an entry that a leader created after `before`.
    pub fn create(&mut self, before: EntryId, entry: &Entry) {
        self.known.insert(entry.id, Known { entry: entry.clone(), before });
    }

    /// Appends an entry to a member's log.
    pub fn append(&mut self, id: MemberId, entry: &Entry) {
        self.member_log_mut(id).push(entry);
        if let Some(leadership) = self.leaderships.get_mut(&entry.id.term).filter(|leadership| leadership.leader == id)
        {
            leadership.last = leadership.last.max(entry.id.index);
        }
    }

    /// The highest committed index.
    #[must_use]
    pub fn committed(&self) -> Index {
        Index(self.committed.len() as u64)
    }

    /// All committed entries, by index.
    #[must_use]
    pub fn all_committed(&self) -> &[Committed] {
        &self.committed
    }

    /// The entry committed at `index`.
    #[must_use]
    pub fn committed_at(&self, index: Index) -> Option<Committed> {
        self.committed.get((index.0 as usize).checked_sub(1)?).copied()
    }

    /// The latest committed configuration and the index of its entry.
    #[must_use]
    pub fn committed_configuration(&self) -> Option<(Index, Arc<Configuration>)> {
        self.configuration.clone()
    }

    /// Returns whether the cluster can lose the members in `dead`. It can if each half of the latest committed
    /// configuration, and of every later configuration in a member's log, keeps a majority of its voters.
    #[must_use]
    pub fn can_bear(&self, dead: &BTreeSet<MemberId>) -> bool {
        let since = self.configuration.as_ref().map_or(Index(0), |(index, _)| *index);
        let keeps = |configuration: &Configuration| {
            [&configuration.voters, &configuration.outgoing]
                .into_iter()
                .all(|half| half.is_empty() || half.difference(dead).count() > half.len() / 2)
        };
        self.member_logs.values().all(|member_log| {
            let logged = member_log.configurations.iter();
            logged.filter(|(index, _)| *index >= since).all(|(_, configuration)| keeps(configuration))
        })
    }

    /// Notes that the leader of term `by` committed an entry.
    pub fn commit(&mut self, id: EntryId, by: Term) {
        assert_eq!(id.index, self.committed().next(), "commits are noted in the order of the log");
        self.committed.push(Committed { id, by });
        if let Payload::Configuration(configuration) = &self.known[&id].entry.payload {
            self.configurations += 1;
            self.configuration = Some((id.index, Arc::clone(configuration)));
        }
    }

    /// Replaces a member's log by the log that a snapshot up to `last` contains.
    pub fn replace(&mut self, id: MemberId, last: Index) {
        // A snapshot contains the configuration of the cluster's bootstrap, even for a member that joined later and was
        // bootstrapped with an empty configuration.
        let bootstrap = match &self.bootstrap {
            Some(bootstrap) if last > Index(0) => Arc::clone(bootstrap),
            _ => Arc::clone(&self.member_log(id).blank),
        };
        let mut member_log = MemberLog { configurations: vec![(Index(0), bootstrap)], ..MemberLog::default() };
        for committed in &self.committed[..last.0 as usize] {
            member_log.push(&self.known[&committed.id].entry);
        }
        let old = self.member_log_mut(id);
        (old.terms, old.configurations) = (member_log.terms, member_log.configurations);
    }

    /// Notes that a member starts with the content of its disk.
    ///
    /// # Errors
    /// Returns a violation if the snapshot on the disk contains an entry that is not committed.
    pub fn restarted(&mut self, id: MemberId, contents: &Contents) -> Checked {
        let snapshot = contents.snapshot.last;
        let agrees = snapshot.index == Index(0) || self.committed_at(snapshot.index).is_some_and(|c| c.id == snapshot);
        ensure(agrees, "state machine safety", || {
            format!("{id} starts from a snapshot at {snapshot}, which is not committed")
        })?;
        self.replace(id, snapshot.index);
        for entry in contents.log.iter().filter(|entry| entry.id.index > snapshot.index) {
            self.member_log_mut(id).push(entry);
        }
        let member_log = self.member_log_mut(id);
        (member_log.role, member_log.term, member_log.commit) = (None, contents.hard_state.term, snapshot.index);
        member_log.before = None;
        Ok(())
    }

    /// Notes the role, term, commit index and configuration of a member.
    pub fn seen(&mut self, id: MemberId, raft: &Raft) {
        let state = raft.soft_state();
        let member_log = self.member_log_mut(id);
        (member_log.role, member_log.term, member_log.commit) = (Some(state.role), state.term, raft.commit());
        member_log.before = member_log.configurations.last().map(|(_, configuration)| Arc::clone(configuration));
    }
}
