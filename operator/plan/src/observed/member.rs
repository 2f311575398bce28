//! What members say: of themselves, of the configuration, of a restore. Plain types; how they travel is the shell's.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::Timestamp;

use crate::ids::{ClusterId, MemberId};
use crate::names;

/// What came of asking one member to describe itself.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// It answered.
    Said(Box<Report>),
    /// It did not, or there is nobody to ask.
    Silent {
        /// Since when; the earliest time that the asker can vouch for.
        since: Timestamp,
        /// What went wrong, for people.
        error: String,
    },
}

/// What a member said of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Its ID; a member of another cluster does not tell.
    pub id: Option<MemberId>,
    /// How far it is.
    pub phase: Phase,
    /// Its cluster; none while blank.
    pub cluster: Option<ClusterId>,
    /// What it does.
    pub role: Role,
    /// Who leads, as far as it knows.
    pub leader: Option<MemberId>,
    /// Its term.
    pub term: u64,
    /// Its commit index.
    pub commit: u64,
    /// Its log's last index.
    pub last: u64,
    /// The configuration in force there; neither linearizable nor necessarily committed.
    pub configuration: Option<Configuration>,
    /// Leader only: what it knows of the others.
    pub progress: BTreeMap<MemberId, Progress>,
    /// Version of its program.
    pub version: String,
    /// Why a restore failed, or what damage was found.
    pub error: Option<String>,
    /// How far a restore is.
    pub restore: Option<RestoreProgress>,
}

/// How far a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Empty volume: an ID, no cluster.
    Blank,
    /// A restore fills the volume.
    Restoring,
    /// Part of a cluster, or told to wait for one.
    Member,
    /// Removed by a committed configuration.
    Removed,
    /// Its disk holds damage that a restart does not mend.
    Damaged,
}

/// What a member does in the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Not said.
    Unknown,
    /// Votes and follows.
    Follower,
    /// Follows without a vote.
    Learner,
    /// Asks whether it could win.
    PreCandidate,
    /// Stands for election.
    Candidate,
    /// Orders all writes.
    Leader,
    /// Hands leadership over if it leads, and stops.
    ShuttingDown,
}

impl Report {
    /// Whether it says that it leads; while it shuts down it may lead for a moment more.
    #[must_use]
    pub fn says_to_lead(&self) -> bool {
        self.role == Role::Leader || (self.role == Role::ShuttingDown && self.id.is_some() && self.leader == self.id)
    }
}

/// What a leader knows of another member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Highest index known to be on its disk.
    pub matched: u64,
    /// Heard from within an election timeout.
    pub active: bool,
    /// Waits for a snapshot to arrive.
    pub snapshotting: bool,
}

/// How far a restore is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestoreProgress {
    /// Bytes on the volume.
    pub bytes_done: u64,
    /// Bytes of the backup; 0 while unknown.
    pub bytes_total: u64,
    /// Why it stopped, in a word that conditions know; empty while it runs.
    pub cause: String,
}

/// Name and addresses of a member, as replicated with the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberInfo {
    /// Such as `demo-1`.
    pub name: String,
    /// Where members reach it.
    pub peer_url: String,
    /// Where clients reach it.
    pub client_url: String,
}

/// Who takes part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    /// Index of its log entry: what changes are compare-and-swapped on.
    pub index: u64,
    /// Who votes; while joint, the incoming half.
    pub voters: BTreeSet<MemberId>,
    /// The outgoing half while joint; empty otherwise.
    pub outgoing: BTreeSet<MemberId>,
    /// Who follows without a vote.
    pub learners: BTreeSet<MemberId>,
    /// Voters of the outgoing half that become learners.
    pub learners_next: BTreeSet<MemberId>,
    /// Name and addresses of everyone.
    pub members: BTreeMap<MemberId, MemberInfo>,
    /// Who took part once; an ID never returns.
    pub removed: BTreeSet<MemberId>,
}

impl Configuration {
    /// Whether both halves must agree at the moment.
    #[must_use]
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty() || !self.learners_next.is_empty()
    }

    /// Whether `id` has a vote in either half.
    #[must_use]
    pub fn is_voter(&self, id: MemberId) -> bool {
        self.voters.contains(&id) || self.outgoing.contains(&id)
    }

    /// The role by which Services and the disruption budget select the pod of `id`.
    #[must_use]
    pub fn role(&self, id: MemberId) -> names::Role {
        if self.is_voter(id) { names::Role::Voter } else { names::Role::Learner }
    }

    /// Whether `id` takes part in any way.
    #[must_use]
    pub fn contains(&self, id: MemberId) -> bool {
        self.is_voter(id) || self.learners.contains(&id) || self.learners_next.contains(&id)
    }

    /// Everyone who takes part in any way.
    #[must_use]
    pub fn everyone(&self) -> BTreeSet<MemberId> {
        [&self.voters, &self.outgoing, &self.learners, &self.learners_next].into_iter().flatten().copied().collect()
    }

    /// Whether `id` took part, does no more and never will again: the only safe ground for deleting what it left.
    #[must_use]
    pub fn is_gone_for_good(&self, id: MemberId) -> bool {
        self.removed.contains(&id) && !self.contains(id)
    }
}
