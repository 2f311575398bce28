//! Removal of members, as a driver learns of it. Owns forged notices, verifications and their answers, and the checks
//! of both. Does not own the other events (`state.rs`).
//!
//! A notice is a message that any process can send. A driver answers a verification with what one voter says, or with
//! nothing if it reaches none; the search chooses which, and when. Two rules are checked. A member stops for good only if
//! a committed configuration removed it. A member whose latest verification reached no voter does not campaign until
//! it reaches one or a leader counts on it. The second rule is kept here a second time, apart from the core.

use raft::{Body, Index, MemberId, Message, Raft, RemovalVerdict, Role, Term};

use super::bounds::{Bounds, Flaw};
use super::network::id;
use super::state::{Event, World};

/// Index in a forged notice. No log of a small world is as long, so no configuration refutes it.
const FORGED: Index = Index(9);

/// What a driver knows about the removal of its member. A crash loses it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Doubt {
    /// A verification was requested and is not answered.
    is_asked: bool,
    /// The latest verification reached no voter, and no leader counted on the member since.
    is_cut_off: bool,
    /// A leader counted on the member after the verification was requested, so its answer cuts nothing off.
    is_moot: bool,
}

impl World {
    /// Adds the answers to a verification, and the forged notices that are left.
    pub(crate) fn add_removal_events(&self, bounds: &Bounds, at: usize, events: &mut Vec<Event>) {
        let member = &self.members[at];
        if member.role() != Some(Role::Leader) && self.spent.forgeries < bounds.forgeries {
            events.push(Event::Forge(at));
        }
        if !member.removal.is_asked {
            return;
        }
        events.push(Event::Verify { at, voter: None });
        events.extend(self.other_voters(at).into_iter().map(|voter| Event::Verify { at, voter: Some(voter) }));
    }

    /// Delivers a forged notice.
    pub(crate) fn forge(&mut self, at: usize) {
        self.spent.forgeries += 1;
        let (from, member) = (id((at as u64 + 1) % 3 + 1), self.member(at));
        let now = member.now();
        if let Some(raft) = &mut member.raft {
            raft.step(now, from, Message { term: Term(0), body: Body::Removed { index: FORGED } });
        }
    }

    /// Records that a member asks for a verification. In worlds without forged notices, a voter that knows the removal
    /// answers at once.
    pub(crate) fn verification_is_due(&mut self, bounds: &Bounds, at: usize) {
        self.member(at).removal.is_asked = true;
        if bounds.flaw == Flaw::TrustsNotices {
            return self.answer_verification(at, RemovalVerdict::Removed { index: FORGED });
        }
        if bounds.forgeries > 0 {
            return;
        }
        let mut verdicts = self.other_voters(at).into_iter().map(|other| self.verdict_of(at, other));
        let removed = verdicts.find(|verdict| matches!(verdict, RemovalVerdict::Removed { .. }));
        if let Some(removed) = removed {
            self.answer_verification(at, removed);
        }
    }

    /// Answers a verification with what `voter` says, or with nothing.
    pub(crate) fn verify(&mut self, at: usize, voter: Option<usize>) {
        let verdict = voter.map_or(RemovalVerdict::Unreached, |voter| self.verdict_of(at, voter));
        self.answer_verification(at, verdict);
    }

    /// Checks, when a member stops for good, that a committed configuration removed it.
    pub(crate) fn is_removed(&mut self, at: usize) -> Result<(), String> {
        let removed = self.members[at].id();
        self.history.removes(removed)?;
        self.coverage.removals += 1;
        self.member(at).raft = None;
        Ok(())
    }

    /// Checks that a member that is cut off does not campaign.
    pub(crate) fn stays_quiet(&self, at: usize) -> Result<(), String> {
        let member = &self.members[at];
        let campaigns = matches!(member.role(), Some(Role::PreCandidate | Role::Candidate));
        if !campaigns || !member.removal.is_cut_off {
            return Ok(());
        }
        Err(format!("{} campaigns, although it may be removed and reaches no voter", member.id()))
    }

    /// Ends the doubt of a member that accepted this message of its leader.
    pub(crate) fn note_trust(&mut self, at: usize, from: MemberId, message: &Message) {
        let is_from_leader =
            matches!(message.body, Body::Append(_) | Body::Heartbeat { .. } | Body::InstallSnapshot(_));
        let member = self.member(at);
        let Some(state) = member.raft.as_ref().map(Raft::soft_state) else { return };
        if is_from_leader && state.leader == Some(from) && state.term == message.term {
            member.removal.is_cut_off = false;
            member.removal.is_moot = member.removal.is_asked;
        }
    }

    fn answer_verification(&mut self, at: usize, verdict: RemovalVerdict) {
        let is_cut_off = verdict == RemovalVerdict::Unreached && !self.members[at].removal.is_moot;
        self.coverage.cut_off += usize::from(is_cut_off);
        self.coverage.contained += usize::from(matches!(verdict, RemovalVerdict::Contained { .. }));
        let member = self.member(at);
        member.removal = Doubt { is_asked: false, is_cut_off, is_moot: false };
        let now = member.now();
        if let Some(raft) = &mut member.raft {
            raft.removal_verified(now, verdict);
        }
    }

    /// Returns the other voters of the configuration in force at a member.
    fn other_voters(&self, at: usize) -> Vec<usize> {
        let Some(raft) = &self.members[at].raft else { return Vec::new() };
        let own = raft.configuration().0;
        (0..self.members.len()).filter(|other| *other != at && own.is_voter(id(*other as u64 + 1))).collect()
    }

    fn verdict_of(&self, at: usize, voter: usize) -> RemovalVerdict {
        let Some(raft) = &self.members[voter].raft else { return RemovalVerdict::Unreached };
        let (configuration, index) = raft.committed_configuration();
        RemovalVerdict::of(self.members[at].id(), configuration, index)
    }
}
