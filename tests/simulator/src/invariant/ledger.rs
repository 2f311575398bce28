//! The ledger of a run: every entry ever created, every member's log, the leader of each term, and the committed
//! entries. Owns this history. Does not own the checks against it (the other files of this folder).

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

/// A term and its leader.
#[derive(Clone, Debug)]
pub struct Reign {
    /// The leader.
    pub leader: MemberId,
    /// Terms of the leader's log at its election, by index; `None` until its first check.
    pub inherited: Option<Vec<Term>>,
    /// ID of the last entry of the leader's log in this term.
    pub last: Index,
}

impl Reign {
    /// ID of the entry at `index` in the leader's log while it led `term`.
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
pub struct Ghost {
    terms: Vec<Term>,
    /// The configuration that the disk was bootstrapped with.
    blank: Arc<Configuration>,
    /// Configurations in the log; the first is that of the cluster's bootstrap.
    configurations: Vec<(Index, Arc<Configuration>)>,
    /// Role after the latest step.
    pub role: Option<Role>,
    /// Term after the latest step.
    pub term: Term,
    /// Commit index after the latest step.
    pub commit: Index,
    /// Configuration in force after the latest step.
    pub before: Option<Arc<Configuration>>,
}

impl Ghost {
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

    /// The configuration that its disk was bootstrapped with.
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
        let (index, configuration) = self.configurations.last().expect("the bootstrap's is always there");
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
    /// Only looked up, never iterated, so that the order of the hash map has no effect.
    known: HashMap<EntryId, Known>,
    committed: Vec<Committed>,
    /// Every term that had a leader.
    pub reigns: BTreeMap<Term, Reign>,
    ghosts: BTreeMap<MemberId, Ghost>,
    /// Configuration that the first members were bootstrapped with.
    bootstrap: Option<Arc<Configuration>>,
    /// The latest committed configuration; initially that of the bootstrap.
    configuration: Option<(Index, Arc<Configuration>)>,
    /// Number of committed configurations.
    pub configurations: u64,
}

impl Ledger {
    /// Adds a member whose disk was bootstrapped with this configuration.
    pub fn welcome(&mut self, id: MemberId, bootstrap: Arc<Configuration>) {
        self.bootstrap.get_or_insert_with(|| Arc::clone(&bootstrap));
        self.configuration.get_or_insert_with(|| (Index(0), Arc::clone(&bootstrap)));
        let blank = Arc::clone(&bootstrap);
        self.ghosts.insert(id, Ghost { blank, configurations: vec![(Index(0), bootstrap)], ..Ghost::default() });
    }

    /// A member's log.
    #[must_use]
    pub fn ghost(&self, id: MemberId) -> &Ghost {
        &self.ghosts[&id]
    }

    fn ghost_mut(&mut self, id: MemberId) -> &mut Ghost {
        self.ghosts.get_mut(&id).expect("every member was welcomed")
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
        self.ghost_mut(id).push(entry);
        if let Some(reign) = self.reigns.get_mut(&entry.id.term).filter(|reign| reign.leader == id) {
            reign.last = reign.last.max(entry.id.index);
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

    /// Whether every configuration that may still decide keeps a majority without the members in `dead`.
    #[must_use]
    pub fn can_bear(&self, dead: &BTreeSet<MemberId>) -> bool {
        let since = self.configuration.as_ref().map_or(Index(0), |(index, _)| *index);
        let keeps = |configuration: &Configuration| {
            [&configuration.voters, &configuration.outgoing]
                .into_iter()
                .all(|half| half.is_empty() || half.difference(dead).count() > half.len() / 2)
        };
        self.ghosts.values().all(|ghost| {
            let logged = ghost.configurations.iter();
            logged.filter(|(index, _)| *index >= since).all(|(_, configuration)| keeps(configuration))
        })
    }

    /// Notes that an entry is committed, by the leader of term `by`.
    pub fn commit(&mut self, id: EntryId, by: Term) {
        assert_eq!(id.index, self.committed().next(), "commits are noted in the order of the log");
        self.committed.push(Committed { id, by });
        if let Payload::Configuration(configuration) = &self.known[&id].entry.payload {
            self.configurations += 1;
            self.configuration = Some((id.index, Arc::clone(configuration)));
        }
    }

    /// Replaces a member's log by that of a snapshot up to `last`.
    pub fn replace(&mut self, id: MemberId, last: Index) {
        // A snapshot contains the configuration of the cluster's bootstrap, which a member that joined later never had.
        let bootstrap = match &self.bootstrap {
            Some(bootstrap) if last > Index(0) => Arc::clone(bootstrap),
            _ => Arc::clone(&self.ghost(id).blank),
        };
        let mut ghost = Ghost { configurations: vec![(Index(0), bootstrap)], ..Ghost::default() };
        for committed in &self.committed[..last.0 as usize] {
            ghost.push(&self.known[&committed.id].entry);
        }
        let old = self.ghost_mut(id);
        (old.terms, old.configurations) = (ghost.terms, ghost.configurations);
    }

    /// Notes that a member starts with the content of its disk.
    ///
    /// # Errors
    /// Returns a violation if its snapshot contains an entry that is not committed.
    pub fn restarted(&mut self, id: MemberId, contents: &Contents) -> Checked {
        let snapshot = contents.snapshot.last;
        let agrees = snapshot.index == Index(0) || self.committed_at(snapshot.index).is_some_and(|c| c.id == snapshot);
        ensure(agrees, "state machine safety", || {
            format!("{id} starts from a snapshot at {snapshot}, which is not committed")
        })?;
        self.replace(id, snapshot.index);
        for entry in contents.log.iter().filter(|entry| entry.id.index > snapshot.index) {
            self.ghost_mut(id).push(entry);
        }
        let ghost = self.ghost_mut(id);
        (ghost.role, ghost.term, ghost.commit) = (None, contents.hard_state.term, snapshot.index);
        ghost.before = None;
        Ok(())
    }

    /// Notes role, term, commit index and configuration of a member.
    pub fn seen(&mut self, id: MemberId, raft: &Raft) {
        let state = raft.soft_state();
        let ghost = self.ghost_mut(id);
        (ghost.role, ghost.term, ghost.commit) = (Some(state.role), state.term, raft.commit());
        ghost.before = ghost.configurations.last().map(|(_, configuration)| Arc::clone(configuration));
    }
}
