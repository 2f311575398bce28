//! Random histories of a member on a faulty disk, and the states that the member may find after a crash. Owns the model of the
//! acknowledged writes. Does not own the choice of faults (each test).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use memory_disk::{Choice, MemoryDisk};
use raft::{
    Configuration, Entry, EntryId, HardState, Index, IoId, MemberId, MemberInfo, Payload, Persist, Restored,
    SnapshotMeta, Term,
};
use storage::{
    ClusterId, ClusterIdentity, LogFormat, OpenError, Options, Recovered, SnapshotError, SnapshotInfo, SnapshotOrigin,
    Start, Storage, StorageError,
};

pub(crate) const MEMBER: MemberId = MemberId(0xA11CE);

pub(crate) fn dir() -> PathBuf {
    PathBuf::from("/data")
}

/// All formats of the log.
pub(crate) const FORMATS: [LogFormat; 2] = [LogFormat::V1, LogFormat::V2];

/// Returns an empty disk that tears in the unit for which a format of the log is laid out. [`open`] writes this format to it.
pub(crate) fn disk_for(format: LogFormat) -> MemoryDisk {
    MemoryDisk::with_tear_unit(format.unit())
}

/// Returns an empty disk for the format that members write by default.
pub(crate) fn disk() -> MemoryDisk {
    disk_for(LogFormat::default())
}

/// Numbers of entries that stay before a snapshot: none, fewer than a segment holds, about as many, and all of them.
const TRAILING: [u64; 4] = [0, 3, 20, u64::MAX];

/// Settings with small segments, so that short histories have several segments.
pub(crate) fn options(salt: u64) -> Options {
    Options { segment_bytes: 8 * 1024, snapshots_kept: 2, ..Options::new(MEMBER, salt) }
}

/// The same settings for a format, with segments of several batches.
pub(crate) fn options_for(format: LogFormat, salt: u64) -> Options {
    let segment_bytes = match format {
        LogFormat::V1 => 8 * 1024,
        LogFormat::V2 => 32 * 1024,
    };
    Options { segment_bytes, format, ..options(salt) }
}

pub(crate) fn open(disk: &MemoryDisk, salt: u64) -> Result<Recovered, OpenError> {
    let format = FORMATS.into_iter().find(|format| format.unit() == disk.tear_unit()).expect("a disk for a format");
    let mut found = Storage::open(Arc::new(disk.clone()), &dir(), options_for(format, salt))?;
    is_outlined(&mut found);
    Ok(found)
}

/// Checks that a start that returned the whole log describes it by the outline, and reads the same entries back.
fn is_outlined(found: &mut Recovered) {
    let Recovered { storage, raft, log, .. } = found;
    let entries = &raft.log.tail;
    let Some([first, last]) = entries.first().zip(entries.last()).map(|(a, b)| [a.id, b.id]) else { return };
    assert!([first.index.0 - 1, first.index.0].contains(&log.floor.index.0), "{:?} below {first:?}", log.floor);
    let after: Vec<&Entry> = entries.iter().filter(|entry| entry.id.index > log.floor.index).collect();
    for Entry { id, .. } in &after {
        let term = log.terms.iter().rev().find(|(from, _)| *from <= id.index).map_or(log.floor.term, |(_, term)| *term);
        assert_eq!(term, id.term, "the term of entry {}", id.index);
    }
    let configurations: Vec<Index> =
        after.iter().filter(|e| matches!(e.payload, Payload::Configuration(_))).map(|e| e.id.index).collect();
    assert_eq!(log.configurations.iter().map(|(index, _)| *index).collect::<Vec<_>>(), configurations);
    assert_eq!(log.marks, [], "no entry is only on disk");
    let read = storage.read_log(first.index, last.index, usize::MAX).expect("a start has read the same entries");
    assert!(read == *entries, "{} of {} entries are read back", read.len(), entries.len());
}

pub(crate) fn record() -> ClusterIdentity {
    let own = MemberInfo { name: "demo-1".into(), peer_url: "http://p".into(), client_url: "http://c".into() };
    let first_configuration = Configuration {
        voters: BTreeSet::from([MEMBER]),
        members: BTreeMap::from([(MEMBER, own.clone())]),
        ..Configuration::default()
    };
    ClusterIdentity { cluster_id: ClusterId([7; 16]), token_sha256: [9; 32], own, first_configuration }
}

/// State that a member must find at a start: every write that the member acknowledged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Model {
    pub(crate) joined: bool,
    pub(crate) hard_state: HardState,
    pub(crate) snapshot: Option<SnapshotMeta>,
    /// All entries since the last installed snapshot.
    pub(crate) log: Vec<Entry>,
}

impl Model {
    pub(crate) fn last(&self) -> EntryId {
        let base = self.snapshot.as_ref().map_or(EntryId::default(), |meta| meta.last);
        self.log.last().map_or(base, |entry| entry.id)
    }
}

/// One step of a history.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Bootstrap,
    Append(Vec<Persist>),
    TakeSnapshot { meta: SnapshotMeta, payload: Vec<u8>, first_kept: Index },
    Install { meta: SnapshotMeta, payload: Vec<u8>, hard_state: Option<HardState> },
    Restart,
}

pub(crate) fn entry(index: u64, term: u64, size: usize) -> Entry {
    let payload = match index % 7 {
        0 => Payload::Noop,
        1 => Payload::Configuration(Arc::new(record().first_configuration)),
        2 => Payload::Barrier,
        _ => Payload::Normal(Bytes::from(vec![(index % 251) as u8 ^ term as u8; size])),
    };
    Entry { id: EntryId { term: Term(term), index: Index(index) }, time_ms: index * 10 + term, payload }
}

pub(crate) fn meta(last: EntryId) -> SnapshotMeta {
    SnapshotMeta {
        last,
        time_ms: last.index.0 * 10,
        configuration: Arc::new(record().first_configuration),
        configuration_index: Index(1),
    }
}

pub(crate) fn payload_of(meta: &SnapshotMeta, size: usize) -> Vec<u8> {
    vec![meta.last.index.0 as u8; size]
}

impl Step {
    /// Chooses a random next step that is possible in the state of the model.
    pub(crate) fn random(choice: &mut Choice, model: &Model) -> Self {
        if !model.joined {
            return Self::Bootstrap;
        }
        match choice.below(12) {
            0 if model.last().index > Index(0) => Self::take(choice, model),
            1 => Self::install(choice, model),
            2 => Self::Restart,
            _ => Self::append(choice, model),
        }
    }

    fn append(choice: &mut Choice, model: &Model) -> Self {
        let mut term = model.hard_state.term.0;
        let mut last = model.last();
        let floor = model.snapshot.as_ref().map_or(0, |meta| meta.last.index.0);
        let persists = (0..=choice.below(3)).map(|io| {
            let mut hard_state = None;
            if term == 0 || choice.below(6) == 0 {
                term += 1;
                hard_state = Some(HardState { term: Term(term), vote: Some(MemberId(1 + choice.below(5))) });
                // A new leader may have different entries after the snapshot.
                let keep = floor + choice.below(last.index.0 - floor + 1);
                last.index = Index(keep.max(last.index.0.saturating_sub(4)).max(floor));
            }
            let entries: Vec<_> = (0..choice.below(4))
                .map(|_| {
                    last = EntryId { term: Term(term), index: last.index.next() };
                    entry(last.index.0, term, choice.below(1500) as usize)
                })
                .collect();
            if let Some(entry) = entries.last() {
                last = entry.id;
            }
            Persist { io: IoId(io), hard_state, entries }
        });
        let mut persists: Vec<_> = persists.collect();
        // Only a new entry truncates the log, so a step without an entry must not shorten the log of the model.
        if persists.iter().all(|persist| persist.entries.is_empty()) {
            let next = model.last().index.next();
            persists[0].entries = vec![entry(next.0, term, 100)];
        }
        Self::Append(persists)
    }

    fn take(choice: &mut Choice, model: &Model) -> Self {
        let Some(position) = (!model.log.is_empty()).then(|| choice.below(model.log.len() as u64) as usize) else {
            return Self::Restart;
        };
        let meta = meta(model.log[position].id);
        if model.snapshot.as_ref().is_some_and(|old| old.last.index >= meta.last.index) {
            return Self::Restart;
        }
        let payload = payload_of(&meta, choice.below(5000) as usize);
        // What the core keeps: the entries after the snapshot, and some before its end.
        let trailing = TRAILING[choice.below(TRAILING.len() as u64) as usize];
        let first_kept = Index(meta.last.index.0.saturating_sub(trailing)).next();
        Self::TakeSnapshot { meta, payload, first_kept }
    }

    fn install(choice: &mut Choice, model: &Model) -> Self {
        let term = Term(model.hard_state.term.0 + 1);
        let last = EntryId { term, index: Index(model.last().index.0 + 1 + choice.below(20)) };
        let meta = meta(last);
        let payload = payload_of(&meta, choice.below(5000) as usize);
        Self::Install { meta, payload, hard_state: Some(HardState { term, vote: None }) }
    }

    /// Applies an acknowledged step to the model.
    pub(crate) fn apply(&self, model: &mut Model) {
        match self {
            Self::Bootstrap => model.joined = true,
            Self::Append(persists) => {
                for persist in persists {
                    model.hard_state = persist.hard_state.unwrap_or(model.hard_state);
                    for entry in &persist.entries {
                        model.log.retain(|old| old.id.index < entry.id.index);
                        model.log.push(entry.clone());
                    }
                }
            }
            Self::TakeSnapshot { meta, .. } => model.snapshot = Some(meta.clone()),
            Self::Install { meta, hard_state, .. } => {
                model.hard_state = hard_state.unwrap_or(model.hard_state);
                model.snapshot = Some(meta.clone());
                model.log.clear();
            }
            Self::Restart => {}
        }
    }

    /// States that a crash during the step may leave: the state before the step, the state with only the new term and vote, and
    /// the state after the step.
    pub(crate) fn may_leave(&self, before: &Model) -> Vec<Model> {
        let mut after = before.clone();
        self.apply(&mut after);
        let mut states = vec![before.clone()];
        if after.hard_state != before.hard_state {
            states.push(Model { hard_state: after.hard_state, ..before.clone() });
        }
        states.push(after);
        states
    }
}

/// Reason why a step did not succeed.
#[derive(Debug)]
pub(crate) enum Ended {
    Write(StorageError),
    Snapshot(SnapshotError),
    Open(OpenError),
}

impl From<StorageError> for Ended {
    fn from(error: StorageError) -> Self {
        Self::Write(error)
    }
}

impl From<SnapshotError> for Ended {
    fn from(error: SnapshotError) -> Self {
        Self::Snapshot(error)
    }
}

impl From<OpenError> for Ended {
    fn from(error: OpenError) -> Self {
        Self::Open(error)
    }
}

/// Runs a step on a storage.
pub(crate) fn run(step: &Step, storage: &mut Option<Storage>, disk: &MemoryDisk, salt: u64) -> Result<(), Ended> {
    if matches!(step, Step::Restart) {
        *storage = None;
        *storage = Some(open(disk, salt)?.storage);
        return Ok(());
    }
    let storage = storage.as_mut().expect("only a failed restart leaves no storage");
    match step {
        Step::Bootstrap => {
            storage.bootstrap(record(), &Start::Empty)?;
        }
        Step::Append(persists) => storage.append(persists)?,
        Step::TakeSnapshot { meta, payload, first_kept } => {
            let mut writer = storage.snapshots().begin(meta.clone())?;
            writer.write(payload)?;
            writer.finish()?;
            storage.purge(*first_kept)?;
        }
        Step::Install { meta, payload, hard_state } => {
            let mut receiver = storage.snapshots().receive(meta.clone())?;
            receiver.write(payload)?;
            receiver.finish_verified()?;
            storage.install_snapshot(meta, *hard_state)?;
        }
        Step::Restart => unreachable!("handled above"),
    }
    Ok(())
}

/// A rule that storage broke, and how.
#[derive(Debug)]
pub(crate) struct Broken {
    pub(crate) rule: &'static str,
    pub(crate) seen: String,
}

impl Broken {
    pub(crate) fn new(rule: &'static str, seen: impl ToString) -> Self {
        Self { rule, seen: seen.to_string() }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.seen)
    }
}

/// Compares the contents that a start found with the model, and returns the first difference as an error.
pub(crate) fn is(model: &Model, found: &Recovered) -> Result<(), String> {
    let Recovered { identity, raft, snapshot, .. } = found;
    let expect = |what: &str, is_so: bool| if is_so { Ok(()) } else { Err(what.to_owned()) };
    expect("member", identity.member == MEMBER)?;
    expect("removed", identity.removed.is_none())?;
    expect("joined", identity.cluster == model.joined.then(record))?;
    if !model.joined {
        return expect("nothing for the core", raft.log.tail.is_empty() && raft.hard_state == HardState::default());
    }
    let Restored { hard_state, snapshot: meta, log } = raft;
    let entries = &log.tail;
    expect("hard state", *hard_state == model.hard_state)?;
    expect("snapshot", snapshot.as_ref().map(|info| &info.meta) == model.snapshot.as_ref())?;
    let first_meta = SnapshotMeta { configuration: Arc::new(record().first_configuration), ..SnapshotMeta::default() };
    expect("snapshot meta", *meta == model.snapshot.clone().unwrap_or(first_meta))?;
    let first = entries.first().map_or(meta.last.index.next(), |entry| entry.id.index);
    expect("reach", first <= meta.last.index.next())?;
    let expected: Vec<_> = model.log.iter().filter(|entry| entry.id.index >= first).cloned().collect();
    let after = model.log.iter().filter(|entry| entry.id.index > meta.last.index).count();
    expect("entries after the snapshot", entries.len() >= after)?;
    expect("entries", *entries == expected)
}

/// Reads a snapshot and compares its payload with the payload that was written.
pub(crate) fn read_snapshot(storage: &Storage, info: &SnapshotInfo) -> Vec<u8> {
    let mut reader = storage.snapshots().open(info).expect("a listed snapshot can be opened");
    let mut payload = Vec::new();
    while let Some(chunk) = reader.next_chunk().expect("an undamaged snapshot can be read") {
        payload.extend_from_slice(&chunk);
    }
    assert_eq!(payload.len() as u64, info.bytes, "the whole payload");
    assert!(payload.iter().all(|byte| *byte == info.meta.last.index.0 as u8), "the payload as written");
    assert!(matches!(info.origin, SnapshotOrigin::Taken | SnapshotOrigin::Received));
    payload
}

/// Segments of the log, oldest first.
pub(crate) fn segments(disk: &MemoryDisk) -> Vec<PathBuf> {
    let wal = dir().join("wal");
    disk.files().into_iter().filter(|path| path.parent() == Some(Path::new(&wal))).collect()
}
