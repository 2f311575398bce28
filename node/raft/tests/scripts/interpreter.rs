//! The interpreter of scripts: cores with their disks and clocks, and the messages between the cores. Only commands
//! advance time, writes and messages. Owns the effects of commands. Does not own the wording of outputs (`words.rs`).
//! Safety is checked after every output.
//!
//! | Before the start | |
//! |---|---|
//! | `members 1 2 3 learners 4` | members that were bootstrapped together |
//! | `with pre_vote=off max_append_entries=2` | limits and timeouts of every member named so far |
//! | `member 2 lease_reads=on` | the same for one member |
//! | `log 2: 1 1 4` | the terms of a log that is on disk already |
//! | `hard 2: term 5 vote 1` | term and vote that are on disk already |
//! | `start` | every stopped member starts, and two seconds pass; `start 2`: only 2 starts, and no time passes |
//! | `blank 4` | a member with an empty volume starts |
//!
//! | Time | |
//! |---|---|
//! | `silence 2` | the election timeout of 2 passes without a message from a leader; no other member is ticked |
//! | `elect 1` | `silence 1`, then `settle`; prints only the resulting role of 1 |
//! | `beat 1` | time passes until the leader's next heartbeat is due |
//! | `pass 500` | all clocks advance by 500 ms; no member is ticked |
//! | `jump 1 60000` | 1's wall clock is set 60,000 ms ahead of its monotonic clock |
//! | `tick 1` | 1 is ticked |
//!
//! | Network and disks | |
//! |---|---|
//! | `deliver`, `deliver 1>2`, `deliver 1>`, `deliver >2` | messages in flight arrive, in order |
//! | `drop 1>2`, `double 1>2` | messages in flight are lost, or duplicated |
//! | `cut 1`, `cut 1 2`, `heal` | links are cut in both directions, or all restored |
//! | `persist`, `persist 2` | all writes, or the writes of one member, become durable |
//! | `crash 2` | 2 stops, and its unsynced writes are lost |
//! | `settle` | writes finish and messages arrive until none is left; only roles and applied entries are printed |
//!
//! | Requests | |
//! |---|---|
//! | `propose 1 x y`, `barrier 1` | proposes commands, or a barrier |
//! | `change 1 voters 1 2 4 learners 5` | requests a configuration that replaces the one in force |
//! | `transfer 1 to 2`, `transfer 1` | requests a leadership transfer |
//! | `prefer 2 3` | sets the preferred leaders on every running member |
//! | `space 2 below` | sets the space on the volume of 2: `above`, `below` or `exhausted` |
//! | `read 2` | requests a linearizable read; reads are numbered 1, 2, … in order |
//! | `snapshot 1`, `snapshot 1 at 4` | takes a snapshot of the applied state, and purges the log before it |
//! | `logs`, `status` | prints the durable logs, or the state of all members |
//! | `quietly …` | runs the command without printing messages and writes |

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use raft::{
    Body, Config, Entry, HardState, Index, IoId, MemberId, Message, Now, Output, Payload, Persist, ProposalId, Raft,
    ReadContext, RemovalVerdict, Role, SnapshotMeta, Term,
};
use world::disk::Disk;

use crate::network::member::{Member, fresh_disk, state_of};
use crate::network::safety::Safety;
use crate::network::{change_to, configuration, entry, id};
use crate::words;

#[path = "limits.rs"]
mod limits;
#[path = "renderings.rs"]
mod renderings;

/// A message in flight.
#[derive(Clone, Debug)]
struct Envelope {
    from: MemberId,
    to: MemberId,
    message: Message,
    /// The snapshot that accompanies an InstallSnapshot message.
    snapshot: Option<Bytes>,
}

/// The cluster of a script.
#[derive(Debug, Default)]
pub(crate) struct Interpreter {
    members: BTreeMap<MemberId, Member>,
    /// Each member's monotonic clock, in ms.
    clocks: BTreeMap<MemberId, u64>,
    /// Milliseconds by which each wall clock is ahead of the monotonic clock.
    jumps: BTreeMap<MemberId, u64>,
    wire: Vec<Envelope>,
    cuts: BTreeSet<(MemberId, MemberId)>,
    safety: Safety,
    contents: BTreeMap<ProposalId, String>,
    reads: u64,
    said: Vec<String>,
    is_quiet: bool,
}

type Outcome = Result<(), String>;

/// Time in ms for which `start` advances the clocks, so that no member still respects the lease of an earlier leader.
const LONG_AGO_MS: u64 = 2_000;
/// Maximum number of rounds of `settle`.
const ROUNDS_MAX: usize = 1_000;

impl Interpreter {
    /// Carries out a command and returns the lines that it prints.
    pub(crate) fn act(&mut self, command: &str) -> Result<Vec<String>, String> {
        let mut words: Vec<&str> = command.split_whitespace().collect();
        self.is_quiet = words.first() == Some(&"quietly");
        if self.is_quiet {
            words.remove(0);
        }
        let (verb, rest) = words.split_first().ok_or("no command")?;
        let known = self.prepare(verb, rest)
            || self.pass_time(verb, rest)?
            || self.move_bytes(verb, rest)?
            || self.request(verb, rest)?
            || self.show(verb);
        if known { Ok(std::mem::take(&mut self.said)) } else { Err("no such command".into()) }
    }

    fn prepare(&mut self, verb: &str, rest: &[&str]) -> bool {
        match verb {
            "members" => {
                let (voters, learners) = two_lists(rest, "learners");
                let snapshot = SnapshotMeta {
                    configuration: Arc::new(configuration(&voters, &learners)),
                    ..SnapshotMeta::default()
                };
                for number in voters.into_iter().chain(learners) {
                    self.add(number, fresh_disk(number, snapshot.clone()));
                }
            }
            "with" => self.members.values_mut().for_each(|member| limits::set(&mut member.config, rest)),
            "member" => limits::set(&mut self.member(number(rest[0])).config, &rest[1..]),
            "log" => {
                let terms: Vec<u64> = rest[1..].iter().map(|term| number(term)).collect();
                let disk = &mut self.member(number(rest[0])).disk;
                let entries = (1..).zip(&terms).map(|(index, term)| entry(*term, index)).collect();
                let held = disk.durable().hard_state;
                let term = Term(terms.last().copied().unwrap_or(0)).max(held.term);
                put(disk, HardState { term, ..held }, entries);
            }
            "hard" => {
                let value = |name: &str| rest.iter().position(|word| *word == name).map(|at| number(rest[at + 1]));
                let hard_state = HardState { term: Term(value("term").expect("a term")), vote: value("vote").map(id) };
                put(&mut self.member(number(rest[0])).disk, hard_state, Vec::new());
            }
            "start" => {
                let named = numbers(rest);
                let wanted = |member: &Member| named.is_empty() || named.contains(&member.id.0);
                let down = self.members.values().filter(|member| member.raft.is_none() && wanted(member));
                let down: Vec<MemberId> =
                    down.filter(|member| member.removed.is_none()).map(|member| member.id).collect();
                down.into_iter().for_each(|member| self.start(member));
                if named.is_empty() {
                    self.clocks.values_mut().for_each(|clock| *clock += LONG_AGO_MS);
                }
            }
            "blank" => {
                let number = number(rest[0]);
                self.add(number, fresh_disk(number, SnapshotMeta::default()));
                self.start(id(number));
            }
            _ => return false,
        }
        true
    }

    fn pass_time(&mut self, verb: &str, rest: &[&str]) -> Result<bool, String> {
        match verb {
            "silence" | "beat" => {
                let member = id(number(rest[0]));
                let is_leader = self.raft(member)?.soft_state().role == Role::Leader;
                if is_leader != (verb == "beat") {
                    return Err("beat needs a leader, and silence needs another role".into());
                }
                let deadline = self.raft(member)?.deadline();
                if deadline == Duration::MAX {
                    return Err("the member has no deadline".into());
                }
                let deadline_ms = deadline.as_nanos().div_ceil(1_000_000) as u64;
                let clock = self.clocks.entry(member).or_default();
                *clock = deadline_ms.max(*clock);
                self.with(member, Raft::tick)?;
            }
            "elect" => {
                self.pass_time("silence", rest)?;
                self.settle()?;
                let state = self.raft(id(number(rest[0])))?.soft_state();
                self.said = vec![format!("{} {}", rest[0], words::soft(&state))];
            }
            "pass" => self.clocks.values_mut().for_each(|clock| *clock += number(rest[0])),
            "jump" => {
                self.jumps.insert(id(number(rest[0])), number(rest[1]));
            }
            "tick" => self.with(id(number(rest[0])), Raft::tick)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn move_bytes(&mut self, verb: &str, rest: &[&str]) -> Result<bool, String> {
        match verb {
            "deliver" => self.take(rest)?.into_iter().try_for_each(|envelope| self.deliver(envelope))?,
            "drop" => self.take(rest)?.into_iter().try_for_each(|envelope| self.lose(envelope))?,
            "double" => {
                let copies = self.take(rest)?;
                self.wire.extend(copies.iter().flat_map(|envelope| [envelope.clone(), envelope.clone()]));
            }
            "cut" => {
                let named: Vec<MemberId> = numbers(rest).into_iter().map(id).collect();
                let others: Vec<MemberId> = match named.get(1) {
                    Some(other) => vec![*other],
                    None => self.members.keys().copied().collect(),
                };
                self.cuts.extend(others.iter().flat_map(|other| [(named[0], *other), (*other, named[0])]));
            }
            "heal" => self.cuts.clear(),
            "persist" => {
                let named = numbers(rest);
                let everyone: Vec<MemberId> = self.members.keys().copied().collect();
                for member in everyone.into_iter().filter(|member| named.is_empty() || named.contains(&member.0)) {
                    self.persist(member)?;
                }
            }
            "crash" => self.member(number(rest[0])).crash(),
            "settle" => self.settle()?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn request(&mut self, verb: &str, rest: &[&str]) -> Result<bool, String> {
        let Some(at) = rest.first().and_then(|word| word.parse().ok()).map(id) else { return Ok(false) };
        match verb {
            "propose" => {
                let proposals = rest[1..].iter().map(|content| self.proposal(content)).collect();
                self.ask(at, |raft, now| raft.propose(now, proposals).map_err(|why| why.to_string()))?;
            }
            "barrier" => {
                let (name, _) = self.proposal("barrier");
                self.ask(at, |raft, now| {
                    raft.propose(now, vec![(name, Payload::Barrier)]).map_err(|why| why.to_string())
                })?;
            }
            "change" => {
                let (voters, learners) = two_lists(&rest[2..], "learners");
                let wanted = change_to(self.raft(at)?.configuration().1, &voters, &learners);
                self.ask(at, |raft, now| raft.change(now, wanted).map_err(|why| why.to_string()).map(drop))?;
            }
            "transfer" => {
                let target = rest.get(2).map(|word| id(number(word)));
                self.ask(at, |raft, now| raft.transfer(now, target).map_err(|why| why.to_string()).map(drop))?;
            }
            "prefer" => {
                let preferred = numbers(rest).into_iter().map(id).collect::<BTreeSet<_>>();
                let running: Vec<MemberId> =
                    self.members.keys().copied().filter(|member| self.raft(*member).is_ok()).collect();
                for member in running {
                    self.with(member, |raft, now| raft.prefer(now, preferred.clone()))?;
                }
            }
            "space" => {
                let standing = words::standing(rest[1]).ok_or("no such standing")?;
                self.with(at, |raft, now| raft.set_standing(now, standing))?;
            }
            "read" => {
                self.reads += 1;
                let context = ReadContext(self.reads);
                self.safety.reads.insert(context, self.safety.commit);
                self.with(at, |raft, now| raft.read(now, context))?;
            }
            "snapshot" => {
                let applied = self.member(at.0).applied;
                let index = rest.get(2).map_or(applied, |word| Index(number(word)));
                self.member(at.0).snapshot(index);
                self.drain(at);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn proposal(&mut self, content: &str) -> (ProposalId, Payload) {
        let name = ProposalId(self.contents.len() as u64 + 1);
        self.contents.insert(name, content.to_owned());
        self.safety.proposals.insert(name, content.as_bytes().to_vec());
        (name, Payload::Normal(content.as_bytes().to_vec().into()))
    }

    fn show(&mut self, verb: &str) -> bool {
        match verb {
            "logs" => self.said.extend(renderings::logs(&self.members)),
            "status" => self.said.extend(renderings::status(&self.members)),
            _ => return false,
        }
        true
    }

    fn add(&mut self, number: u64, disk: Disk) {
        // Each member has its own seed, which is the same in every run.
        self.members.insert(id(number), Member::new(Config::new(id(number), number), disk));
        self.clocks.insert(id(number), 10_000);
    }

    fn start(&mut self, at: MemberId) {
        let now = self.now(at);
        let member = self.member(at.0);
        member.start(now);
        self.drain(at);
    }

    fn member(&mut self, number: u64) -> &mut Member {
        self.members.get_mut(&id(number)).expect("a member of that number")
    }

    /// The other voters answer at once. A verification that they do not decide has no answer.
    fn verify_removal(&mut self, at: MemberId) {
        let Ok(own) = self.raft(at).map(|raft| raft.configuration().0.clone()) else { return };
        let others = own.voters.union(&own.outgoing).filter(|id| **id != at);
        let mut said = others.filter_map(|id| self.raft(*id).ok()).map(|raft| {
            let (configuration, index) = raft.committed_configuration();
            RemovalVerdict::of(at, configuration, index)
        });
        let removed = said.find(|verdict| matches!(verdict, RemovalVerdict::Removed { .. }));
        let now = self.now(at);
        if let (Some(verdict), Some(raft)) = (removed, self.member(at.0).raft.as_mut()) {
            raft.removal_verified(now, verdict);
        }
    }

    fn raft(&self, at: MemberId) -> Result<&Raft, String> {
        self.members.get(&at).and_then(|member| member.raft.as_ref()).ok_or(format!("{at} does not run"))
    }

    fn now(&self, at: MemberId) -> Now {
        let clock = self.clocks[&at];
        Now {
            monotonic: Duration::from_millis(clock),
            wall_ms: 1_000_000 + clock + self.jumps.get(&at).copied().unwrap_or(0),
        }
    }

    /// Passes an input to a member's core and carries out the outputs of the core.
    fn with<T>(&mut self, at: MemberId, act: impl FnOnce(&mut Raft, Now) -> T) -> Result<T, String> {
        let now = self.now(at);
        let raft = self.members.get_mut(&at).and_then(|member| member.raft.as_mut());
        let outcome = act(raft.ok_or(format!("{at} does not run"))?, now);
        self.drain(at);
        Ok(outcome)
    }

    /// Makes a request at a member. Prints the refusal if the request is refused.
    fn ask(&mut self, at: MemberId, act: impl FnOnce(&mut Raft, Now) -> Outcome) -> Outcome {
        let now = self.now(at);
        let raft = self.members.get_mut(&at).and_then(|member| member.raft.as_mut());
        if let Err(why) = act(raft.ok_or(format!("{at} does not run"))?, now) {
            self.said.push(format!("{at} refuses: {why}"));
        }
        self.drain(at);
        Ok(())
    }

    /// Removes from the network the messages that a command selects, and returns them.
    fn take(&mut self, rest: &[&str]) -> Result<Vec<Envelope>, String> {
        let (from, to) = match rest {
            [] => (None, None),
            [link] => {
                let (from, to) = link.split_once('>').ok_or("a link is written 1>2")?;
                (from.parse().ok().map(id), to.parse().ok().map(id))
            }
            _ => return Err("one link at most".into()),
        };
        let meant = |envelope: &Envelope| {
            from.is_none_or(|from| from == envelope.from) && to.is_none_or(|to| to == envelope.to)
        };
        let (taken, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.wire).into_iter().partition(meant);
        self.wire = kept;
        if taken.is_empty() { Err("no message is on that link".into()) } else { Ok(taken) }
    }

    fn deliver(&mut self, envelope: Envelope) -> Outcome {
        let Envelope { from, to, message, snapshot } = envelope;
        if self.raft(to).is_err() {
            return Ok(());
        }
        if let (Body::InstallSnapshot(meta), Some(image)) = (&message.body, snapshot) {
            self.member(to.0).received.push((from, meta.clone(), state_of(&image)));
            self.with(to, |raft, now| raft.step(now, from, message))?;
            return self.with(from, |raft, now| raft.snapshot_sent(now, to, Ok(())));
        }
        self.with(to, |raft, now| raft.step(now, from, message))
    }

    fn lose(&mut self, envelope: Envelope) -> Outcome {
        let Envelope { from, to, snapshot, .. } = envelope;
        match snapshot {
            Some(_) => self.with(from, |raft, now| raft.snapshot_sent(now, to, Err(()))),
            None => Ok(()),
        }
    }

    fn persist(&mut self, at: MemberId) -> Outcome {
        let member = self.member(at.0);
        member.begin_sync(0);
        match member.finish_sync(u64::MAX) {
            Some(io) => self.with(at, |raft, now| raft.persisted(now, io)),
            None => Ok(()),
        }
    }

    fn settle(&mut self) -> Outcome {
        self.is_quiet = true;
        for _ in 0..ROUNDS_MAX {
            let everyone: Vec<MemberId> = self.members.keys().copied().collect();
            let writes = self.members.values().any(|member| !member.disk.is_synced());
            if self.wire.is_empty() && !writes {
                return Ok(());
            }
            everyone.into_iter().try_for_each(|member| self.persist(member))?;
            std::mem::take(&mut self.wire).into_iter().try_for_each(|envelope| self.deliver(envelope))?;
        }
        Err("the cluster does not settle".into())
    }

    /// Carries out a core's outputs. Committed entries are applied immediately.
    fn drain(&mut self, at: MemberId) {
        loop {
            let now = self.now(at);
            let Some(raft) = self.member(at.0).raft.as_mut() else { return };
            let Some(output) = raft.next_output() else {
                let commit = raft.commit();
                self.safety.commit = self.safety.commit.max(commit);
                let member = self.member(at.0);
                if !member.apply() {
                    return;
                }
                let applied = member.applied;
                if let Some(raft) = &mut member.raft {
                    raft.applied(now, applied);
                }
                continue;
            };
            self.print(at, &output);
            self.perform(at, output);
        }
    }

    fn print(&mut self, at: MemberId, output: &Output) {
        let is_detail = matches!(output, Output::Persist(_) | Output::InstallSnapshot { .. });
        if self.is_quiet && is_detail {
            return;
        }
        self.said.extend(words::output(at, output));
    }

    fn perform(&mut self, at: MemberId, output: Output) {
        match output {
            Output::Persist(persist) => self.member(at.0).disk.write(persist),
            Output::Send { to, message } => self.send(Envelope { from: at, to, message, snapshot: None }),
            Output::SendSnapshot { to, term, at_least } => {
                let durable = self.member(at.0).disk.durable();
                let (snapshot, image) = (durable.snapshot.clone(), durable.image.clone());
                assert!(snapshot.last.index >= at_least, "the newest snapshot helps");
                let message = Message { term, body: Body::InstallSnapshot(snapshot) };
                self.send(Envelope { from: at, to, message, snapshot: Some(image) });
            }
            Output::InstallSnapshot { io, from, hard_state, meta } => {
                self.member(at.0).install(io, from, hard_state, meta);
            }
            Output::DiscardSnapshot { from, last } => {
                let received = &mut self.member(at.0).received;
                received.retain(|(sender, meta, _)| *sender != from || meta.last != last);
            }
            Output::Apply(entries) => {
                self.safety.applies(&entries);
                self.member(at.0).pending_apply.extend(entries);
            }
            Output::ApplyStored { first, last } => {
                let entries = self.member(at.0).read_log(first, last, usize::MAX);
                self.safety.applies(&entries);
                self.member(at.0).pending_apply.extend(entries);
            }
            Output::ReadLog { to, from, through, bytes } => {
                let now = self.now(at);
                let member = self.member(at.0);
                let entries = member.read_log(from, through, bytes);
                if let Some(raft) = &mut member.raft {
                    raft.log_read(now, to, from, Ok(entries));
                }
            }
            Output::ReadReady { context, index } => self.safety.reads_at(context, index),
            Output::Dropped { proposal, reason } => {
                self.safety.drops(proposal);
                self.said.push(format!("{at} drops {}: {}", self.contents[&proposal], words::drop_reason(reason)));
            }
            Output::Changed(state) if state.role == Role::Leader => self.safety.leads(at, state.term),
            Output::VerifyRemoval => self.verify_removal(at),
            Output::Removed { index } => {
                self.member(at.0).removed = Some(index);
                self.member(at.0).crash();
            }
            Output::ReadFailed { .. } | Output::SnapshotDue { .. } | Output::Changed(_) => {}
        }
    }

    fn send(&mut self, envelope: Envelope) {
        let Envelope { from, to, message, .. } = &envelope;
        if let Body::VoteReply { granted: true } = message.body {
            self.safety.votes(*from, message.term, *to);
        }
        let is_lost = self.cuts.contains(&(*from, *to));
        if !self.is_quiet {
            let end = if is_lost { " (lost)" } else { "" };
            self.said.push(format!("{}{end}", words::message(*from, *to, message)));
        }
        if !is_lost {
            self.wire.push(envelope);
        }
    }
}

/// Writes term, vote and entries to a disk; they are durable immediately.
fn put(disk: &mut Disk, hard_state: HardState, entries: Vec<Entry>) {
    disk.write(Persist { io: IoId(0), hard_state: Some(hard_state), entries });
    disk.begin_sync();
    disk.finish_sync();
}

fn number(word: &str) -> u64 {
    word.trim_end_matches(':').parse().unwrap_or_else(|_| panic!("{word}: not a number"))
}

fn numbers(words: &[&str]) -> Vec<u64> {
    words.iter().map(|word| number(word)).collect()
}

/// Parses two lists with the word `between` between them, such as `1 2 3 learners 4`.
fn two_lists(words: &[&str], between: &str) -> (Vec<u64>, Vec<u64>) {
    let place = words.iter().position(|word| *word == between).unwrap_or(words.len());
    (numbers(&words[..place]), numbers(words.get(place + 1..).unwrap_or_default()))
}
