//! Damaged logs of members, and their repair. Owns the damage, whose log a member gets, and when. The directory is repaired by the shipped
//! code (`storage::LogRepair`); the transfer is a copy of what the leader's disk holds. Does not own the check of what a start finds
//! afterwards (`process.rs`).
//!
//! Damage strikes a member at a start, below what it has acknowledged. A start that could take the damage for a torn tail has not
//! acknowledged what it loses, so that damage is not tried. Of the rest any bit may be flipped, or a whole file lost.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use memory_disk::MemoryDisk;
use raft::{Entry, EntryId, Index, MemberId, RemovalVerdict, Role, Term};
use storage::{LogRepair, StorageError};
use world::disk::Contents;
use world::seed::{Random, Seed};

use crate::invariant::{Checked, Violation, ensure};
use crate::members::process::{Member, State, Target};
use crate::members::{Event, MemberCluster};

/// Probability that a start finds its log damaged, per million.
const DAMAGED: u32 = 500_000;
/// Number of places at which damage is tried. Most bytes of a file were never written.
const PLACES: usize = 32;
/// Probability that the process of a member ends while its log is repaired, per million.
const ENDS: u32 = 300_000;
/// Maximum number of operations on the disk before it ends.
const OPERATIONS_MAX: u64 = 12;
/// Pause after an attempt that did not succeed.
const PAUSE: Duration = Duration::from_millis(500);
/// Maximum time between the moment at which a leader says what its log is, and the end of the transfer.
const TRANSFER_MAX: Duration = Duration::from_millis(800);
/// Number of entries that are added to a repair at once.
const CHUNK: usize = 5;

/// The log of a leader at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Source {
    leader: MemberId,
    term: Term,
    last: EntryId,
}

/// The repairs of a run.
#[derive(Debug)]
pub(super) struct Repairs {
    /// Draws apart from the other ones, so that runs without damage stay as they were.
    random: Random,
    is_allowed: bool,
    /// Members whose log is damaged, each with the outcome of the repair that was tried last.
    damaged: BTreeMap<MemberId, Option<Target>>,
}

impl Repairs {
    /// Logs are damaged in the runs of an eighth of the seeds, if that fault is among the `allowed` ones.
    pub(super) fn new(seed: Seed, allowed: bool) -> Self {
        Self { random: Random::new(Seed(!seed.0)), is_allowed: allowed && seed.0 % 32 >= 28, damaged: BTreeMap::new() }
    }

    /// Members that cannot take part before their repair ends.
    pub(super) fn damaged(&self) -> BTreeSet<MemberId> {
        self.damaged.keys().copied().collect()
    }

    /// What the repaired directory of a member holds; `None` if its log was not damaged.
    pub(super) fn finished(&mut self, id: MemberId) -> Option<Target> {
        self.damaged.remove(&id).flatten()
    }
}

impl MemberCluster {
    /// Returns whether the log of a member that starts is damaged. It is then being repaired.
    pub(super) fn begins_repair(&mut self, id: MemberId, salt: u64) -> Result<bool, Violation> {
        self.may_damage(id, salt);
        if !self.repairs.damaged.contains_key(&id) {
            return Ok(false);
        }
        let member = self.members.get_mut(&id).expect("every member is known");
        let repair = member.open_repair(&member.disk, salt);
        let repair = repair.map_err(|reason| Violation {
            invariant: "a damaged log can be repaired",
            seen: format!("{id}: {reason}"),
        })?;
        let Some(repair) = repair else { return Ok(false) };
        let (last, term) = (repair.last(), repair.term());
        member.state = State::Repairing(Box::new(repair));
        member.start += 1;
        let start = member.start;
        self.note(|| format!("{id} repairs its log after {last}, in term {term}"));
        self.plan_repair(id, start, None);
        Ok(true)
    }

    fn plan_repair(&mut self, id: MemberId, start: u64, from: Option<Source>) {
        let random = &mut self.repairs.random;
        let wait = if from.is_some() { random.time(Duration::ZERO, TRANSFER_MAX) } else { PAUSE };
        self.agenda.after(wait, Event::Repair { id, start, from });
    }

    /// Damages the log of a member, if the cluster can lose that member.
    fn may_damage(&mut self, id: MemberId, salt: u64) {
        let member = &self.members[&id];
        let is_new = member.start == 0 || self.repairs.damaged.contains_key(&id);
        if !self.repairs.is_allowed || self.is_healing || is_new || !self.repairs.random.chance(DAMAGED) {
            return;
        }
        let lost: BTreeSet<MemberId> = self.dead().into_iter().chain(self.repairs.damaged()).chain([id]).collect();
        if !self.invariants.ledger.can_bear(&lost) {
            return;
        }
        for _ in 0..PLACES {
            if self.damage(id, salt) {
                return;
            }
        }
    }

    /// Damages the log of a member at one place. Returns whether the next start notices it, and other members can mend it; otherwise
    /// nothing was changed.
    fn damage(&mut self, id: MemberId, salt: u64) -> bool {
        let (member, random) = (&self.members[&id], &mut self.repairs.random);
        let is_of_the_log = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "wal");
        let files: Vec<PathBuf> = member.disk.files().into_iter().filter(is_of_the_log).collect();
        if files.is_empty() {
            return false;
        }
        let path = random.pick(&files).clone();
        let offset = random.below(member.disk.contents(&path).map_or(1, |bytes| bytes.len().max(1)) as u64);
        let is_lost = random.chance(30_000);
        let strike = |disk: &MemoryDisk| {
            if is_lost { disk.overwrite(&path, None) } else { disk.flip_bit(&path, offset, (offset % 8) as u8) }
        };
        let copy = member.disk.fork();
        strike(&copy);
        let knows_others = |repair: &LogRepair| repair.configuration().voters.iter().any(|voter| *voter != id);
        if !matches!(member.open_repair(&copy, salt), Ok(Some(repair)) if knows_others(&repair)) {
            return false;
        }
        strike(&member.disk);
        self.repairs.damaged.insert(id, None);
        self.coverage.ailments += 1;
        self.note(|| format!("the log of {id} is damaged at byte {offset} of {}", path.display()));
        true
    }

    /// Advances a repair: asks for a leader, or gets what the leader `from` has.
    pub(super) fn advance_repair(&mut self, id: MemberId, start: u64, from: Option<Source>) -> Checked {
        let is_current = |member: &Member| member.start == start && matches!(member.state, State::Repairing(_));
        if !self.members.get(&id).is_some_and(is_current) {
            return Ok(());
        }
        let Some(from) = from else { return self.find_source(id, start) };
        if self.leads(id, from.leader) != Some(from.term) {
            self.plan_repair(id, start, None);
            return Ok(());
        }
        let contents = self.shadows[&from.leader].durable().clone();
        let State::Repairing(repair) = &mut self.members.get_mut(&id).expect("checked above").state else {
            return Ok(());
        };
        if contents.last().index < from.last.index {
            // The leader's disk does not hold it yet.
            self.plan_repair(id, start, None);
            return Ok(());
        }
        if compare(&contents, from.last, repair.last()) == Compared::Differs {
            ensure(!repair.is_at_snapshot(), "state machine safety", || {
                format!("{} lacks {}, the end of a snapshot of {id}", from.leader, repair.last())
            })?;
            repair.return_to_snapshot();
        }
        match compare(&contents, from.last, repair.last()) {
            Compared::Continues => self.receive_log(id, from, &contents),
            Compared::Differs => {
                self.plan_repair(id, start, None);
                Ok(())
            }
            // Its volume is replaced.
            Compared::Purged => {
                self.repairs.damaged.remove(&id);
                self.destroy(id);
                Ok(())
            }
        }
    }

    /// The term that `of` leads; `None` if `id` cannot get its log.
    fn leads(&self, id: MemberId, of: MemberId) -> Option<Term> {
        let raft = self.members.get(&of).and_then(Member::process)?.raft();
        let is_linked = self.network.passes(id, of) && self.network.passes(of, id);
        let is_source = raft.soft_state().role == Role::Leader && raft.configuration().0.contains(id);
        (is_linked && is_source).then_some(raft.soft_state().term)
    }

    /// Asks all members which one leads. As shipped, a member that was removed learns it from a voter that it knows.
    fn find_source(&mut self, id: MemberId, start: u64) -> Checked {
        let State::Repairing(repair) = &self.members[&id].state else { return Ok(()) };
        let (term, known) = (repair.term(), repair.configuration().voters.clone());
        let leaders: Vec<(MemberId, Term)> = self
            .members
            .keys()
            .filter_map(|of| Some((*of, self.leads(id, *of)?)))
            .filter(|(_, led)| *led >= term)
            .collect();
        if !leaders.is_empty() {
            let (leader, term) = *self.repairs.random.pick(&leaders);
            let last = self.members[&leader].process().map(|process| process.raft().last()).unwrap_or_default();
            self.plan_repair(id, start, Some(Source { leader, term, last }));
            return Ok(());
        }
        let running = known.iter().filter_map(|voter| Some((*voter, self.members.get(voter)?.process()?)));
        let linked = running.filter(|(voter, _)| self.network.passes(id, *voter) && self.network.passes(*voter, id));
        let verdict = linked.map(|(_, process)| {
            let (configuration, index) = process.raft().committed_configuration();
            RemovalVerdict::of(id, configuration, index)
        });
        let removed = verdict.filter_map(|verdict| match verdict {
            RemovalVerdict::Removed { index } => Some(index),
            _ => None,
        });
        let removed = removed.max();
        let Some(index) = removed else {
            self.plan_repair(id, start, None);
            return Ok(());
        };
        let member = self.members.get_mut(&id).expect("checked above");
        if let State::Repairing(mut repair) = std::mem::replace(&mut member.state, State::Down) {
            let written = repair.write_tombstone(index);
            written.map_err(|reason| Violation {
                invariant: "a disk refuses no write",
                seen: format!("{id}: {reason}"),
            })?;
        }
        self.repairs.damaged.remove(&id);
        self.note(|| format!("{id} was removed while it repaired its log"));
        self.start(id)
    }

    /// Adds what is missing, and finishes the repair. The process may end at any operation.
    fn receive_log(&mut self, id: MemberId, from: Source, contents: &Contents) -> Checked {
        let random = &mut self.repairs.random;
        let (ends, operations) = (!self.is_healing && random.chance(ENDS), random.between(1, OPERATIONS_MAX));
        let (is_kill, loss) = (random.coin(), random.number());
        let member = self.members.get_mut(&id).expect("every member is known");
        let State::Repairing(mut repair) = std::mem::replace(&mut member.state, State::Down) else { return Ok(()) };
        let log: Vec<Entry> = contents.log.iter().filter(|entry| entry.id.index <= from.last.index).cloned().collect();
        let missing = log.partition_point(|entry| entry.id.index <= repair.last().index);
        if ends {
            member.disk.stop_after(operations);
        }
        let appended = log[missing..].chunks(CHUNK).try_for_each(|chunk| repair.append(chunk));
        let target = Target { before: repair.term(), term: from.term, last: from.last, log };
        self.repairs.damaged.insert(id, Some(target));
        let finished = appended.and_then(|()| repair.finish(from.term));
        drop(repair);
        let member = self.members.get_mut(&id).expect("every member is known");
        let has_failed = member.disk.has_stopped() || matches!(finished, Err(StorageError::Failed(_)));
        if has_failed {
            if is_kill {
                member.disk.kill()
            } else {
                member.disk.lose_power(loss)
            }
            self.coverage.crashes += 1;
            let (low, high) = self.profile.downtime;
            let downtime = self.repairs.random.time(low, high);
            self.note(|| format!("{id} crashes for {downtime:?} while it repairs its log"));
            self.agenda.after(downtime, Event::Start(id));
            return Ok(());
        }
        // The next start is that of the same process. This only cancels the planned end.
        member.disk.kill();
        finished
            .map_err(|reason| Violation { invariant: "a disk refuses no write", seen: format!("{id}: {reason}") })?;
        self.note(|| format!("{id} has got the log of {} up to {}", from.leader, from.last));
        self.start(id)
    }
}

/// How the log of a leader relates to the last entry of a repair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compared {
    /// The leader has the entry, or it is committed, and all that follow.
    Continues,
    /// The leader has another entry there, or none.
    Differs,
    /// The leader has not kept what follows, or cannot compare the entry.
    Purged,
}

/// `last`: the last entry of the leader's log.
fn compare(contents: &Contents, last: EntryId, after: EntryId) -> Compared {
    let snapshot = contents.snapshot.last;
    let first = contents.log.front().map_or(snapshot.index.next(), |entry| entry.id.index);
    let at = |index: Index| match index {
        Index(0) => Some(EntryId::default()),
        index if index == snapshot.index => Some(snapshot),
        index => contents.log.get(index.0.checked_sub(first.0)? as usize).map(|entry| entry.id),
    };
    match at(after.index) {
        _ if after.index > last.index => Compared::Differs,
        _ if after.index.next() < first => Compared::Purged,
        Some(id) if id == after => Compared::Continues,
        Some(_) => Compared::Differs,
        None => Compared::Purged,
    }
}
