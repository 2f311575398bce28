//! Owns a naive store with which tests compare the real store. It keeps a list of changes, searches the whole list for each
//! request, and follows the words of `node/mvcc/docs/etcd_rules.md`. It shares no code with the real store except the types of
//! requests, because shared code would have the same mistakes.

use mvcc::{
    AlarmAction, AlarmKind, Command, CommandError, Compare, DeleteRange, FeatureLevel, KeyValue, Op, OpResult, Operand,
    Outcome, Put, Range, RangeError, RangeResult, Relation, Response, SortOrder, SortTarget, Txn, TxnResult,
};

/// A version of a key in plain fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) key: Vec<u8>,
    pub(crate) create: i64,
    pub(crate) modified: i64,
    pub(crate) version: i64,
    pub(crate) value: Vec<u8>,
    pub(crate) lease: i64,
}

impl From<&KeyValue> for Pair {
    fn from(kv: &KeyValue) -> Pair {
        let fields = kv.fields();
        Pair {
            key: fields.key.to_vec(),
            create: fields.create_revision,
            modified: fields.mod_revision,
            version: fields.version,
            value: fields.value.to_vec(),
            lease: fields.lease,
        }
    }
}

/// The parts of an answer that a client sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Range { revision: i64, pairs: Vec<Pair>, count: u64, more: bool },
    Put { revision: i64, previous: Option<Pair> },
    Delete { revision: i64, deleted: u64, previous: Vec<Pair> },
    Txn { succeeded: bool, answers: Vec<Answer> },
    Compact,
    Alarm(Option<(AlarmKind, u64)>),
    Raise,
}

impl From<&RangeResult> for Answer {
    fn from(result: &RangeResult) -> Answer {
        Answer::Range {
            revision: result.revision.0,
            pairs: result.kvs.iter().map(Pair::from).collect(),
            count: result.count,
            more: result.more,
        }
    }
}

impl From<&TxnResult> for Answer {
    fn from(result: &TxnResult) -> Answer {
        let answers = result.responses.iter().map(|op| match op {
            OpResult::Range(range) => range.into(),
            OpResult::Put(put) => {
                Answer::Put { revision: put.revision.0, previous: put.prev_kv.as_ref().map(Pair::from) }
            }
            OpResult::DeleteRange(delete) => Answer::Delete {
                revision: delete.revision.0,
                deleted: delete.deleted,
                previous: delete.prev_kvs.iter().map(Pair::from).collect(),
            },
            OpResult::Txn(txn) => txn.into(),
        });
        Answer::Txn { succeeded: result.succeeded, answers: answers.collect() }
    }
}

/// Returns the revision in the header, and the answer.
pub(crate) fn seen(outcome: &Outcome) -> (i64, Answer) {
    let answer = match &outcome.response {
        Response::Put(put) => Answer::Put { revision: put.revision.0, previous: put.prev_kv.as_ref().map(Pair::from) },
        Response::DeleteRange(delete) => Answer::Delete {
            revision: delete.revision.0,
            deleted: delete.deleted,
            previous: delete.prev_kvs.iter().map(Pair::from).collect(),
        },
        Response::Txn(txn) => txn.into(),
        Response::Compact => Answer::Compact,
        Response::Alarm(alarm) => Answer::Alarm(alarm.map(|alarm| (alarm.kind, alarm.member))),
        Response::RaiseFeatureLevel => Answer::Raise,
    };
    (outcome.revision.0, answer)
}

#[derive(Clone, Debug)]
struct Change {
    main: i64,
    sub: u32,
    key: Vec<u8>,
    /// The pair that was put; `None` for a deletion.
    put: Option<Pair>,
}

#[derive(Clone, Debug)]
pub(crate) struct Model {
    changes: Vec<Change>,
    pub(crate) revision: i64,
    pub(crate) compacted: i64,
    alarms: Vec<(AlarmKind, u64)>,
    pub(crate) level: FeatureLevel,
}

fn inside(key: &[u8], start: &[u8], end: &[u8]) -> bool {
    match end {
        [] => key == start,
        [0] => key >= start,
        end => key >= start && key < end,
    }
}

impl Model {
    pub(crate) fn new() -> Model {
        Model { changes: Vec::new(), revision: 1, compacted: -1, alarms: Vec::new(), level: FeatureLevel::FIRST }
    }

    /// The live pairs of an interval at a revision, in key order.
    fn live(&self, start: &[u8], end: &[u8], at: i64) -> Vec<Pair> {
        let mut keys: Vec<&[u8]> = self.changes.iter().map(|change| &change.key[..]).collect();
        keys.sort();
        keys.dedup();
        keys.into_iter()
            .filter(|key| inside(key, start, end))
            .filter_map(|key| self.changes.iter().rfind(|change| change.key == key && change.main <= at)?.put.clone())
            .collect()
    }

    pub(crate) fn range(&self, range: &Range, now: i64) -> Result<Answer, RangeError> {
        if range.revision > now {
            return Err(RangeError::FutureRevision);
        }
        let at = if range.revision <= 0 { now } else { range.revision };
        if at < self.compacted {
            return Err(RangeError::Compacted);
        }
        let mut pairs = self.live(&range.key, &range.range_end, at);
        let count = pairs.len() as u64;
        if range.count_only {
            return Ok(Answer::Range { revision: now, pairs: Vec::new(), count, more: false });
        }
        let filters = [
            (range.min_mod_revision, range.max_mod_revision, (|pair| pair.modified) as fn(&Pair) -> i64),
            (range.min_create_revision, range.max_create_revision, |pair| pair.create),
        ];
        for (min, max, number) in filters {
            pairs.retain(|pair| (min == 0 || number(pair) >= min) && (max == 0 || number(pair) <= max));
        }
        let filtered = filters.iter().any(|(min, max, _)| *min != 0 || *max != 0);
        let limit = if range.limit > 0 { range.limit as usize } else { usize::MAX };
        if range.sort_order == SortOrder::None && !filtered {
            pairs.truncate(limit.saturating_add(1));
        }
        // The sort is stable. Reversing the list before and after the sort therefore leaves equal pairs in key order.
        let descend = range.sort_order == SortOrder::Descend;
        if descend {
            pairs.reverse();
        }
        match range.sort_target {
            SortTarget::Key => pairs.sort_by_key(|pair| pair.key.clone()),
            SortTarget::Version => pairs.sort_by_key(|pair| pair.version),
            SortTarget::Create => pairs.sort_by_key(|pair| pair.create),
            SortTarget::Mod => pairs.sort_by_key(|pair| pair.modified),
            SortTarget::Value => pairs.sort_by_key(|pair| pair.value.clone()),
            SortTarget::Unrecognized(_) => unreachable!("not generated"),
        }
        if descend {
            pairs.reverse();
        }
        let more = pairs.len() > limit;
        pairs.truncate(limit);
        if range.keys_only {
            for pair in &mut pairs {
                pair.value.clear();
                if range.sort_target != SortTarget::Value {
                    pair.lease = 0;
                }
            }
        }
        Ok(Answer::Range { revision: now, pairs, count, more })
    }

    pub(crate) fn apply(&mut self, command: &Command) -> Result<(i64, Answer), CommandError> {
        let raised = |kind| self.alarms.iter().any(|alarm| alarm.0 == kind);
        if !matches!(command, Command::Alarm(_) | Command::RaiseFeatureLevel { .. }) && raised(AlarmKind::Corrupt) {
            return Err(CommandError::Corrupt);
        }
        if raised(AlarmKind::NoSpace) && contains_put(command) {
            return Err(CommandError::NoSpace);
        }
        let begin = self.changes.len();
        let answer = match command {
            Command::Put(put) => {
                self.check_put(put)?;
                self.put(put, begin)
            }
            Command::DeleteRange(delete) => self.delete(delete, begin),
            Command::Txn(txn) => {
                let before = self.clone();
                before.check(txn)?;
                self.run(txn, &before, begin)
            }
            Command::Compact(compact) => {
                if compact.revision <= self.compacted {
                    return Err(CommandError::Compacted);
                }
                if compact.revision > self.revision {
                    return Err(CommandError::FutureRevision);
                }
                self.compact(compact.revision);
                Answer::Compact
            }
            Command::Alarm(change) => {
                let alarm = (change.alarm.kind, change.alarm.member);
                let present = self.alarms.contains(&alarm);
                self.alarms.retain(|other| *other != alarm);
                match change.action {
                    AlarmAction::Activate => {
                        self.alarms.push(alarm);
                        Answer::Alarm(Some(alarm))
                    }
                    AlarmAction::Deactivate => Answer::Alarm(present.then_some(alarm)),
                }
            }
            Command::RaiseFeatureLevel { to } => {
                self.level = self.level.max(*to);
                Answer::Raise
            }
        };
        if self.changes.iter().any(|change| change.main > self.revision) {
            self.revision += 1;
        }
        Ok((self.revision, answer))
    }

    /// The revision that an operation reports: the next revision once the transaction has changed something, otherwise the
    /// present revision.
    fn now(&self, begin: usize) -> i64 {
        if self.changes.len() > begin { self.revision + 1 } else { self.revision }
    }

    fn check_put(&self, put: &Put) -> Result<(), CommandError> {
        if put.lease != 0 {
            return Err(CommandError::LeaseNotFound);
        }
        if (put.ignore_value || put.ignore_lease) && self.live(&put.key, &[], i64::MAX).is_empty() {
            return Err(CommandError::KeyNotFound);
        }
        Ok(())
    }

    fn change(&mut self, key: Vec<u8>, begin: usize, put: Option<Pair>) {
        let main = self.revision + 1;
        let sub = u32::try_from(self.changes.len() - begin).expect("few changes");
        self.changes.push(Change { main, sub, key, put });
    }

    fn put(&mut self, put: &Put, begin: usize) -> Answer {
        let revision = self.revision + 1;
        let previous = self.live(&put.key, &[], i64::MAX).pop();
        let old = previous.clone().unwrap_or_default();
        let pair = Pair {
            key: put.key.to_vec(),
            create: if previous.is_some() { old.create } else { revision },
            modified: revision,
            version: old.version + 1,
            value: if put.ignore_value { old.value } else { put.value.to_vec() },
            lease: if put.ignore_lease { old.lease } else { put.lease },
        };
        self.change(put.key.to_vec(), begin, Some(pair));
        Answer::Put { revision, previous: previous.filter(|_| put.prev_kv) }
    }

    fn delete(&mut self, delete: &DeleteRange, begin: usize) -> Answer {
        let doomed = self.live(&delete.key, &delete.range_end, i64::MAX);
        for pair in &doomed {
            self.change(pair.key.clone(), begin, None);
        }
        let deleted = doomed.len() as u64;
        let previous = if delete.prev_kv { doomed } else { Vec::new() };
        Answer::Delete { revision: self.now(begin), deleted, previous }
    }

    fn holds(&self, compare: &Compare) -> bool {
        let pairs = self.live(&compare.key, &compare.range_end, i64::MAX);
        if pairs.is_empty() {
            return !matches!(compare.operand, Operand::Value(_)) && satisfies(&Pair::default(), compare);
        }
        pairs.iter().all(|pair| satisfies(pair, compare))
    }

    fn branch<'t>(&self, txn: &'t Txn) -> (bool, &'t [Op]) {
        let succeeded = txn.compare.iter().all(|compare| self.holds(compare));
        (succeeded, if succeeded { &txn.success } else { &txn.failure })
    }

    fn check(&self, txn: &Txn) -> Result<(), CommandError> {
        for op in self.branch(txn).1 {
            match op {
                Op::Range(range) if range.revision > self.revision => return Err(CommandError::FutureRevision),
                Op::Range(range) if range.revision != 0 && range.revision < self.compacted => {
                    return Err(CommandError::Compacted);
                }
                Op::Put(put) => self.check_put(put)?,
                Op::Txn(nested) => self.check(nested)?,
                Op::Range(_) | Op::DeleteRange(_) | Op::Empty => {}
            }
        }
        Ok(())
    }

    /// Runs a transaction. Comparisons read `before`, which is the content before the outermost transaction.
    fn run(&mut self, txn: &Txn, before: &Model, begin: usize) -> Answer {
        let (succeeded, ops) = before.branch(txn);
        let mut answers = Vec::new();
        for op in ops {
            answers.push(match op {
                Op::Range(range) => self.range(range, self.now(begin)).expect("checked before"),
                Op::Put(put) => self.put(put, begin),
                Op::DeleteRange(delete) => self.delete(delete, begin),
                Op::Txn(nested) => self.run(nested, before, begin),
                Op::Empty => unreachable!("not valid"),
            });
        }
        Answer::Txn { succeeded, answers }
    }

    pub(crate) fn read_txn(&self, txn: &Txn) -> Result<Answer, CommandError> {
        self.check(txn)?;
        Ok(self.clone().run(txn, self, self.changes.len()))
    }

    fn compact(&mut self, mark: i64) {
        self.compacted = mark;
        let changes = self.changes.clone();
        self.changes.retain(|change| {
            let newer = |other: &Change| {
                other.key == change.key && other.main <= mark && (other.main, other.sub) > (change.main, change.sub)
            };
            let superseded = changes.iter().any(newer);
            let dead = change.put.is_none() && change.main < mark;
            change.main > mark || !(superseded || dead)
        });
    }

    pub(crate) fn change_count(&self) -> usize {
        self.changes.len()
    }

    /// Computes the hash as described in `etcd_rules.md` §5.
    pub(crate) fn hash(&self, asked: i64) -> Result<u32, RangeError> {
        if asked > 0 && asked < self.compacted {
            return Err(RangeError::Compacted);
        }
        if asked > self.revision {
            return Err(RangeError::FutureRevision);
        }
        let at = if asked == 0 { self.revision } else { asked };
        let keep: Vec<(Vec<u8>, i64)> =
            self.live(&[], &[0], at).into_iter().map(|pair| (pair.key, pair.modified)).collect();
        let mut bytes = b"key".to_vec();
        for change in self.changes.iter().filter(|change| change.main <= at) {
            let kept = keep.contains(&(change.key.clone(), change.main)) && change.put.is_some();
            if change.main <= self.compacted && !keep.is_empty() && !kept {
                continue;
            }
            if change.main == self.compacted && change.put.is_none() {
                continue;
            }
            bytes.extend(change.main.to_be_bytes());
            bytes.push(b'_');
            bytes.extend(u64::from(change.sub).to_be_bytes());
            if change.put.is_none() {
                bytes.push(b't');
            }
            bytes.extend(marshal(&change.key, change.put.as_ref()));
        }
        Ok(crc32c::crc32c(&bytes))
    }
}

fn satisfies(pair: &Pair, compare: &Compare) -> bool {
    let ordering = match &compare.operand {
        Operand::Version(given) => pair.version.cmp(given),
        Operand::CreateRevision(given) => pair.create.cmp(given),
        Operand::ModRevision(given) => pair.modified.cmp(given),
        Operand::Lease(given) => pair.lease.cmp(given),
        Operand::Value(given) => pair.value[..].cmp(given),
        Operand::Unrecognized(_) => std::cmp::Ordering::Equal,
    };
    match compare.relation {
        Relation::Equal => ordering.is_eq(),
        Relation::Greater => ordering.is_gt(),
        Relation::Less => ordering.is_lt(),
        Relation::NotEqual => ordering.is_ne(),
        Relation::Unrecognized(_) => true,
    }
}

fn contains_put(command: &Command) -> bool {
    fn txn_puts(txn: &Txn) -> bool {
        txn.success.iter().chain(&txn.failure).any(|op| match op {
            Op::Put(_) => true,
            Op::Txn(nested) => txn_puts(nested),
            Op::Range(_) | Op::DeleteRange(_) | Op::Empty => false,
        })
    }
    match command {
        Command::Put(_) => true,
        Command::Txn(txn) => txn_puts(txn),
        Command::DeleteRange(_) | Command::Compact(_) | Command::Alarm(_) | Command::RaiseFeatureLevel { .. } => false,
    }
}

/// Encodes a pair as protobuf by hand. Every length and number in these tests fits into seven bits.
fn marshal(key: &[u8], put: Option<&Pair>) -> Vec<u8> {
    let small = |number: i64| u8::try_from(number).ok().filter(|byte| *byte < 0x80).expect("a small number");
    let mut out = vec![0x0a, small(key.len() as i64)];
    out.extend(key);
    let Some(pair) = put else { return out };
    out.extend([0x10, small(pair.create), 0x18, small(pair.modified), 0x20, small(pair.version)]);
    if !pair.value.is_empty() {
        out.extend([0x2a, small(pair.value.len() as i64)]);
        out.extend(&pair.value);
    }
    out
}
