//! Checks of the recorded histories: each register's calls are linearizable, and every answer agrees with the revisions
//! that other answers report. Owns the translation to the checker's operations. Does not own the search (`simulator`).

use std::collections::BTreeMap;
use std::fmt::Write;

use simulator::check::linearizable;
use simulator::check::model::Operation;

use crate::findings::Findings;
use crate::histories::Record;

/// What was checked.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Checked {
    pub(crate) registers: usize,
    pub(crate) calls: usize,
    pub(crate) unknown: usize,
}

/// Checks the history of one minute. Violations go to `findings`, with the history of the register.
pub(crate) fn check(minute: u64, records: Vec<Record>, findings: &Findings) -> Checked {
    let mut checked = Checked { calls: records.len(), ..Default::default() };
    checked.unknown = records.iter().filter(|record| record.returned.is_none()).count();
    let mut registers: BTreeMap<u64, Vec<Record>> = BTreeMap::new();
    for record in records {
        registers.entry(record.register).or_default().push(record);
    }
    for (register, records) in registers {
        checked.registers += 1;
        let linear = linearizable::check(&operations(&records)).map_err(|unexplained| unexplained.to_string());
        let verdicts = [("not linearizable", linear), ("revisions contradict", revisions_agree(&records))];
        for (what, reason) in verdicts.into_iter().filter_map(|(what, verdict)| Some((what, verdict.err()?))) {
            findings.violation(&format!("register {register} of minute {minute}: {what}: {reason}"));
            findings.keep(&format!("register-{register}.txt"), &listing(&records));
        }
    }
    checked
}

/// The calls as operations of the checker. A call without an answer may take effect at any later time. Revisions give
/// the probable positions.
fn operations(records: &[Record]) -> Vec<Operation> {
    let seen = records.iter().filter_map(|record| record.seen);
    let revisions: BTreeMap<u64, i64> = seen.map(|seen| (seen.value, seen.revision)).collect();
    let place = |record: &Record| match (record.revision, record.writes) {
        (Some(revision), _) => revision.cast_unsigned() * 2 + u64::from(!record.changed),
        (None, Some(value)) if value > 0 => {
            revisions.get(&value).map_or(u64::MAX, |revision| revision.cast_unsigned() * 2)
        }
        (None, _) => u64::MAX,
    };
    let open = u64::MAX - records.len() as u64;
    let with_places = records.iter().zip(0_u64..).filter_map(|(record, number)| {
        let returned = record.returned.unwrap_or(open + number);
        Some(Operation { called: record.called, returned, place: place(record), call: record.call.clone()? })
    });
    with_places.collect()
}

/// Checks each answer against all changes whose revision is known: one revision has one value, and what an answer at
/// revision R read is the last change at or before R. This covers serializable reads, too. The revision of a deletion
/// that got no answer is never known, so with one of these a register may be empty at any revision.
fn revisions_agree(records: &[Record]) -> Result<(), String> {
    let mut changes: BTreeMap<i64, u64> = BTreeMap::new();
    let own =
        records.iter().filter(|record| record.changed).filter_map(|record| Some((record.revision?, record.writes?)));
    let read = records.iter().filter_map(|record| record.seen).filter(|seen| seen.revision > 0);
    for (revision, value) in own.chain(read.map(|seen| (seen.revision, seen.value))) {
        if let Some(other) = changes.insert(revision, value).filter(|other| *other != value) {
            return Err(format!("revision {revision} has the values {other} and {value}"));
        }
    }
    let may_be_deleted = records.iter().any(|record| record.returned.is_none() && record.writes == Some(0));
    for record in records {
        let (Some(revision), Some(seen)) = (record.revision, record.seen) else { continue };
        let last = changes.range(..=revision - i64::from(record.changed)).next_back();
        let agrees = match last {
            Some((at, value)) if *value > 0 => seen.revision == *at && seen.value == *value,
            _ => seen.value == 0,
        } || (may_be_deleted && seen.value == 0);
        if !agrees {
            return Err(format!("the last change is {last:?} (revision, value), but not for {record:?}"));
        }
    }
    Ok(())
}

fn listing(records: &[Record]) -> String {
    let mut text = String::new();
    for record in records {
        let Record { client, member, called, returned, call, revision, seen, .. } = record;
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{called} to {returned:?} client {client} through m{}: {call:?}", member + 1);
        let _ = writeln!(text, "    revision {revision:?} read {seen:?}");
    }
    text
}

#[cfg(test)]
mod tests {
    use simulator::check::model::Call;
    use simulator::command::{Action, LeaseId};

    use super::*;
    use crate::histories::Seen;

    fn put(called: u64, value: u64, revision: Option<i64>) -> Record {
        let call = Some(Call::Act { action: Action::put(1, value, LeaseId::NONE), answer: None });
        let (returned, changed) = (revision.map(|_| called + 1), revision.is_some());
        let writes = Some(value);
        Record { register: 1, client: 0, member: 0, called, returned, call, revision, seen: None, writes, changed }
    }

    fn get(called: u64, value: u64, at: i64, revision: i64) -> Record {
        let call = Some(Call::Read { found: vec![(1, value)] });
        let seen = Some(Seen { value, revision: at });
        let (returned, revision) = (Some(called + 1), Some(revision));
        let (writes, changed) = (None, false);
        Record { register: 1, client: 0, member: 0, called, returned, call, revision, seen, writes, changed }
    }

    fn verdicts(records: &[Record]) -> (bool, bool) {
        (linearizable::check(&operations(records)).is_ok(), revisions_agree(records).is_ok())
    }

    #[test]
    fn a_write_without_an_answer_may_take_effect_late_or_never() {
        let late = [put(1, 7, Some(5)), put(3, 8, None), get(5, 7, 5, 5), get(7, 8, 6, 6)];
        assert_eq!(verdicts(&late), (true, true));
        assert_eq!(operations(&late)[1].place, 12, "its revision was read");
        assert_eq!(verdicts(&[put(1, 7, Some(5)), put(3, 8, None), get(5, 7, 5, 5)]), (true, true));
    }

    #[test]
    fn a_stale_read_is_found() {
        let stale = [put(1, 7, Some(5)), put(3, 8, Some(6)), get(5, 7, 5, 5)];
        assert_eq!(verdicts(&stale), (false, true), "the revision is stale as well, so revisions agree");
        let skips = [put(1, 7, Some(5)), put(3, 8, Some(6)), get(5, 7, 5, 6)];
        assert_eq!(verdicts(&skips), (false, false));
    }

    #[test]
    fn a_serializable_read_may_be_stale_but_not_wrong() {
        let serializable = |value, at, revision| Record { call: None, ..get(5, value, at, revision) };
        let written = [put(1, 7, Some(5)), put(3, 8, Some(6))];
        let with = |read| verdicts(&[written[0].clone(), written[1].clone(), read]);
        assert_eq!(with(serializable(7, 5, 5)), (true, true));
        assert_eq!(with(serializable(0, 0, 4)), (true, true));
        assert_eq!(with(serializable(7, 5, 9)), (true, false));
        assert_eq!(with(serializable(9, 6, 9)), (true, false), "two values of one revision");
    }
}
