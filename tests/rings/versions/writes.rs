//! Clients that write to every member without pause, and the check at the end. Does not own the outcomes of writes, nor the
//! comparison with the store (`traffic`).

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;
use traffic::ledger::{Outcome, WriteLedger};
use traffic::verify::verify;
use traffic::writer::{Options, connect, write};

use crate::cluster::Member;
use crate::until::until;

const PREFIX: &str = "traffic-";
const VALUE_BYTES: usize = 200;
/// Limit of one write. Afterwards its outcome is unknown.
const DEADLINE: Duration = Duration::from_secs(10);
/// Pause between two writes of one client.
const PACE: Duration = Duration::from_millis(10);

/// One client for each member.
pub(crate) struct Writes {
    ledger: Arc<Mutex<WriteLedger>>,
    stop: watch::Sender<bool>,
    clients: Vec<JoinHandle<()>>,
}

impl Writes {
    pub(crate) fn start(members: &[Member]) -> Self {
        let ledger = Arc::new(Mutex::new(WriteLedger::new("all", Instant::now())));
        let (stop, stopped) = watch::channel(false);
        let client = |member: &Member| {
            let options = Options {
                endpoint: member.client_url(),
                prefix: PREFIX.to_owned(),
                value_bytes: VALUE_BYTES,
                deadline: DEADLINE,
                pace: PACE,
            };
            tokio::spawn(write(options, Arc::clone(&ledger), stopped.clone()))
        };
        Self { clients: members.iter().map(client).collect(), ledger, stop }
    }

    fn acknowledged(&self) -> usize {
        let ledger = self.ledger.lock().unwrap();
        ledger.outcomes().iter().filter(|outcome| **outcome == Outcome::Acknowledged).count()
    }

    /// Waits until `count` more writes are acknowledged.
    pub(crate) async fn more(&self, count: usize) {
        let target = self.acknowledged() + count;
        until(&format!("{count} more writes"), async || (self.acknowledged() >= target).then_some(())).await;
    }

    /// Stops writing, and reads everything through each member. Panics if an acknowledged write is missing.
    pub(crate) async fn check(self, members: &[Member]) {
        self.stop.send_replace(true);
        for client in self.clients {
            client.await.expect("a client does not panic");
        }
        let outcomes = self.ledger.lock().unwrap().outcomes().to_vec();
        for member in members {
            let verdict = until(&format!("{} serves everything", member.name), async || {
                let mut client = connect(&member.client_url()).await.ok()?;
                verify(&mut client, PREFIX, VALUE_BYTES, &outcomes).await.ok()
            })
            .await;
            println!("{}: {verdict:?}", member.name);
            assert!(verdict.holds() && verdict.acknowledged > 0, "{}: {verdict:?}", member.name);
        }
    }
}
