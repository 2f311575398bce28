//! The part of a history that later checks need: leaders, votes, committed entries, pending reads. Owns the safety
//! properties (Raft thesis figure 3.2); each is checked at the first event that could violate it. Does not own the
//! events (`state.rs`).

use std::collections::BTreeMap;

use raft::{Entry, EntryId, Index, MemberId, Payload, Raft, ReadContext, SnapshotMeta, SoftState, Term};

use super::disk::{Disk, Snapshot, State};
use super::member::Member;

/// The earlier events of a state, as far as later checks depend on them. This type is part of a state's digest.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct History {
    leaders: BTreeMap<Term, MemberId>,
    votes: BTreeMap<(MemberId, Term), MemberId>,
    /// All committed entries, from index 1.
    committed: Vec<Entry>,
    /// For each committed entry, the term of the member that applied it first.
    committed_in: Vec<Term>,
    /// For each pending read, the number of entries that were committed when it began.
    reads: BTreeMap<ReadContext, usize>,
}

type Verdict = Result<(), String>;

impl History {
    pub(crate) fn leaders(&self) -> usize {
        self.leaders.len()
    }

    pub(crate) fn committed(&self) -> &[Entry] {
        &self.committed
    }

    /// Checks election safety: each term has at most one leader. Also checks leader completeness: the leader has all
    /// entries that were committed in earlier terms.
    pub(crate) fn leads(&mut self, member: &Member, state: SoftState) -> Verdict {
        let id = member.id();
        let leader = *self.leaders.entry(state.term).or_insert(id);
        if leader != id {
            return Err(format!("{leader} and {id} lead in term {}", state.term));
        }
        let disk = member.disk_after_writes();
        let log = disk.log(&self.committed);
        let earlier = self.committed.iter().zip(&self.committed_in).filter(|(_, in_term)| **in_term < state.term);
        let lost = earlier.map(|(entry, _)| entry).find(|entry| !log.contains(entry));
        lost.map_or(Ok(()), |lost| Err(format!("{id} leads without {}, which is committed", lost.id)))
    }

    /// Checks that a member votes for at most one candidate in each term, even if it restarts (Raft thesis §3.8).
    pub(crate) fn votes(&mut self, voter: MemberId, term: Term, candidate: MemberId) -> Verdict {
        let vote = *self.votes.entry((voter, term)).or_insert(candidate);
        if vote == candidate {
            return Ok(());
        }
        Err(format!("{voter} voted twice in term {term}: for {vote} and for {candidate}"))
    }

    /// Checks state machine safety: no two members apply different entries at one index. Also checks that an entry that
    /// is applied for the first time is durable on a quorum (etcd#14370).
    pub(crate) fn applies(&mut self, at: usize, entries: &[Entry], members: &[&Member]) -> Verdict {
        for entry in entries {
            let place = entry.id.index.0 as usize - 1;
            match self.committed.get(place) {
                Some(committed) if committed == entry => {}
                Some(committed) => {
                    return Err(format!(
                        "{} is applied at the index where {} was applied before",
                        entry.id, committed.id
                    ));
                }
                None => {
                    let Some(raft) = &members[at].raft else { continue };
                    self.is_durable(entry.id, raft, members)?;
                    self.committed.push(entry.clone());
                    self.committed_in.push(raft.soft_state().term);
                }
            }
        }
        Ok(())
    }

    /// Checks that all members have the same state at one applied index, whether they applied the entries or installed
    /// a snapshot.
    pub(crate) fn state_matches(&self, id: MemberId, applied: Index, state: State) -> Verdict {
        if state == State::of(&self.committed[..applied.0 as usize]) {
            return Ok(());
        }
        Err(format!("{id} has a different state at {applied} than the committed entries produce"))
    }

    /// Checks that the metadata of a snapshot matches the committed entries and the configuration at the snapshot's
    /// index (openraft#1808).
    pub(crate) fn captures(&self, snapshot: &Snapshot) -> Verdict {
        let SnapshotMeta { last, time_ms, configuration, configuration_index } = &snapshot.meta;
        let covered = self.committed.get(..last.index.0 as usize).unwrap_or_default();
        let end = covered.last().map(|entry| (entry.id, entry.time_ms));
        let in_force = covered.iter().rev().find_map(|entry| match &entry.payload {
            Payload::Configuration(configuration) => Some((entry.id.index, configuration)),
            _ => None,
        });
        let is_as_committed =
            in_force.map_or(*configuration_index == Index(0), |found| found == (*configuration_index, configuration));
        if end == Some((*last, *time_ms)) && is_as_committed {
            return Ok(());
        }
        Err(format!("a snapshot has the metadata {:?}, but {end:?} and {in_force:?} are committed", snapshot.meta))
    }

    /// Checks that an installed snapshot has correct metadata and the state that belongs to the metadata.
    pub(crate) fn installs(&self, id: MemberId, meta: &SnapshotMeta, state: State) -> Verdict {
        self.captures(&Snapshot { meta: meta.clone(), state })?;
        self.state_matches(id, meta.last.index, state)
    }

    pub(crate) fn read_begins(&mut self, context: ReadContext) {
        self.reads.insert(context, self.committed.len());
    }

    /// Checks that a read is answered only once, at an index that is not before the commit index at the time when the
    /// read began (Raft thesis §6.4).
    pub(crate) fn read_ends(&mut self, context: ReadContext, index: Index) -> Verdict {
        let Some(began) = self.reads.remove(&context) else {
            return Err(format!("read {context} is answered twice"));
        };
        if index.0 as usize >= began {
            return Ok(());
        }
        Err(format!("read {context} is answered at {index}, but {began} was committed when it began"))
    }

    pub(crate) fn read_fails(&mut self, context: ReadContext) {
        self.reads.remove(&context);
    }

    /// Checks, when a lease answers a read, that no other member has been elected in a later term (Raft thesis §6.4.1).
    pub(crate) fn holds_lease(&self, id: MemberId, term: Term) -> Verdict {
        let later = self.leaders.range(term.next()..).next();
        later.map_or(Ok(()), |(later, other)| {
            Err(format!("{id} reads by its lease of term {term}, but {other} leads in term {later}"))
        })
    }

    /// Checks that a committed configuration removed the member.
    pub(crate) fn removes(&self, id: MemberId) -> Verdict {
        let removes = |entry: &Entry| match &entry.payload {
            Payload::Configuration(configuration) => configuration.removed.contains(&id),
            _ => false,
        };
        if self.committed.iter().any(removes) {
            return Ok(());
        }
        Err(format!("{id} stops for good, but no committed configuration removed it"))
    }

    fn is_durable(&self, last: EntryId, leader: &Raft, members: &[&Member]) -> Verdict {
        let (configuration, _) = leader.configuration();
        for half in [&configuration.voters, &configuration.outgoing] {
            let holds = |id: &MemberId| {
                let disk = &members[id.0 as usize - 1].disk;
                last.index <= disk.snapshot.meta.last.index || disk.entries.iter().any(|entry| entry.id == last)
            };
            if !half.is_empty() && half.iter().filter(|id| holds(id)).count() * 2 <= half.len() {
                return Err(format!("{last} is committed, but not durable on a majority"));
            }
        }
        Ok(())
    }

    /// Checks that committed entries stay on the disks of a majority, where a restart would find them.
    pub(crate) fn stays_durable(&self, voters: &[u64], members: &[&Member]) -> Verdict {
        let voters = voters.iter().map(|number| &members[*number as usize - 1].disk);
        let logs: Vec<_> = voters.map(|disk| disk.log(&self.committed)).collect();
        for (place, entry) in self.committed.iter().enumerate() {
            let holders = logs.iter().filter(|log| log.get(place) == Some(entry)).count();
            if holders * 2 <= logs.len() {
                return Err(format!(
                    "{} is committed, but is now durable on only {holders} of {} voters",
                    entry.id,
                    logs.len()
                ));
            }
        }
        Ok(())
    }

    /// Checks log matching: two logs that both hold an entry with the same index and term are equal up to that entry.
    pub(crate) fn logs_match(&self, one: &Disk, two: &Disk) -> Verdict {
        let (one, two) = (one.log(&self.committed), two.log(&self.committed));
        let shared = one.iter().zip(two.iter()).rposition(|(one, two)| one.id == two.id);
        let agree = shared.is_none_or(|last| one[..=last] == two[..=last]);
        if agree { Ok(()) } else { Err("two logs share an entry, but differ before it".into()) }
    }

    /// Checks that the entries up to a member's matched index are on the member's disk and equal the leader's entries
    /// (CCF#6016). Members in a newer term are not checked, because the leader of that term may truncate these entries.
    pub(crate) fn matches_are_true(&self, leader: &Member, members: &[&Member]) -> Verdict {
        let Some(raft) = &leader.raft else { return Ok(()) };
        let disk = leader.disk_after_writes();
        let log = disk.log(&self.committed);
        for (of, progress) in raft.progress() {
            let disk = &members[of.0 as usize - 1].disk;
            let count = progress.matched.0 as usize;
            let is_current = disk.hard_state.term <= raft.soft_state().term;
            if is_current && disk.log(&self.committed).get(..count) != log.get(..count) {
                return Err(format!(
                    "{} has a matched index for {of} of {}, which is not on its disk",
                    leader.id(),
                    progress.matched
                ));
            }
        }
        Ok(())
    }
}
