//! The part of a history by which the next step is judged: leaders, votes, committed entries. Owns the
//! properties (Raft thesis figure 3.2); each is checked as it could first be broken.

use std::collections::BTreeMap;

use raft::{Entry, EntryId, Index, MemberId, Payload, Raft, ReadContext, SnapshotMeta, SoftState, Term};

use crate::disk::{Disk, Snapshot, State};
use crate::member::Member;

/// The memory; part of the state, as it decides what is wrong from here on.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct History {
    leaders: BTreeMap<Term, MemberId>,
    votes: BTreeMap<(MemberId, Term), MemberId>,
    /// Every entry that was committed, from index 1.
    decided: Vec<Entry>,
    /// The term of the leader that committed each.
    decided_in: Vec<Term>,
    /// How much was committed when each read began that is not answered yet.
    reads: BTreeMap<ReadContext, usize>,
}

type Judgement = Result<(), String>;

impl History {
    pub(crate) fn leaders(&self) -> usize {
        self.leaders.len()
    }

    pub(crate) fn decided(&self) -> &[Entry] {
        &self.decided
    }

    /// Election safety: at most one leader per term. Leader completeness: it holds everything that was
    /// committed in an earlier term.
    pub(crate) fn leads(&mut self, member: &Member, state: SoftState) -> Judgement {
        let id = member.id();
        let leader = *self.leaders.entry(state.term).or_insert(id);
        if leader != id {
            return Err(format!("{leader} and {id} lead in term {}", state.term));
        }
        let disk = member.disk_in_the_end();
        let log = disk.log(&self.decided);
        let earlier = self.decided.iter().zip(&self.decided_in).filter(|(_, in_term)| **in_term < state.term);
        let lost = earlier.map(|(entry, _)| entry).find(|entry| !log.contains(entry));
        lost.map_or(Ok(()), |lost| Err(format!("{id} leads without {}, which is committed", lost.id)))
    }

    /// One vote per term, across restarts (Raft thesis §3.8).
    pub(crate) fn votes(&mut self, voter: MemberId, term: Term, candidate: MemberId) -> Judgement {
        let vote = *self.votes.entry((voter, term)).or_insert(candidate);
        if vote == candidate {
            return Ok(());
        }
        Err(format!("{voter} voted twice in term {term}: for {vote} and for {candidate}"))
    }

    /// State machine safety: no member applies another entry at the same index. What is applied first is durable on
    /// majorities of both halves (etcd#14370).
    pub(crate) fn applies(&mut self, at: usize, entries: &[Entry], members: &[&Member]) -> Judgement {
        for entry in entries {
            let place = entry.id.index.0 as usize - 1;
            match self.decided.get(place) {
                Some(decided) if decided == entry => {}
                Some(decided) => {
                    return Err(format!("{} is applied where {} was", entry.id, decided.id));
                }
                None => {
                    let Some(raft) = &members[at].raft else { continue };
                    self.is_durable(entry.id, raft, members)?;
                    self.decided.push(entry.clone());
                    self.decided_in.push(raft.soft_state().term);
                }
            }
        }
        Ok(())
    }

    /// Every member has the same state at the same index, whether it came from entries or from a snapshot.
    pub(crate) fn states(&self, id: MemberId, applied: Index, state: State) -> Judgement {
        if state == State::of(&self.decided[..applied.0 as usize]) {
            return Ok(());
        }
        Err(format!("{id} has another state at {applied} than what was decided leads to"))
    }

    /// A snapshot says what was decided, and who took part then (openraft#1808).
    pub(crate) fn captures(&self, snapshot: &Snapshot) -> Judgement {
        let SnapshotMeta { last, time_ms, configuration, configuration_index } = &snapshot.meta;
        let covered = self.decided.get(..last.index.0 as usize).unwrap_or_default();
        let end = covered.last().map(|entry| (entry.id, entry.time_ms));
        let in_force = covered.iter().rev().find_map(|entry| match &entry.payload {
            Payload::Configuration(configuration) => Some((entry.id.index, configuration)),
            _ => None,
        });
        let is_as_decided =
            in_force.map_or(*configuration_index == Index(0), |found| found == (*configuration_index, configuration));
        if end == Some((*last, *time_ms)) && is_as_decided {
            return Ok(());
        }
        Err(format!("a snapshot says {:?}, and {end:?} and {in_force:?} were decided", snapshot.meta))
    }

    /// So does one that is installed, with the state that belongs to it.
    pub(crate) fn installs(&self, id: MemberId, meta: &SnapshotMeta, state: State) -> Judgement {
        self.captures(&Snapshot { meta: meta.clone(), state })?;
        self.states(id, meta.last.index, state)
    }

    pub(crate) fn asks(&mut self, context: ReadContext) {
        self.reads.insert(context, self.decided.len());
    }

    /// A read sees what was committed when it began (Raft thesis §6.4), and is answered once.
    pub(crate) fn reads(&mut self, context: ReadContext, index: Index) -> Judgement {
        let Some(began) = self.reads.remove(&context) else {
            return Err(format!("read {context} is answered twice"));
        };
        if index.0 as usize >= began {
            return Ok(());
        }
        Err(format!("read {context} at {index}, but {began} was committed when it began"))
    }

    pub(crate) fn fails(&mut self, context: ReadContext) {
        self.reads.remove(&context);
    }

    /// A lease that answers a read means that no other member was elected since (Raft thesis §6.4.1).
    pub(crate) fn holds_lease(&self, id: MemberId, term: Term) -> Judgement {
        let later = self.leaders.range(term.next()..).next();
        later.map_or(Ok(()), |(later, other)| {
            Err(format!("{id} reads by its lease of term {term}, but {other} leads in term {later}"))
        })
    }

    fn is_durable(&self, last: EntryId, leader: &Raft, members: &[&Member]) -> Judgement {
        let (configuration, _) = leader.configuration();
        for half in [&configuration.voters, &configuration.outgoing] {
            let holds = |id: &MemberId| {
                let disk = &members[id.0 as usize - 1].disk;
                last.index <= disk.snapshot.meta.last.index || disk.entries.iter().any(|entry| entry.id == last)
            };
            if !half.is_empty() && half.iter().filter(|id| holds(id)).count() * 2 <= half.len() {
                return Err(format!("{last} is committed and not durable on a majority"));
            }
        }
        Ok(())
    }

    /// What was decided stays on a majority of disks, as a start would find them.
    pub(crate) fn stays_durable(&self, voters: &[u64], members: &[&Member]) -> Judgement {
        let voters = voters.iter().map(|number| &members[*number as usize - 1].disk);
        let logs: Vec<_> = voters.map(|disk| disk.log(&self.decided)).collect();
        for (place, entry) in self.decided.iter().enumerate() {
            let holders = logs.iter().filter(|log| log.get(place) == Some(entry)).count();
            if holders * 2 <= logs.len() {
                return Err(format!("{} was committed and is durable on {holders} of {} now", entry.id, logs.len()));
            }
        }
        Ok(())
    }

    /// Log matching: two logs with an entry of one index and term agree up to there.
    pub(crate) fn logs_match(&self, one: &Disk, two: &Disk) -> Judgement {
        let (one, two) = (one.log(&self.decided), two.log(&self.decided));
        let shared = one.iter().zip(two.iter()).rposition(|(one, two)| one.id == two.id);
        let agree = shared.is_none_or(|last| one[..=last] == two[..=last]);
        if agree { Ok(()) } else { Err("two logs share an entry and differ before it".into()) }
    }

    /// What a leader takes for replicated is on the member's disk, and is what the leader has (CCF#6016); until a newer term
    /// takes it away.
    pub(crate) fn matches_are_true(&self, leader: &Member, members: &[&Member]) -> Judgement {
        let Some(raft) = &leader.raft else { return Ok(()) };
        let disk = leader.disk_in_the_end();
        let log = disk.log(&self.decided);
        for (of, progress) in raft.progress() {
            let disk = &members[of.0 as usize - 1].disk;
            let count = progress.matched.0 as usize;
            let is_current = disk.hard_state.term <= raft.soft_state().term;
            if is_current && disk.log(&self.decided).get(..count) != log.get(..count) {
                return Err(format!(
                    "{} counts {of} up to {}, which is not on its disk",
                    leader.id(),
                    progress.matched
                ));
            }
        }
        Ok(())
    }
}
