//! The question to the other voters whether this member was removed. Owns what their answers mean together, and how often a member
//! asks that takes part. Does not own what follows from the answer (`raft`; for a member that repairs its log, `member/repair.rs`).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use proto::peer::{Greeted, Greeting};
use raft::{Index, RemovalVerdict};

use crate::peer::{Peers, dial, greet};

/// Time within which a voter must answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);
/// Shortest and longest wait before the voters are asked again. A stream of forged notices causes no more questions than
/// this.
const WAIT_MIN: Duration = Duration::from_secs(1);
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Time without a question after which the next one is asked at once.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

/// The pace of the questions.
#[derive(Debug, Default)]
pub(super) struct Pace(Mutex<Option<Asked>>);

/// The latest question.
#[derive(Clone, Copy, Debug)]
struct Asked {
    at: Instant,
    wait: Duration,
}

impl Pace {
    /// Returns how long to wait before the voters are asked at or after `now`.
    fn next(&self, now: Instant) -> Duration {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = match *asked {
            Some(last) if now.saturating_duration_since(last.at) < FORGOTTEN_AFTER => {
                (last.wait * 2).clamp(WAIT_MIN, WAIT_MAX)
            }
            _ => Duration::ZERO,
        };
        *asked = Some(Asked { at: now + wait, wait });
        wait
    }
}

/// Asks the other voters, and reports to the core what they say. The core has at most one question under way.
pub(super) fn verify(peers: &Arc<Peers>) {
    let wait = peers.verifications.next(Instant::now());
    let peers = Arc::clone(peers);
    let runtime = peers.runtime.clone();
    runtime.spawn(async move {
        tokio::time::sleep(wait).await;
        let configuration = peers.configuration.load_full();
        let voters = configuration.voters.union(&configuration.outgoing).filter(|id| **id != peers.member());
        let asked = voters.filter_map(|voter| Some((peers.url(*voter)?, peers.greeting(*voter))));
        let verdict = ask(asked.collect()).await;
        tracing::info!(?verdict, "asked the other voters about a notice that this member was removed");
        peers.shared.removal_verified(verdict);
    });
}

/// Asks voters, each by its URL and the greeting for it, and returns what they say together.
pub(crate) async fn ask(voters: Vec<(String, Greeting)>) -> RemovalVerdict {
    let asked = voters.into_iter().map(async |(url, greeting)| {
        let answer = async { greet::ask(greeting, dial::connect(&url).await.ok()?).await.ok() };
        let greeted = tokio::time::timeout(ANSWER_TIMEOUT, answer).await.ok().flatten();
        greeted.map(|greeted| verdict_of(&greeted))
    });
    decide(futures::future::join_all(asked).await)
}

fn verdict_of(greeted: &Greeted) -> RemovalVerdict {
    let index = Index(greeted.configuration_index);
    match (greeted.removed, greeted.contains) {
        (true, _) => RemovalVerdict::Removed { index },
        (false, true) => RemovalVerdict::Contained { index },
        (false, false) => RemovalVerdict::Undecided,
    }
}

/// A removal that one voter knows is committed. Otherwise the voter with the newest configuration decides.
fn decide(answers: Vec<Option<RemovalVerdict>>) -> RemovalVerdict {
    let rank = |verdict: &RemovalVerdict| match verdict {
        RemovalVerdict::Removed { index } => (3, *index),
        RemovalVerdict::Contained { index } => (2, *index),
        RemovalVerdict::Undecided => (1, Index(0)),
        RemovalVerdict::Unreached => (0, Index(0)),
    };
    answers.into_iter().flatten().max_by_key(rank).unwrap_or(RemovalVerdict::Unreached)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greeted(configuration_index: u64, contains: bool, removed: bool) -> Option<RemovalVerdict> {
        Some(verdict_of(&Greeted { configuration_index, contains, removed, ..Greeted::default() }))
    }

    #[test]
    fn one_voter_that_knows_of_the_removal_decides() {
        let (behind, ahead) = (Index(5), Index(7));
        assert_eq!(decide(vec![None, None]), RemovalVerdict::Unreached);
        assert_eq!(decide(vec![None, greeted(0, false, false)]), RemovalVerdict::Undecided);
        let mut answers = vec![greeted(5, true, false), greeted(0, false, false), None];
        assert_eq!(decide(answers.clone()), RemovalVerdict::Contained { index: behind });
        answers.push(greeted(7, true, false));
        assert_eq!(decide(answers.clone()), RemovalVerdict::Contained { index: ahead });
        answers.push(greeted(6, false, true));
        assert_eq!(decide(answers), RemovalVerdict::Removed { index: Index(6) });
    }

    #[test]
    fn the_wait_grows_while_questions_follow_each_other() {
        let (pace, mut now) = (Pace::default(), Instant::now());
        let mut waits = Vec::new();
        for _ in 0..8 {
            let wait = pace.next(now);
            waits.push(wait.as_secs());
            now += wait;
        }
        assert_eq!(waits, [0, 1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(pace.next(now + FORGOTTEN_AFTER), Duration::ZERO);
    }
}
