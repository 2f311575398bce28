//! A model of registers and leases, for the check of histories. Owns which answers a call may get, and the state after
//! the call. The model is written independently of the simulated state machine, so that each of the two checks the
//! other.

use crate::command::{Action, Answer, LeaseId, Step};

/// A call with its result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Reads some registers at the same moment. The value 0 means that a register is not set.
    Read {
        /// Each register with the value that was read.
        found: Vec<(u64, u64)>,
    },
    /// A command in the log.
    Act {
        /// The action.
        action: Action,
        /// The answer to the caller; `None` if the caller got no answer.
        answer: Option<Answer>,
    },
}

/// One operation of a history. All calls and returns in a history have different times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Time of the call.
    pub called: u64,
    /// Time of the return.
    pub returned: u64,
    /// Probable position among the operations. The search tries low positions first; its result does not depend on the
    /// positions.
    pub place: u64,
    /// The call.
    pub call: Call,
}

/// A register or lease, which several operations may use. Operations that share no register or lease are independent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Thing {
    /// A register.
    Register(u64),
    /// A lease.
    Lease(LeaseId),
}

impl Call {
    /// Every register and lease that the call reads or changes. A call that ends a lease lists only the lease, although
    /// it also deletes the attached registers. Each put that attached such a register lists the lease too. The put and
    /// the call therefore still belong to the same part of the history.
    #[must_use]
    pub fn touches(&self) -> Vec<Thing> {
        match self {
            Self::Read { found } => found.iter().map(|(key, _)| Thing::Register(*key)).collect(),
            Self::Act { action: Action::Transaction { compares, then, otherwise }, .. } => {
                let mut things: Vec<Thing> = compares.iter().map(|compare| Thing::Register(compare.key)).collect();
                for step in then.iter().chain(otherwise) {
                    match *step {
                        Step::Get { key } | Step::Put { key, lease: LeaseId::NONE, .. } => {
                            things.push(Thing::Register(key));
                        }
                        Step::Put { key, lease, .. } => things.extend([Thing::Register(key), Thing::Lease(lease)]),
                    }
                }
                things
            }
            Self::Act { action, .. } => match action {
                Action::Grant { lease }
                | Action::KeepAlive { lease }
                | Action::Revoke { lease }
                | Action::Expire { lease, .. } => vec![Thing::Lease(*lease)],
                Action::Transaction { .. } => Vec::new(),
            },
        }
    }
}

/// Content of a register that is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Register {
    key: u64,
    value: u64,
    lease: LeaseId,
}

/// The registers that are set, and the leases with the number of keep-alives of each; both lists are sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct State {
    registers: Vec<Register>,
    leases: Vec<(LeaseId, u64)>,
}

impl State {
    /// Returns the state after this call; `None` if the call cannot have had this result.
    #[must_use]
    pub fn after(&self, call: &Call) -> Option<Self> {
        match call {
            Call::Read { found } => found.iter().all(|(key, value)| self.value(*key) == *value).then(|| self.clone()),
            Call::Act { action, answer } => {
                let mut next = self.clone();
                let truth = next.act(action);
                answer.as_ref().is_none_or(|actual| *actual == truth).then_some(next)
            }
        }
    }

    fn value(&self, key: u64) -> u64 {
        self.registers.iter().find(|register| register.key == key).map_or(0, |register| register.value)
    }

    fn lease(&self, lease: LeaseId) -> Result<usize, usize> {
        self.leases.binary_search_by_key(&lease, |(known, _)| *known)
    }

    fn act(&mut self, action: &Action) -> Answer {
        match action {
            Action::Transaction { compares, then, otherwise } => {
                let fails = compares.iter().any(|compare| self.value(compare.key) != compare.value);
                self.follow(!fails, if fails { otherwise } else { then })
            }
            Action::Grant { lease } => {
                if let Err(place) = self.lease(*lease) {
                    self.leases.insert(place, (*lease, 0));
                }
                Answer::Done
            }
            Action::KeepAlive { lease } => {
                let Ok(place) = self.lease(*lease) else { return Answer::NoLease };
                self.leases[place].1 += 1;
                Answer::Done
            }
            Action::Revoke { lease } => self.forget(*lease, None),
            Action::Expire { lease, kept } => self.forget(*lease, Some(*kept)),
        }
    }

    fn follow(&mut self, succeeded: bool, steps: &[Step]) -> Answer {
        let is_there = |step: &Step| match step {
            Step::Put { lease, .. } => *lease == LeaseId::NONE || self.lease(*lease).is_ok(),
            Step::Get { .. } => true,
        };
        if !steps.iter().all(is_there) {
            return Answer::NoLease;
        }
        let mut read = Vec::new();
        for step in steps {
            match *step {
                Step::Get { key } => read.push(self.value(key)),
                Step::Put { key, value, lease } => {
                    let register = Register { key, value, lease };
                    match self.registers.binary_search_by_key(&key, |known| known.key) {
                        Ok(place) => self.registers[place] = register,
                        Err(place) => self.registers.insert(place, register),
                    }
                }
            }
        }
        Answer::Transaction { succeeded, read }
    }

    fn forget(&mut self, lease: LeaseId, kept: Option<u64>) -> Answer {
        match self.lease(lease) {
            Ok(place) if kept.is_none_or(|kept| self.leases[place].1 == kept) => {
                self.leases.remove(place);
                self.registers.retain(|register| register.lease != lease);
                Answer::Done
            }
            _ => Answer::NoLease,
        }
    }
}
