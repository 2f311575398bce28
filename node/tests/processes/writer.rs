//! Owns a client that writes without pause and keeps a list of acknowledged writes. Each key is written at most once: a
//! write whose outcome is unknown is not repeated.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use proto::etcdserverpb as pb;
use proto::etcdserverpb::kv_client::KvClient;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::transport::Endpoint;

use crate::until::until;

/// Result of a writer.
#[derive(Debug, Default)]
pub(crate) struct Account {
    /// Acknowledged keys, in order.
    pub(crate) acknowledged: Vec<String>,
    /// Longest time between two acknowledgements.
    pub(crate) longest_gap: Duration,
}

/// A running writer.
#[derive(Debug)]
pub(crate) struct Writer {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
    task: JoinHandle<Account>,
}

/// Timeout of one write. After a timeout, the outcome of the write is unknown.
const ATTEMPT: Duration = Duration::from_secs(10);

impl Writer {
    /// Writes `prefix-1`, `prefix-2`, … to the first URL, and after each failure to the next URL.
    pub(crate) fn start(prefix: &str, urls: Vec<String>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&acknowledged));
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
                        count.fetch_add(1, Ordering::Relaxed);
                        account.longest_gap = account.longest_gap.max(last.elapsed());
                        last = Instant::now();
                    }
                    Err(_) => clients.rotate_left(1),
                }
            }
            account.longest_gap = account.longest_gap.max(last.elapsed());
            account
        });
        Self { stop, acknowledged, task }
    }

    /// Waits until `count` writes are acknowledged. These need not be the first writes, because a failed write is not
    /// repeated.
    pub(crate) async fn acknowledged(&self, count: usize) {
        let what = format!("{count} acknowledged writes");
        until(&what, async || (self.acknowledged.load(Ordering::Relaxed) >= count).then_some(())).await;
    }

    /// Stops the writer and returns its result.
    pub(crate) async fn finish(self) -> Account {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap()
    }
}
