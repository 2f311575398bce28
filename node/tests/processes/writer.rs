//! A client that writes without pause and remembers what was acknowledged. Owns the account: each key is written once, and
//! never again when its outcome is unknown.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use proto::etcdserverpb as pb;
use proto::etcdserverpb::kv_client::KvClient;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::transport::Endpoint;

/// What a writer did.
#[derive(Debug, Default)]
pub(crate) struct Account {
    pub(crate) acknowledged: Vec<String>,
    /// The longest time between two acknowledgements.
    pub(crate) longest_gap: Duration,
}

/// A writer at work.
#[derive(Debug)]
pub(crate) struct Writer {
    stop: Arc<AtomicBool>,
    task: JoinHandle<Account>,
}

/// An attempt that takes longer counts as lost.
const ATTEMPT: Duration = Duration::from_secs(10);

impl Writer {
    /// Writes `prefix-1`, `prefix-2`, … to one member after the other, changing when one fails.
    pub(crate) fn start(prefix: &str, urls: Vec<String>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let prefix = prefix.to_owned();
        let task = tokio::spawn(async move {
            let mut account = Account::default();
            let mut clients: Vec<_> = urls
                .into_iter()
                .map(|url| KvClient::new(Endpoint::from_shared(url).unwrap().timeout(ATTEMPT).connect_lazy()))
                .collect();
            let mut last = Instant::now();
            for number in 1_u64.. {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                let key = format!("{prefix}-{number}");
                let put = pb::PutRequest { key: key.clone().into(), value: "v".into(), ..Default::default() };
                match clients[0].put(put).await {
                    Ok(_) => {
                        account.acknowledged.push(key);
                        account.longest_gap = account.longest_gap.max(last.elapsed());
                        last = Instant::now();
                    }
                    Err(_) => clients.rotate_left(1),
                }
            }
            account.longest_gap = account.longest_gap.max(last.elapsed());
            account
        });
        Self { stop, task }
    }

    /// Ends it and gives its account.
    pub(crate) async fn finish(self) -> Account {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}
