//! Owns the store and the dispatch of commands. Does not own transactions (`txn`), single changes (`write`), reads
//! (`range`) or the removal of compacted versions (`compaction`).

use std::sync::Arc;

use crate::command::{Alarm, AlarmAction, AlarmChange, AlarmKind, Command};
use crate::keyspace::Keyspace;
use crate::outcome::{Answer, CommandError, Outcome, Response};
use crate::revision::Revision;
use crate::txn;
use crate::view::View;
use crate::write::Write;

/// The replicated store. One thread owns the store and applies committed commands in log order. Readers hold [`View`]s.
///
/// Members that apply the same commands with the same times hold exactly the same content, byte for byte.
#[derive(Debug)]
pub struct Store {
    pub(crate) space: Keyspace,
    scratch: Vec<u8>,
}

impl Default for Store {
    fn default() -> Self {
        Self::new()
    }
}

impl Store {
    /// Creates an empty store. Its revision is 1, and its history was never compacted.
    #[must_use]
    pub fn new() -> Store {
        Store::holding(Keyspace::new())
    }

    pub(crate) fn holding(space: Keyspace) -> Store {
        Store { space, scratch: Vec::new() }
    }

    /// Returns an immutable view of the present content. The cost of this call does not depend on the size of the content.
    #[must_use]
    pub fn view(&self) -> View {
        View { space: self.space.clone() }
    }

    /// Number of versions that were ever added to this store, counted from an arbitrary start. The difference of two values is the
    /// number of versions that were added between them, removed ones included.
    #[must_use]
    pub fn versions_written(&self) -> u64 {
        self.space.history.end().0
    }

    /// Applies one committed command. `time_ms` is the time of the command's log entry, in milliseconds since the Unix epoch. The
    /// store keeps the latest of these times.
    ///
    /// # Errors
    /// Returns [`CommandError`] if the command is refused. The error is the answer to the client. Nothing changed except the
    /// time.
    pub fn apply(&mut self, time_ms: u64, command: &Command) -> Result<Outcome, CommandError> {
        self.apply_for(Answer::Wanted, time_ms, command)
    }

    /// Does the same as [`Store::apply`] for a command whose answer no caller waits for. The content, the revision and
    /// the error are the same. The outcome still has a result for each operation, but the results of ranges are empty
    /// and previous versions are absent, because nothing is read only for the answer.
    ///
    /// # Errors
    /// Returns the same [`CommandError`] as [`Store::apply`]. Nothing changed except the time.
    pub fn apply_unanswered(&mut self, time_ms: u64, command: &Command) -> Result<Outcome, CommandError> {
        self.apply_for(Answer::Discarded, time_ms, command)
    }

    fn apply_for(&mut self, answer: Answer, time_ms: u64, command: &Command) -> Result<Outcome, CommandError> {
        let before = self.space.marks();
        self.space.time_ms = self.space.time_ms.max(time_ms);
        let result = self.dispatch(answer, command);
        match &result {
            Ok(_) => self.space.assert_follows(before),
            Err(_) => self.space.assert_unchanged(before),
        }
        let response = result?;
        Ok(Outcome { revision: self.space.revision, response })
    }

    fn dispatch(&mut self, answer: Answer, command: &Command) -> Result<Response, CommandError> {
        self.refuse_under_alarm(command)?;
        match command {
            Command::Put(put) => {
                txn::check_put(&self.space, put)?;
                Ok(self.write(answer, |write| Response::Put(write.put(put))))
            }
            Command::DeleteRange(delete) => {
                Ok(self.write(answer, |write| Response::DeleteRange(write.delete_range(delete))))
            }
            Command::Txn(txn) => {
                let path = txn::compare(&self.space, txn);
                txn::check(&self.space, txn, &path)?;
                Ok(self.write(answer, |write| Response::Txn(txn::run(write, txn, &path))))
            }
            Command::Compact(compact) => {
                self.space.compact(Revision(compact.revision))?;
                Ok(Response::Compact)
            }
            Command::Alarm(change) => Ok(Response::Alarm(self.change_alarm(*change))),
            Command::RaiseFeatureLevel { to } => {
                self.space.level = self.space.level.max(*to);
                Ok(Response::RaiseFeatureLevel)
            }
        }
    }

    fn refuse_under_alarm(&self, command: &Command) -> Result<(), CommandError> {
        if self.space.alarms.is_empty() || matches!(command, Command::Alarm(_) | Command::RaiseFeatureLevel { .. }) {
            return Ok(());
        }
        if self.space.alarm_raised(AlarmKind::Corrupt) {
            return Err(CommandError::Corrupt);
        }
        if self.space.alarm_raised(AlarmKind::NoSpace) && command.cost_bytes() > 0 {
            return Err(CommandError::NoSpace);
        }
        Ok(())
    }

    fn change_alarm(&mut self, change: AlarmChange) -> Option<Alarm> {
        let alarms = Arc::make_mut(&mut self.space.alarms);
        match change.action {
            AlarmAction::Activate => {
                alarms.insert(change.alarm);
                Some(change.alarm)
            }
            AlarmAction::Deactivate => alarms.take(&change.alarm),
        }
    }

    /// Runs `changes`, whose writes all get the same revision. The store's revision grows only if at least one key
    /// changed.
    fn write(&mut self, answer: Answer, changes: impl FnOnce(&mut Write<'_>) -> Response) -> Response {
        let mut write = Write::new(&mut self.space, &mut self.scratch, answer);
        let response = changes(&mut write);
        self.space.revision = write.revision();
        response
    }
}
