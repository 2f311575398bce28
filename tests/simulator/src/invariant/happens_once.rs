//! A proposal is committed at most once, and never if it was refused (as [`raft::Output::Dropped`] promises).

use std::collections::{BTreeMap, BTreeSet};

use raft::{EntryId, Payload};

use crate::command::{Command, OperationId};
use crate::invariant::ledger::Ledger;
use crate::invariant::{Checked, ensure};

const NAME: &str = "a proposal happens once, a refused one never";

/// Outcomes of proposals.
#[derive(Debug, Default)]
pub struct HappensOnce {
    /// Whether this check is off. It must be off if entries do not hold commands of the simulated state machine. The
    /// clients then check the outcomes of proposals instead.
    pub is_disabled: bool,
    checked: usize,
    happened: BTreeMap<OperationId, EntryId>,
    refused: BTreeSet<OperationId>,
}

impl HappensOnce {
    /// Checks newly committed entries.
    ///
    /// # Errors
    /// Returns a violation if a proposal is committed twice, or is committed although it was refused.
    pub fn committed(&mut self, ledger: &Ledger) -> Checked {
        if self.is_disabled {
            return Ok(());
        }
        while let Some(committed) = ledger.all_committed().get(self.checked) {
            self.checked += 1;
            let entry = ledger.known(committed.id).map(|known| &known.entry.payload);
            let Some(Payload::Normal(bytes)) = entry else { continue };
            let operation = Command::operation_of(bytes);
            let refused = self.refused.contains(&operation);
            ensure(!refused, NAME, || format!("{operation} was refused, but is committed as {}", committed.id))?;
            let first = self.happened.insert(operation, committed.id);
            ensure(first.is_none(), NAME, || format!("{operation} is committed as {first:?} and as {}", committed.id))?;
        }
        Ok(())
    }

    /// Notes that the core refused a proposal.
    ///
    /// # Errors
    /// Returns a violation if the proposal is already committed.
    pub fn refused(&mut self, operation: OperationId) -> Checked {
        self.refused.insert(operation);
        let happened = self.happened.get(&operation);
        ensure(happened.is_none(), NAME, || format!("{operation} is refused, but committed as {happened:?}"))
    }

    /// Whether the operation is committed.
    #[must_use]
    pub fn happened(&self, operation: OperationId) -> bool {
        self.happened.contains_key(&operation)
    }
}
