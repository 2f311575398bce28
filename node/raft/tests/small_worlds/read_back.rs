//! Reads of entries that are no longer in memory. Owns the pending reads and their answers. Does not own the disk
//! (`disk.rs`) or what the core does with an answer.
//!
//! A read may be carried out at once and answered late, or carried out late: what the disk held at either time may be the
//! answer. Reads of committed entries are answered at once, because no later event changes what they return.

use raft::{Entry, Index, MemberId, Output, Raft, Role};

use super::bounds::Bounds;
use super::state::{Event, World};

/// A read for another member that is not answered yet.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Reading {
    to: MemberId,
    from: Index,
    through: Index,
    /// What the disk held when the read was requested.
    entries: Vec<Entry>,
}

impl World {
    /// Carries out an output that reads entries from the disk. Other outputs have no effect here.
    pub(crate) fn read_back(&mut self, at: usize, output: &Output) -> Result<(), String> {
        match *output {
            Output::ApplyStored { first, last } => {
                let entries = self.members[at].disk.read(first, last);
                self.apply(at, &entries)
            }
            Output::ReadLog { to, from, through, .. } => {
                let member = self.member(at);
                let entries = member.disk.read(from, through);
                member.reads.push_back(Reading { to, from, through, entries });
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Adds the answers to the oldest read of a member. A read that is carried out late is an event of its own only if
    /// the disk has changed.
    pub(crate) fn add_reads(&self, at: usize, events: &mut Vec<Event>) {
        let member = &self.members[at];
        let Some(oldest) = member.reads.front() else { return };
        events.push(Event::AnswerRead { at, is_late: false });
        if member.disk.read(oldest.from, oldest.through) != oldest.entries {
            events.push(Event::AnswerRead { at, is_late: true });
        }
    }

    /// Answers the oldest read of a member.
    pub(crate) fn answer_read(&mut self, at: usize, is_late: bool) {
        let member = self.member(at);
        let now = member.now();
        let Some(Reading { to, from, through, entries }) = member.reads.pop_front() else { return };
        let entries = if is_late { member.disk.read(from, through) } else { entries };
        if let Some(raft) = &mut member.raft {
            raft.log_read(now, to, from, Ok(entries));
        }
        self.coverage.reads_back += 1;
    }

    /// Forgets the reads of a member that follows in the last term, because it never leads again. They would only make
    /// equal states differ.
    pub(crate) fn drop_reads(&mut self, bounds: &Bounds, at: usize) {
        let member = &self.members[at];
        let Some(state) = member.raft.as_ref().map(Raft::soft_state) else { return };
        let is_over = state.term.0 as usize >= bounds.terms && state.role == Role::Follower;
        if is_over && !member.reads.is_empty() {
            self.member(at).reads.clear();
        }
    }
}
