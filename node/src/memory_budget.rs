//! The memory that a member may use, divided among its parts. Owns the parts, their usual and their smallest sizes, and how
//! they follow from the limit of the container. Does not own the limit itself (`memory_limit.rs`) or the parts, which
//! receive their share as a parameter.
//!
//! ```text
//! part                                        usual    smallest
//! store and answers: twice the quota        2 x quota   2 x 16   of a lowered quota
//! program, threads, buffers of fixed size        48        48
//! small requests                                 16         4
//! large requests                                 48         4
//! requests that wait for memory              2 x 16     2 x 2
//! decoded operations of large transactions       32         4
//! log in memory, entries not settled             64         8
//! messages from members                          64         8
//! messages to one member                         32         8
//! entries being applied                          16         4
//! entries read back from the log                  8         2     all in MiB
//! ```
//!
//! Commands share the memory of their requests, and the entries that are on their way to other members share that of the
//! log. Where no limit is known, or the limit leaves enough, the parts have their usual size. Otherwise what is left besides
//! the smallest sizes is shared among them in proportion.

use std::fmt;

const MIB: u64 = 1 << 20;
/// Memory that a member needs besides twice its quota, in bytes.
const BESIDES: u64 = 256 * MIB;
/// The quota is not lowered below this number of bytes.
const QUOTA_MIN: u64 = 16 * MIB;
/// Memory that no setting changes, in bytes: program, stacks, buffers for batches, frames and snapshots, and what strangers
/// may send to the port of members (10 MiB, `member/watched.rs`).
const FIXED: u64 = 48 * MIB;
/// Usual and smallest size of a part, in bytes.
struct Part {
    usual: u64,
    least: u64,
}

impl Part {
    const REQUESTS_SMALL: Self = Self::mib(16, 4);
    const REQUESTS_LARGE: Self = Self::mib(48, 4);
    const REQUESTS_WAITING: Self = Self::mib(16, 2);
    const OPERATIONS: Self = Self::mib(32, 4);
    const LOG: Self = Self::mib(64, 8);
    const MESSAGES: Self = Self::mib(64, 8);
    const LANE: Self = Self::mib(32, 8);
    const APPLYING: Self = Self::mib(16, 4);
    const READ_BACK: Self = Self::mib(8, 2);

    /// All parts that shrink together. Requests that wait count twice: small ones and large ones.
    const ALL: [Self; 10] = [
        Self::REQUESTS_SMALL,
        Self::REQUESTS_LARGE,
        Self::REQUESTS_WAITING,
        Self::REQUESTS_WAITING,
        Self::OPERATIONS,
        Self::LOG,
        Self::MESSAGES,
        Self::LANE,
        Self::APPLYING,
        Self::READ_BACK,
    ];

    const fn mib(usual: u64, least: u64) -> Self {
        Self { usual: usual * MIB, least: least * MIB }
    }

    /// Size of the part if all parts together get `available` bytes: its smallest size, and its share of what they leave.
    fn of(&self, available: u64) -> usize {
        let least: u64 = Self::ALL.iter().map(|part| part.least).sum();
        let more: u64 = Self::ALL.iter().map(|part| part.usual - part.least).sum();
        let left = u128::from(available.saturating_sub(least).min(more));
        let share = u128::from(self.usual - self.least) * left / u128::from(more);
        usize::try_from(u128::from(self.least) + share).unwrap_or(usize::MAX)
    }
}

/// Sizes of all parts, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryBudget {
    /// Limit of the container; `None` if there is none.
    pub limit: Option<u64>,
    /// Content of the store. Answers under way may keep as much alive that the store has dropped.
    pub quota: u64,
    /// Requests of at most 64 KiB.
    pub requests_small: usize,
    /// Larger requests.
    pub requests_large: usize,
    /// Requests that wait for memory, for each of the two.
    pub requests_waiting: usize,
    /// Decoded operations of large transactions.
    pub operations: usize,
    /// Entries in memory, with those that are not settled.
    pub log: usize,
    /// Messages from other members that wait for the core.
    pub messages: usize,
    /// Entries and commands that wait for the connection to one member.
    pub lane: usize,
    /// Entries that are being applied.
    pub applying: usize,
    /// Entries that are read back from the log for other members.
    pub read_back: usize,
}

impl MemoryBudget {
    /// Divides the memory below a limit of the container, in bytes. The quota is lowered to what fits: the limit less
    /// 256 MiB, divided by two, but at least 16 MiB. A member whose quota is full refuses writes, which a client can mend by
    /// a compaction. One that exceeds its limit is killed, and again after each restart.
    #[must_use]
    pub fn new(limit: Option<u64>, quota: u64) -> Self {
        let fitting = limit.map_or(u64::MAX, |limit| (limit.saturating_sub(BESIDES) / 2).max(QUOTA_MIN));
        let quota = quota.min(fitting);
        let left = limit.unwrap_or(u64::MAX).saturating_sub(quota.saturating_mul(2)).saturating_sub(FIXED);
        Self {
            limit,
            quota,
            requests_small: Part::REQUESTS_SMALL.of(left),
            requests_large: Part::REQUESTS_LARGE.of(left),
            requests_waiting: Part::REQUESTS_WAITING.of(left),
            operations: Part::OPERATIONS.of(left),
            log: Part::LOG.of(left),
            messages: Part::MESSAGES.of(left),
            lane: Part::LANE.of(left),
            applying: Part::APPLYING.of(left),
            read_back: Part::READ_BACK.of(left),
        }
    }

    /// Bytes of all parts together: what a member uses at most in the worst case, with one slow connection to a member.
    #[must_use]
    pub fn total(&self) -> u64 {
        let requests = self.requests_small + self.requests_large + 2 * self.requests_waiting + self.operations;
        let parts = requests + self.log + self.messages + self.lane + self.applying + self.read_back;
        self.quota.saturating_mul(2).saturating_add(FIXED).saturating_add(parts as u64)
    }

    /// Returns whether the container's limit is too low even for the smallest sizes. A member starts nevertheless, because
    /// it may have run below this limit for long, with little content.
    #[must_use]
    pub fn exceeds_limit(&self) -> bool {
        self.limit.is_some_and(|limit| self.total() > limit)
    }

    /// Limits of the core.
    pub(crate) fn core(&self) -> raft::Limits {
        raft::Limits {
            log_bytes: self.log,
            unsettled_bytes: self.log,
            applying_bytes: self.applying,
            read_back_bytes: self.read_back,
        }
    }

    /// Limits of the engine's queues.
    pub(crate) fn engine(&self) -> engine::wiring::QueueLimits {
        engine::wiring::QueueLimits {
            commands_bytes: self.requests_small + self.requests_large,
            messages_bytes: self.messages,
        }
    }

    /// Limits of the messages of clients.
    pub(crate) fn clients(&self) -> api::MemoryLimits {
        api::MemoryLimits {
            small: self.requests_small,
            large: self.requests_large,
            operations: self.operations,
            waiting: self.requests_waiting,
            // The store may have dropped the versions that an answer keeps alive.
            pinned: usize::try_from(self.quota).unwrap_or(usize::MAX),
        }
    }
}

impl fmt::Display for MemoryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.limit {
            Some(limit) => write!(f, "limit {} MiB: ", limit / MIB)?,
            None => write!(f, "no limit: ")?,
        }
        write!(f, "store and answers 2 x {}, fixed {}", self.quota / MIB, FIXED / MIB)?;
        let parts = [
            ("small requests", self.requests_small),
            ("large requests", self.requests_large),
            ("waiting requests 2 x", self.requests_waiting),
            ("operations", self.operations),
            ("log", self.log),
            ("messages in", self.messages),
            ("messages out", self.lane),
            ("applying", self.applying),
            ("read back", self.read_back),
        ];
        parts.into_iter().try_for_each(|(part, bytes)| write!(f, ", {part} {}", bytes as u64 / MIB))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    fn mib(budget: &MemoryBudget) -> [u64; 8] {
        let MemoryBudget { requests_small, requests_large, requests_waiting, log, messages, lane, .. } = *budget;
        let sizes = [requests_small, requests_large, requests_waiting, log, messages, lane];
        let [a, b, c, d, e, f] = sizes.map(|bytes| bytes as u64 / MIB);
        [a, b, c, d, e, f, budget.applying as u64 / MIB, budget.read_back as u64 / MIB]
    }

    #[test]
    fn the_quota_fits_the_limit() {
        let quota = |quota, limit| MemoryBudget::new(limit, quota).quota;
        assert_eq!(quota(2 * GIB, None), 2 * GIB);
        assert_eq!(quota(2 * GIB, Some(8 * GIB)), 2 * GIB);
        assert_eq!(quota(2 * GIB, Some(512 * MIB)), 128 * MIB);
        assert_eq!(quota(2 * GIB, Some(100 * MIB)), 16 * MIB);
        assert_eq!(quota(MIB, Some(100 * MIB)), MIB, "a lower one is kept");
    }

    #[test]
    fn parts_have_their_usual_size_unless_the_limit_is_low() {
        let usual = [16, 48, 16, 64, 64, 32, 16, 8];
        assert_eq!(mib(&MemoryBudget::new(None, 2 * GIB)), usual);
        assert_eq!(mib(&MemoryBudget::new(Some(8 * GIB), 2 * GIB)), usual);
        assert_eq!(MemoryBudget::new(None, 2 * GIB).core(), raft::Limits::default());
        assert_eq!(MemoryBudget::new(None, 2 * GIB).engine(), engine::wiring::QueueLimits::default());
        let pinned = 2 << 30;
        assert_eq!(MemoryBudget::new(None, 2 * GIB).clients(), api::MemoryLimits { pinned, ..Default::default() });
        assert_eq!(mib(&MemoryBudget::new(Some(512 * MIB), 2 * GIB)), [11, 30, 10, 42, 42, 22, 11, 5]);
        assert_eq!(mib(&MemoryBudget::new(Some(64 * MIB), 2 * GIB)), [4, 4, 2, 8, 8, 8, 4, 2]);
    }

    /// The rule of the operator: a limit of at least twice the quota and 256 MiB.
    #[test]
    fn all_parts_together_fit_every_limit_that_the_operator_accepts() {
        for quota in [QUOTA_MIN, 100 * MIB, 256 * MIB, GIB, 64 * GIB] {
            for more in [0, MIB, 100 * MIB, GIB] {
                let limit = 2 * quota + BESIDES + more;
                let budget = MemoryBudget::new(Some(limit), quota);
                assert_eq!(budget.quota, quota);
                assert!(budget.total() <= limit && !budget.exceeds_limit(), "{} of {limit}: {budget}", budget.total());
            }
        }
    }

    #[test]
    fn what_shrinks_below_the_smallest_sizes_is_named() {
        let lowest = (1..512).find(|limit| !MemoryBudget::new(Some(limit * MIB), GIB).exceeds_limit());
        assert_eq!(lowest, Some(126));
        assert!(!MemoryBudget::new(None, 64 * GIB).exceeds_limit());
    }

    #[test]
    fn the_line_at_the_start_names_every_part() {
        let line = MemoryBudget::new(Some(768 * MIB), 256 * MIB).to_string();
        let named = "limit 768 MiB: store and answers 2 x 256, fixed 48, small requests 11, large requests 30, waiting requests 2 x 10, \
                     operations 21, log 42, messages in 42, messages out 22, applying 11, read back 5";
        assert_eq!(line, named);
    }
}
