//! A run recorded as a TLA+ module for TLC. Each line shows the state of a member and of its disk.
//! `node/raft/spec/TraceRaft.tla` must be able to explain the run. Owns the lines and their form. Reads cores, outputs
//! and disks, and changes nothing.
//!
//! The specification needs whole logs, but a disk lacks purged entries. The recording therefore stores every entry that
//! ever existed, together with the ID of the preceding entry.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use raft::{
    AppendReply, Body, Configuration, Entry, EntryId, HardState, Index, MemberId, Message, Output, Payload, Raft, Role,
    Term,
};

use world::disk::Contents;

/// The part of a member's memory that a line of the trace shows, except the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Memory {
    hard: HardState,
    role: &'static str,
    commit: Index,
    configuration: usize,
}

/// The recorder's knowledge of one member.
#[derive(Clone, Debug, Default)]
struct Seen {
    memory: Memory,
    log: Vec<EntryId>,
    disk_hard: HardState,
    disk_log: Vec<EntryId>,
    /// Latest term in which the member acknowledged entries, and the highest index that it acknowledged in that term.
    acknowledged: (Term, Index),
    /// Messages already recorded, in the form of their lines.
    said: BTreeSet<String>,
}

/// Lines recorded so far.
#[derive(Debug)]
pub struct Record {
    founders: BTreeSet<MemberId>,
    pre_vote: bool,
    /// For every entry that ever existed, the preceding entry and the position of the entry's configuration in
    /// `configurations`, counted from 1 (0: the entry is no configuration).
    known: BTreeMap<EntryId, (EntryId, usize)>,
    configurations: Vec<String>,
    members: BTreeMap<MemberId, Seen>,
    /// Index of the configuration on which the latest accepted change is based.
    expected: Option<Index>,
    lines: Vec<String>,
    lines_max: usize,
}

impl Record {
    /// Starts a recording of about `lines_max` lines, for a cluster that starts with these voters.
    #[must_use]
    pub fn of(founders: BTreeSet<MemberId>, pre_vote: bool, lines_max: usize) -> Self {
        Self {
            founders,
            pre_vote,
            known: BTreeMap::new(),
            configurations: Vec::new(),
            members: BTreeMap::new(),
            expected: None,
            lines: Vec::new(),
            lines_max,
        }
    }

    /// Whether the recording has reached its number of lines.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.lines.len() >= self.lines_max
    }

    /// Notes that a leader accepted a change based on the configuration at `expected`.
    pub fn changes(&mut self, expected: Index) {
        self.expected = Some(expected);
    }

    /// Records a step: a member received an input and now has these `outputs`.
    pub fn stepped(&mut self, id: MemberId, raft: &Raft, outputs: &[Output]) {
        let mut seen = self.members.remove(&id).unwrap_or_default();
        let mut log = seen.log.clone();
        let mut hard = seen.memory.hard;
        let mut installed = "FALSE";
        for output in outputs {
            match output {
                Output::Persist(persist) => {
                    hard = persist.hard_state.unwrap_or(hard);
                    persist.entries.iter().for_each(|entry| self.append(&mut log, entry));
                }
                Output::InstallSnapshot { hard_state, meta, .. } => {
                    hard = hard_state.unwrap_or(hard);
                    log = self.chain(meta.last);
                    installed = "TRUE";
                }
                _ => {}
            }
        }
        let configuration = self.place_of(raft.configuration().0);
        let memory = Memory { hard, role: role(raft.soft_state().role), commit: raft.commit(), configuration };
        let expected = self.expected.take();
        if memory != seen.memory || log != seen.log {
            let expected = expected.map_or(-1, |expected| i128::from(expected.0));
            let line = format!(
                "kind |-> \"step\", member |-> {}, {}, role |-> \"{}\", commit |-> {}, configuration |-> {configuration}, \
                 expected |-> {expected}, installed |-> {installed}, {}",
                id.0,
                of_hard_state(memory.hard),
                memory.role,
                memory.commit,
                self.difference(&seen.log, &log)
            );
            self.lines.push(line);
        }
        (seen.memory, seen.log) = (memory, log);
        for output in outputs {
            if let Output::Send { to, message } = output
                && let Some(line) = seen.says(id, *to, message)
            {
                self.lines.push(line);
            }
        }
        self.members.insert(id, seen);
    }

    /// Records the end of a sync.
    pub fn synced(&mut self, id: MemberId, contents: &Contents) {
        let mut seen = self.members.remove(&id).unwrap_or_default();
        let log = self.chain(last_after_start(contents));
        if contents.hard_state != seen.disk_hard || log != seen.disk_log {
            let line = self.disk_line("disk", id, &seen, contents.hard_state, &log);
            self.lines.push(line);
        }
        (seen.disk_hard, seen.disk_log) = (contents.hard_state, log);
        self.members.insert(id, seen);
    }

    /// Records the content of a disk after a crash.
    pub fn crashed(&mut self, id: MemberId, contents: &Contents) {
        let mut seen = self.members.remove(&id).unwrap_or_default();
        let log = self.chain(last_after_start(contents));
        let line = self.disk_line("crash", id, &seen, contents.hard_state, &log);
        let commit = contents.snapshot.last.index;
        self.lines.push(format!("{line}, commit |-> {commit}"));
        (seen.disk_hard, seen.disk_log) = (contents.hard_state, log.clone());
        // The first step after the restart records the memory that the member then has.
        seen.memory = Memory { hard: contents.hard_state, role: role(Role::Follower), commit, configuration: 0 };
        seen.log = log;
        self.members.insert(id, seen);
    }

    /// The recording as a TLA+ module.
    #[must_use]
    pub fn module(&self) -> String {
        let highest = |number: fn(&EntryId) -> u64| self.known.keys().map(number).max().unwrap_or(0);
        let terms = self.members.values().map(|seen| seen.memory.hard.term.0).max().unwrap_or(0);
        let members = self.members.keys().next_back().map_or(1, |id| id.0);
        let lines: Vec<String> = self.lines.iter().map(|line| format!("    [{line}]")).collect();
        format!(
            "---- MODULE Run ----\nEXTENDS Integers\nRunMembers == 1..{members}\nRunFounders == {}\nRunTermMax == {}\n\
             RunIndexMax == {}\nRunPreVotes == {}\nRunConfigurations == <<\n{}\n>>\nRunLines == <<\n{}\n>>\n====\n",
            set(&self.founders),
            terms.max(highest(|id| id.term.0)) + 1,
            highest(|id| id.index.0) + 1,
            if self.pre_vote { "TRUE" } else { "FALSE" },
            self.configurations.join(",\n"),
            lines.join(",\n")
        )
    }

    /// Appends an entry to a log, after truncating the log from the index of the entry.
    fn append(&mut self, log: &mut Vec<EntryId>, entry: &Entry) {
        log.truncate(entry.id.index.0 as usize - 1);
        let before = log.last().copied().unwrap_or_default();
        let place = match &entry.payload {
            Payload::Configuration(configuration) => self.place_of(&Arc::clone(configuration)),
            Payload::Noop | Payload::Normal(_) | Payload::Barrier => 0,
        };
        self.known.entry(entry.id).or_insert((before, place));
        log.push(entry.id);
    }

    /// IDs of all entries up to and including `last`.
    fn chain(&self, last: EntryId) -> Vec<EntryId> {
        let mut log = Vec::with_capacity(last.index.0 as usize);
        let mut at = last;
        while at.index > Index(0) {
            log.push(at);
            at = self.known.get(&at).map_or(EntryId::default(), |(before, _)| *before);
        }
        log.reverse();
        log
    }

    /// Position of a configuration in the list, counted from 1. Adds the configuration if the list lacks it.
    fn place_of(&mut self, configuration: &Configuration) -> usize {
        let element = format!(
            "    [voters |-> {}, outgoing |-> {}, learners |-> {}, next |-> {}, removed |-> {}]",
            set(&configuration.voters),
            set(&configuration.outgoing),
            set(&configuration.learners),
            set(&configuration.learners_next),
            set(&configuration.removed)
        );
        let place = self.configurations.iter().position(|known| *known == element);
        place.unwrap_or_else(|| {
            self.configurations.push(element);
            self.configurations.len() - 1
        }) + 1
    }

    fn disk_line(&self, kind: &str, id: MemberId, seen: &Seen, hard: HardState, log: &[EntryId]) -> String {
        let difference = self.difference(&seen.disk_log, log);
        format!("kind |-> \"{kind}\", member |-> {}, {}, {difference}", id.0, of_hard_state(hard))
    }

    /// Returns the difference between two logs as text.
    fn difference(&self, before: &[EntryId], after: &[EntryId]) -> String {
        let kept = before.iter().zip(after).take_while(|(one, other)| one == other).count();
        let element = |id: &EntryId| format!("<<{}, {}>>", id.term, self.known.get(id).map_or(0, |(_, place)| *place));
        let added: Vec<String> = after[kept..].iter().map(element).collect();
        format!("kept |-> {kept}, added |-> <<{}>>", added.join(", "))
    }
}

impl Seen {
    /// Returns the line of a message; `None` if the specification ignores the message, or if the message is already
    /// recorded.
    fn says(&mut self, id: MemberId, to: MemberId, message: &Message) -> Option<String> {
        let term = message.term;
        let what = match &message.body {
            Body::Vote { last, .. } => format!("\"ask\", last |-> {}", of_entry(*last)),
            Body::VoteReply { granted: true } => format!("\"grant\", to |-> {}", to.0),
            Body::PreVote { last } => format!("\"preAsk\", last |-> {}", of_entry(*last)),
            Body::PreVoteReply { granted: true } => format!("\"preGrant\", to |-> {}", to.0),
            Body::TimeoutNow { last } => format!("\"handOver\", to |-> {}, last |-> {}", to.0, of_entry(*last)),
            Body::AppendReply(AppendReply::Accepted { matched, .. }) if (term, *matched) > self.acknowledged => {
                self.acknowledged = (term, *matched);
                format!("\"acknowledge\", matched |-> {matched}")
            }
            _ => return None,
        };
        let line = format!("kind |-> \"sent\", member |-> {}, term |-> {term}, what |-> {what}", id.0);
        self.said.insert(line.clone()).then_some(line)
    }
}

/// Returns the ID of the last entry that a start would find. A log that does not connect to the snapshot is ignored.
fn last_after_start(contents: &Contents) -> EntryId {
    let snapshot = contents.snapshot.last;
    let follows = contents.log.front().is_some_and(|first| first.id.index == snapshot.index.next());
    let leads_through = contents.log.iter().any(|entry| entry.id == snapshot);
    if follows || leads_through { contents.last() } else { snapshot }
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Follower | Role::Learner => "follower",
        Role::PreCandidate => "preCandidate",
        Role::Candidate => "candidate",
        Role::Leader => "leader",
    }
}

fn of_hard_state(hard: HardState) -> String {
    format!("term |-> {}, vote |-> {}", hard.term, hard.vote.map_or(0, |vote| vote.0))
}

fn of_entry(id: EntryId) -> String {
    format!("<<{}, {}>>", id.term, id.index)
}

fn set(members: &BTreeSet<MemberId>) -> String {
    let mut text = String::from("{");
    for (place, id) in members.iter().enumerate() {
        let comma = if place > 0 { ", " } else { "" };
        write!(text, "{comma}{}", id.0).expect("writing to a string does not fail");
    }
    text.push('}');
    text
}
