//! The task of a repair: rounds in which members are asked until one of them leads and has sent its log. Owns the pace of the rounds and
//! what follows from each answer. Does not own whom a round asks (`round.rs`) or the call (`peer/fetch.rs`).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use engine::shared::Shared;
use mvcc::FeatureLevel;
use proto::peer::Greeting;
use raft::{Index, MemberId, RemovalVerdict, Term};
use storage::{ClusterIdentity, Disk, LogRepair};
use tokio::sync::mpsc;

use crate::config::Config;
use crate::guarded;
use crate::member::repair::round::{PurgedAnswers, Round, Source};
use crate::member::repair::{Ended, Progress, Unmended, report, voters};
use crate::member::{Opened, StartError, open};
use crate::peer::fetch::{FetchError, Fetching};
use crate::peer::removal;

/// Shortest and longest pause after a round in which no member helped.
const PAUSE_MIN: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Maximum number of transfers from a member in a round. After the first one, this member may return to its newest snapshot.
const RETURNS_MAX: usize = 3;
/// Interval in which the progress is reported.
const REPORT_INTERVAL: Duration = Duration::from_millis(500);

/// Why an attempt did not complete the log.
enum Failed {
    /// Another attempt may succeed.
    NotNow(String),
    /// Another member is said to lead.
    Elsewhere(Source),
    /// The configuration of the member that was asked does not name this one.
    NotMember,
    /// The leader of this term does not have the next entry any more.
    Purged(Term),
    /// The runtime ends.
    Interrupted,
}

/// The runtime ends.
struct Interrupted;

pub(super) struct Task {
    pub(super) own_url: String,
    pub(super) cluster: ClusterIdentity,
    pub(super) config: Config,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) shared: Arc<Shared>,
    pub(super) supports: FeatureLevel,
    pub(super) progress: Arc<Mutex<Progress>>,
    /// `None` while a blocking task has it.
    pub(super) repair: Option<Box<LogRepair>>,
    /// The member that led last, or was said to.
    pub(super) leader: Option<Source>,
    pub(super) purged: PurgedAnswers,
}

impl Task {
    pub(super) async fn run(mut self, ended: mpsc::Sender<Ended>) {
        let mut reports = tokio::time::interval(REPORT_INTERVAL);
        let (shared, progress) = (Arc::clone(&self.shared), Arc::clone(&self.progress));
        let report = async {
            loop {
                reports.tick().await;
                report(&shared, &progress);
            }
        };
        let outcome = tokio::select! {
            outcome = self.complete() => outcome,
            () = report => return,
        };
        if let Ok(outcome) = outcome {
            // Fails only if the member is stopping.
            let _ = ended.send(outcome).await;
        }
    }

    /// Begins rounds until one of them ends the repair.
    async fn complete(&mut self) -> Result<Ended, Interrupted> {
        let mut pause = PAUSE_MIN;
        loop {
            if let Some(ended) = self.round().await? {
                return Ok(ended);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Asks the leader that was known last, the voters of the newest configuration that is known, and those that are said to lead. Returns
    /// the end of the repair, if this is one.
    async fn round(&mut self) -> Result<Option<Ended>, Interrupted> {
        let leader = self.leader.take();
        let mut round = Round::new(leader, voters(self.repair.as_deref().ok_or(Interrupted)?).collect());
        let mut may_be_removed = false;
        while let Some(source) = round.next() {
            let outcome = match self.attempt(&source).await {
                Ok(term) => self.finish(term).await,
                Err(reason) => Err(reason),
            };
            let from = source.member;
            match outcome {
                Ok(opened) => return Ok(Some(opened.map_err(Unmended::Start))),
                Err(Failed::NotNow(reason)) => tracing::info!(%from, reason, "the log is not complete yet"),
                Err(Failed::Elsewhere(leader)) => {
                    tracing::info!(%from, leader = %leader.member, "a member names the leader");
                    self.leader = Some(leader.clone());
                    round.refer(leader);
                }
                Err(Failed::NotMember) => may_be_removed = true,
                Err(Failed::Purged(term)) => {
                    if let Some(unmended) = self.was_purged(from, term)? {
                        return Ok(Some(Err(unmended)));
                    }
                }
                Err(Failed::Interrupted) => return Err(Interrupted),
            }
        }
        if may_be_removed { self.verify_removal().await } else { Ok(None) }
    }

    /// A leader has purged what is missing. Returns the end of the repair once that is certain.
    fn was_purged(&mut self, leader: MemberId, term: Term) -> Result<Option<Unmended>, Interrupted> {
        let index = self.repair.as_deref().ok_or(Interrupted)?.last().index;
        if self.purged.is_confirmed(term, Instant::now()) {
            let reason = format!(
                "the log after index {index} is damaged, and {leader}, which leads, has purged it: replace this member"
            );
            return Ok(Some(Unmended::Purged(reason)));
        }
        tracing::warn!(%leader, %index, "the leader has purged what is missing; another one may have it");
        self.note(0, format!("entries after {index}: {leader}, which leads, has purged them"));
        Ok(None)
    }

    /// A member says that its configuration does not name this one. Its word alone ends nothing: voters of the configuration that this
    /// member knows must say that it was removed.
    async fn verify_removal(&mut self) -> Result<Option<Ended>, Interrupted> {
        let repair = self.repair.as_deref().ok_or(Interrupted)?;
        let asked = voters(repair).map(|Source { member, url }| (url, self.greeting(member)));
        let verdict = removal::ask(asked.collect()).await;
        tracing::info!(?verdict, "asked the other voters whether this member was removed");
        let RemovalVerdict::Removed { index } = verdict else { return Ok(None) };
        match self.write_tombstone(index).await? {
            Ok(()) => Ok(Some(Err(Unmended::Removed(index)))),
            Err(reason) => {
                tracing::warn!(reason, "the tombstone was not written");
                Ok(None)
            }
        }
    }

    async fn write_tombstone(&mut self, index: Index) -> Result<Result<(), String>, Interrupted> {
        let mut repair = self.repair.take().ok_or(Interrupted)?;
        let written = tokio::task::spawn_blocking(move || {
            let outcome = repair.write_tombstone(index);
            (repair, outcome)
        });
        let (repair, outcome) = guarded::returned(written.await).ok_or(Interrupted)?;
        self.repair = Some(repair);
        Ok(outcome.map_err(|reason| reason.to_string()))
    }

    /// Fetches the log from a member, if it leads. Returns the term that it leads once the log is complete.
    async fn attempt(&mut self, source: &Source) -> Result<Term, Failed> {
        for _ in 0..RETURNS_MAX {
            let outcome = self.fetch(source).await?;
            let repair = self.repair.as_deref_mut().ok_or(Failed::Interrupted)?;
            match outcome {
                Fetch::Complete(term) => return Ok(term),
                Fetch::Differs if !repair.is_at_snapshot() => {
                    let index = repair.snapshot();
                    tracing::info!(%index, "the leader has another log, so all after the newest snapshot is fetched");
                    repair.return_to_snapshot();
                }
                Fetch::Differs => break,
            }
        }
        Err(Failed::NotNow("its log does not continue the one of this member".to_owned()))
    }

    async fn fetch(&mut self, source: &Source) -> Result<Fetch, Failed> {
        let repair = self.repair.as_deref().ok_or(Failed::Interrupted)?;
        let (after, is_committed) = (repair.last(), repair.is_at_snapshot());
        let greeting = self.greeting(source.member);
        match Fetching::begin(&source.url, greeting, repair.term(), after, is_committed).await {
            Ok(fetching) => {
                self.leader = Some(source.clone());
                let term = fetching.term;
                self.expect(fetching.bytes);
                match self.receive(source.member, fetching).await? {
                    Ok(()) => Ok(Fetch::Complete(term)),
                    Err(FetchError::Purged) => Err(Failed::Purged(term)),
                    Err(reason) => self.refused(reason),
                }
            }
            Err(reason) => self.refused(reason),
        }
    }

    /// Receives entries until the log is complete. The inner error says why the leader sends no more.
    async fn receive(&mut self, from: MemberId, mut fetching: Fetching) -> Result<Result<(), FetchError>, Failed> {
        let through = fetching.last.index;
        loop {
            let (entries, bytes) = match fetching.next().await {
                Ok(next) => next,
                Err(reason) => return Ok(Err(reason)),
            };
            if !entries.is_empty() {
                self.purged.clear();
            }
            let mut repair = self.repair.take().ok_or(Failed::Interrupted)?;
            self.note(bytes, format!("entries {} to {through} from {from}", repair.last().index.next()));
            let written = tokio::task::spawn_blocking(move || {
                let outcome = repair.append(&entries);
                (repair, outcome)
            });
            let (repair, outcome) = guarded::returned(written.await).ok_or(Failed::Interrupted)?;
            self.repair = Some(repair);
            outcome.map_err(|reason| Failed::NotNow(reason.to_string()))?;
            if fetching.is_complete() {
                return Ok(Ok(()));
            }
        }
    }

    /// What follows from a refusal, if it does not come from a leader whose term is known.
    fn refused(&self, reason: FetchError) -> Result<Fetch, Failed> {
        match reason {
            FetchError::Differs => Ok(Fetch::Differs),
            FetchError::Purged => Err(Failed::NotNow("it names no log and says that entries were purged".to_owned())),
            FetchError::NotMember => Err(Failed::NotMember),
            FetchError::Elsewhere { leader, url } => Err(self.referred(leader, url)),
            FetchError::NotNow(reason) => Err(Failed::NotNow(reason)),
        }
    }

    /// A member says that another one leads. If it does not know the address of that one, this member may.
    fn referred(&self, leader: MemberId, url: String) -> Failed {
        let known = || {
            let members = &self.repair.as_deref()?.configuration().members;
            members.get(&leader).map(|info| info.peer_url.clone())
        };
        let url = if url.is_empty() { known().unwrap_or_default() } else { url };
        if url.is_empty() || leader == self.shared.member() {
            return Failed::NotNow(format!("it does not lead, and {leader}, which does, cannot be asked"));
        }
        Failed::Elsewhere(Source { member: leader, url })
    }

    fn note(&self, bytes: usize, what: String) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        // An empty chunk is a sign of life and no progress.
        let moved = if bytes > 0 { Instant::now() } else { progress.moved };
        *progress = Progress { bytes: progress.bytes + bytes as u64, moved, what, ..*progress };
    }

    /// Notes how many bytes will follow; 0: not known.
    fn expect(&self, bytes: u64) {
        let mut progress = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        progress.total = if bytes > 0 { progress.bytes.saturating_add(bytes) } else { 0 };
    }

    /// Makes the repaired log the member's log, and opens the directory.
    async fn finish(&mut self, term: Term) -> Result<Result<Opened, StartError>, Failed> {
        let mut repair = self.repair.take().ok_or(Failed::Interrupted)?;
        let (config, disk) = (self.config.clone(), Arc::clone(&self.disk));
        let finished = tokio::task::spawn_blocking(move || match repair.finish(term) {
            Err(reason) => Err((repair, reason)),
            Ok(()) => {
                // Unlocks the directory.
                drop(repair);
                Ok(open(&config, &disk))
            }
        });
        match guarded::returned(finished.await).ok_or(Failed::Interrupted)? {
            Ok(opened) => Ok(opened),
            Err((repair, reason)) => {
                self.repair = Some(repair);
                Err(Failed::NotNow(reason.to_string()))
            }
        }
    }

    fn greeting(&self, to: MemberId) -> Greeting {
        Greeting {
            cluster_id: Bytes::copy_from_slice(&self.cluster.cluster_id.0),
            from: self.shared.member().0,
            to: to.0,
            protocol: wire::PROTOCOL,
            peer_url: self.own_url.clone(),
            feature_level: self.supports.0,
        }
    }
}

/// Outcome of a transfer that may be followed by another one from the same member.
enum Fetch {
    /// The log is that of the leader of this term.
    Complete(Term),
    /// The leader has another entry where this member's log ends.
    Differs,
}
