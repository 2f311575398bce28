//! What a member is, and what only that role holds. Owns the roles and the way between them; elections decide who walks it.
//!
//! ```text
//!                    silence                 a majority would          a majority did
//!   Follower ──────────────────▶ PreCandidate ───────────────▶ Candidate ───────────────▶ Leader
//!      ▲                              │                            │                        │
//!      └──────────────────────────────┴────────────────────────────┴────────────────────────┘
//!                      a leader, a newer term, too many refusals, or no quorum
//! ```

use std::collections::BTreeMap;

use crate::ids::MemberId;
use crate::role::leader::Leader;

pub(crate) mod candidate;
pub(crate) mod follower;
pub(crate) mod leader;

/// Who said what.
pub(crate) type Ballot = BTreeMap<MemberId, bool>;

/// What a member is at the moment. A learner is a follower that may not campaign.
#[derive(Clone, Debug)]
pub(crate) enum Standing {
    /// Follows, or waits.
    Follower,
    /// Asks whether a campaign could succeed.
    PreCandidate(Ballot),
    /// Campaigns. Its own voice joins the ballot when its vote is durable.
    Candidate(Ballot),
    /// Leads.
    Leader(Box<Leader>),
}
