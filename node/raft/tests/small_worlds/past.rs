//! What must be remembered of a history to judge what comes next: who led, who voted for whom, what was decided. Owns the
//! properties (Raft thesis figure 3.2); each is checked as it could first be broken.

use std::collections::BTreeMap;

use raft::{Entry, EntryId, Index, MemberId, Raft, ReadContext, SoftState, Term};

use crate::network::{Disk, Write};
use crate::world::Member;

/// The memory; part of the state, as it decides what is wrong from here on.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Past {
    leaders: BTreeMap<Term, MemberId>,
    votes: BTreeMap<(MemberId, Term), MemberId>,
    /// From index 1, each with the term of the leader that committed it.
    committed: Vec<(Entry, Term)>,
    /// How much was committed when each read began.
    reads: BTreeMap<ReadContext, usize>,
}

type Judgement = Result<(), String>;

impl Past {
    pub(crate) fn leaders(&self) -> usize {
        self.leaders.len()
    }

    pub(crate) fn committed(&self) -> usize {
        self.committed.len()
    }

    /// Election safety: at most one leader per term. Leader completeness: it holds everything that was
    /// committed in an earlier term.
    pub(crate) fn leads(&mut self, member: &Member, state: SoftState) -> Judgement {
        let id = member.id();
        let leader = *self.leaders.entry(state.term).or_insert(id);
        if leader != id {
            return Err(format!("{leader} and {id} lead in term {}", state.term));
        }
        let log = log_of(member);
        let lost = self.committed.iter().find(|(entry, in_term)| *in_term < state.term && !log.contains(entry));
        lost.map_or(Ok(()), |(lost, _)| Err(format!("{id} leads without {}, which is committed", lost.id)))
    }

    /// One vote per term, across restarts (Raft thesis §3.8).
    pub(crate) fn votes(&mut self, voter: MemberId, term: Term, candidate: MemberId) -> Judgement {
        let vote = *self.votes.entry((voter, term)).or_insert(candidate);
        if vote == candidate {
            return Ok(());
        }
        Err(format!("{voter} voted twice in term {term}: for {vote} and for {candidate}"))
    }

    /// State machine safety: nobody applies another entry at the same index. What is applied first is durable on majorities
    /// of both halves (etcd#14370).
    pub(crate) fn applies(&mut self, at: usize, entries: &[Entry], members: &[&Member]) -> Judgement {
        for entry in entries {
            let place = entry.id.index.0 as usize - 1;
            match self.committed.get(place) {
                Some((committed, _)) if committed == entry => {}
                Some((committed, _)) => {
                    return Err(format!("{} is applied where {} was", entry.id, committed.id));
                }
                None => {
                    let Some(raft) = &members[at].raft else { continue };
                    is_durable(entry.id, raft, members)?;
                    self.committed.push((entry.clone(), raft.soft_state().term));
                }
            }
        }
        Ok(())
    }

    pub(crate) fn asks(&mut self, context: ReadContext) {
        self.reads.insert(context, self.committed.len());
    }

    /// A read sees what was committed when it began (Raft thesis §6.4).
    pub(crate) fn reads(&self, context: ReadContext, index: Index) -> Judgement {
        let began = self.reads[&context];
        if index.0 as usize >= began {
            return Ok(());
        }
        Err(format!("read {context} at {index}, but {began} was committed when it began"))
    }
}

fn is_durable(last: EntryId, leader: &Raft, members: &[&Member]) -> Judgement {
    let (configuration, _) = leader.configuration();
    for half in [&configuration.voters, &configuration.outgoing] {
        let holds = |id: &MemberId| members[id.0 as usize - 1].disk.entries.iter().any(|entry| entry.id == last);
        if !half.is_empty() && half.iter().filter(|id| holds(id)).count() * 2 <= half.len() {
            return Err(format!("{last} is committed and not durable on a majority"));
        }
    }
    Ok(())
}

/// Log matching: two logs with an entry of one index and term agree up to there.
pub(crate) fn logs_match(one: &Disk, two: &Disk) -> Judgement {
    let common = one.entries.iter().zip(&two.entries).rposition(|(one, two)| one.id == two.id);
    let agree = common.is_none_or(|last| one.entries[..=last] == two.entries[..=last]);
    if agree { Ok(()) } else { Err("two logs share an entry and differ before it".into()) }
}

/// What a leader takes for replicated is on the member's disk, and is what the leader has (CCF#6016); until a newer term
/// takes it away.
pub(crate) fn matches_are_true(leader: &Member, members: &[&Member]) -> Judgement {
    let Some(raft) = &leader.raft else { return Ok(()) };
    let log = log_of(leader);
    for (id, progress) in raft.progress() {
        let disk = &members[id.0 as usize - 1].disk;
        let count = progress.matched.0 as usize;
        if disk.hard_state.term <= raft.soft_state().term && disk.entries.get(..count) != log.get(..count) {
            return Err(format!("{} counts {id} up to {}, which is not on its disk", leader.id(), progress.matched));
        }
    }
    Ok(())
}

/// The log in memory: what is on disk, and what is on its way there.
fn log_of(member: &Member) -> Vec<Entry> {
    let mut log = member.disk.entries.clone();
    for write in &member.writes {
        if let Write::Log(persist) = write
            && let Some(first) = persist.entries.first()
        {
            log.truncate(first.id.index.0 as usize - 1);
            log.extend(persist.entries.iter().cloned());
        }
    }
    log
}
