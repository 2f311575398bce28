//! The one place for a snapshot that this member receives. Owns who may have it, and the rate that its sender must keep. Does
//! not own the transfer (`snapshot.rs`).
//!
//! Anyone who reaches the port could otherwise fill the disk with snapshots that are never installed, or hold a transfer
//! open that brings a byte now and then.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use raft::{MemberId, Term};
use tokio::sync::{Notify, OwnedMutexGuard, watch};
use tonic::Status;

use crate::peer::Peers;

/// Time for which an offer waits until this member follows its sender. A transfer has a connection of its own, so after a start
/// it may arrive before the leader's first heartbeat.
const FOLLOWS_WITHIN: Duration = Duration::from_secs(3);
const FOLLOWS_INTERVAL: Duration = Duration::from_millis(20);
/// Time within which a displaced transfer gives up its place. It may be writing a chunk.
const DISPLACED_WITHIN: Duration = Duration::from_secs(5);
/// Rate in bytes per second that a sender is expected to keep that announces none.
const RATE_UNANNOUNCED: u64 = 1 << 20;
/// A sender must keep this fraction of the rate that it announces, because it shares its limit among all receivers.
const RATE_FRACTION: u64 = 8;
/// Time over which the rate is measured.
const RATE_WINDOW: Duration = Duration::from_secs(10);

/// The place, and the transfer that has it.
#[derive(Debug, Default)]
pub(super) struct Incoming {
    place: Arc<tokio::sync::Mutex<()>>,
    displaces: Mutex<Option<watch::Sender<bool>>>,
    /// Notified when a transfer has taken the place.
    taken: Notify,
}

/// The right to receive a snapshot.
#[derive(Debug)]
pub(super) struct Place {
    /// Given back when the last byte is on the disk, not when the connection ends.
    pub(super) held: OwnedMutexGuard<()>,
    pub(super) displaced: watch::Receiver<bool>,
}

impl Incoming {
    /// Takes the place. The transfer that has it is displaced.
    ///
    /// # Errors
    /// Returns a refusal if that transfer does not end in time.
    pub(super) async fn take(&self) -> Result<Place, Status> {
        let taken = tokio::time::timeout(DISPLACED_WITHIN, self.displace()).await;
        let held = taken.map_err(|_| Status::unavailable("another snapshot is being written"))?;
        let (displaces, displaced) = watch::channel(false);
        *self.running() = Some(displaces);
        self.taken.notify_waiters();
        Ok(Place { held, displaced })
    }

    /// Displaces the transfer that has the place, and those that get it before this one, until this one has it.
    async fn displace(&self) -> OwnedMutexGuard<()> {
        let mut place = std::pin::pin!(Arc::clone(&self.place).lock_owned());
        loop {
            let taken = self.taken.notified();
            if let Some(running) = self.running().as_ref() {
                running.send_replace(true);
            }
            tokio::select! {
                held = &mut place => return held,
                () = taken => {}
            }
        }
    }

    fn running(&self) -> std::sync::MutexGuard<'_, Option<watch::Sender<bool>>> {
        self.displaces.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits until this member follows `from` as the leader of `term`.
///
/// # Errors
/// Returns a refusal if it does not within [`FOLLOWS_WITHIN`].
pub(super) async fn follows(peers: &Peers, from: MemberId, term: Term) -> Result<(), Status> {
    let follows = async {
        loop {
            let status = peers.shared.status();
            if status.leader == Some(from) && status.term == term {
                return;
            }
            tokio::time::sleep(FOLLOWS_INTERVAL).await;
        }
    };
    let followed = tokio::time::timeout(FOLLOWS_WITHIN, follows).await;
    followed.map_err(|_| Status::unavailable("this member does not follow the sender"))
}

/// The rate at which a snapshot arrives. Only the time in which this member waits for the network counts, so that its own slow
/// disk does not end a transfer.
#[derive(Debug)]
pub(super) struct LeastRate {
    least: u64,
    waited: Duration,
    bytes: u64,
}

impl LeastRate {
    /// Expects an eighth of the announced bytes per second; 0: the sender announces nothing.
    pub(super) fn expect(announced: u64) -> Self {
        let announced = if announced == 0 { RATE_UNANNOUNCED } else { announced };
        Self { least: announced / RATE_FRACTION, waited: Duration::ZERO, bytes: 0 }
    }

    /// Time for which the next chunk may be waited for.
    pub(super) fn left(&self) -> Duration {
        RATE_WINDOW.saturating_sub(self.waited)
    }

    /// Counts the wait for a chunk.
    ///
    /// # Errors
    /// Returns that the sender is too slow.
    pub(super) fn count(&mut self, waited: Duration, bytes: usize) -> Result<(), Status> {
        self.waited += waited;
        self.bytes += bytes as u64;
        if self.waited < RATE_WINDOW {
            return Ok(());
        }
        if self.bytes < self.least.saturating_mul(RATE_WINDOW.as_secs()) {
            return Err(self.too_slow());
        }
        (self.waited, self.bytes) = (Duration::ZERO, 0);
        Ok(())
    }

    /// Says what was expected and what came.
    pub(super) fn too_slow(&self) -> Status {
        let (bytes, least) = (self.bytes, self.least);
        Status::deadline_exceeded(format!("{bytes} bytes came in {RATE_WINDOW:?}, less than {least} a second"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_new_transfer_displaces_the_one_that_runs() {
        let incoming = Incoming::default();
        let mut first = incoming.take().await.unwrap();
        let second = tokio::join!(incoming.take(), async {
            first.displaced.wait_for(|displaced| *displaced).await.unwrap();
            drop(first);
        });
        let second = second.0.unwrap();
        assert!(!*second.displaced.borrow());
    }

    /// Two transfers wait. The one that comes first gives way to the other as soon as it has the place.
    #[tokio::test(start_paused = true)]
    async fn the_newest_of_several_transfers_has_the_place_at_last() {
        let incoming = Incoming::default();
        let first = incoming.take().await.unwrap();
        let second = async {
            let mut place = incoming.take().await.unwrap();
            place.displaced.wait_for(|displaced| *displaced).await.unwrap();
        };
        let third = async {
            tokio::task::yield_now().await;
            incoming.take().await.unwrap()
        };
        let ends = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            drop(first);
        };
        let ((), third, ()) = tokio::join!(second, third, ends);
        assert!(!*third.displaced.borrow());
    }

    #[tokio::test(start_paused = true)]
    async fn a_transfer_that_cannot_end_keeps_the_place() {
        let incoming = Incoming::default();
        let first = incoming.take().await.unwrap();
        assert_eq!(incoming.take().await.unwrap_err().code(), tonic::Code::Unavailable);
        drop(first);
        incoming.take().await.unwrap();
    }

    #[test]
    fn a_sender_must_keep_an_eighth_of_what_it_announces() {
        let second = Duration::from_secs(1);
        for (announced, bytes, is_enough) in
            [(8_000, 1_000, true), (8_000, 999, false), (0, 131_072, true), (0, 131_071, false)]
        {
            let mut rate = LeastRate::expect(announced);
            let outcome = (0..10).try_for_each(|_| rate.count(second, bytes));
            assert_eq!(outcome.is_ok(), is_enough, "{announced} announced, {bytes} a second");
        }
        let mut rate = LeastRate::expect(8_000);
        assert!((0..9).all(|_| rate.count(second, 0).is_ok()), "less than the window says nothing");
        assert_eq!(rate.left(), second);
        assert!(rate.count(second, 10_000).is_ok());
        assert_eq!(rate.left(), RATE_WINDOW, "each window is measured alone");
    }
}
