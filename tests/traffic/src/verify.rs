//! Comparison of the store with the ledger, by reads at one revision. Owns the verdict. Writes nothing to the store.

use anyhow::{Context, Result, bail};
use proto::etcdserverpb::RangeRequest;
use proto::etcdserverpb::kv_client::KvClient;
use serde::{Deserialize, Serialize};
use tonic::transport::Channel;

use crate::ledger::Outcome;
use crate::writer::{key, value};

const PAGE: i64 = 2_000;

/// Result of a comparison.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Verdict {
    /// Number of acknowledged writes. The store must hold all of them.
    pub acknowledged: u64,
    /// Number of acknowledged writes that the store lacks or holds with another value; must be 0.
    pub lost: u64,
    /// Number of keys that were written more than once (version above 1); must be 0.
    pub repeated: u64,
    /// Number of writes whose outcome the client does not know and that the store holds.
    pub unknown_applied: u64,
    /// Number of writes whose outcome the client does not know and that the store lacks.
    pub unknown_absent: u64,
    /// Number of keys in the store that this client never wrote; must be 0.
    pub invented: u64,
    /// Revision of the store at which all reads of the comparison were made.
    pub revision: i64,
    /// The first ten violations, with their sequence numbers.
    pub examples: Vec<String>,
}

impl Verdict {
    /// Returns whether no acknowledged write is lost, no key was written more than once, and this client wrote every
    /// key in the store.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.lost == 0 && self.repeated == 0 && self.invented == 0
    }

    fn add_example(&mut self, what: &str, sequence: u64) {
        if self.examples.len() < 10 {
            self.examples.push(format!("{what}: {sequence}"));
        }
    }
}

/// Reads the revision of the store with a linearizable read.
///
/// # Errors
/// Returns an error if the read failed.
pub async fn revision(client: &mut KvClient<Channel>) -> Result<i64> {
    let request = RangeRequest { key: b"\0".to_vec().into(), count_only: true, ..Default::default() };
    let response = client.range(request).await.context("reading the revision")?.into_inner();
    Ok(response.header.context("a response without header")?.revision)
}

/// Reads every key under `prefix` with linearizable reads at one revision, and compares the keys with the outcomes.
///
/// # Errors
/// Returns an error if a read failed. In that case there is no verdict.
pub async fn verify(
    client: &mut KvClient<Channel>,
    prefix: &str,
    value_bytes: usize,
    outcomes: &[Outcome],
) -> Result<Verdict> {
    let mut verdict = Verdict { revision: revision(client).await?, ..Default::default() };
    let mut found = vec![false; outcomes.len()];
    let mut from = prefix.as_bytes().to_vec();
    let end = prefix_end(prefix.as_bytes());
    loop {
        let request = RangeRequest {
            key: from.clone().into(),
            range_end: end.clone().into(),
            limit: PAGE,
            revision: verdict.revision,
            ..Default::default()
        };
        let page = client.range(request).await.context("reading a page of keys")?.into_inner();
        for kv in &page.kvs {
            check_key(&mut verdict, prefix, value_bytes, outcomes, &mut found, kv);
        }
        let Some(last) = page.kvs.last() else { break };
        if !page.more {
            break;
        }
        from = [&last.key[..], b"\0"].concat();
        if from > end {
            bail!("the server returned a key outside the requested range");
        }
    }
    for (sequence, (outcome, found)) in outcomes.iter().zip(found).enumerate() {
        match (outcome, found) {
            (Outcome::Acknowledged, true) => verdict.acknowledged += 1,
            (Outcome::Acknowledged, false) => {
                verdict.acknowledged += 1;
                verdict.lost += 1;
                verdict.add_example("lost", sequence as u64);
            }
            (Outcome::Unknown, true) => verdict.unknown_applied += 1,
            (Outcome::Unknown, false) => verdict.unknown_absent += 1,
            (Outcome::NotSent, true) => {
                verdict.invented += 1;
                verdict.add_example("in the store but never sent", sequence as u64);
            }
            (Outcome::NotSent, false) => {}
        }
    }
    Ok(verdict)
}

fn check_key(
    verdict: &mut Verdict,
    prefix: &str,
    value_bytes: usize,
    outcomes: &[Outcome],
    found: &mut [bool],
    kv: &proto::mvccpb::KeyValue,
) {
    let sequence = kv
        .key
        .strip_prefix(prefix.as_bytes())
        .and_then(|rest| std::str::from_utf8(rest).ok())
        .and_then(|rest| rest.parse::<u64>().ok())
        .filter(|&sequence| (sequence as usize) < outcomes.len() && key(prefix, sequence) == kv.key);
    let Some(sequence) = sequence else {
        verdict.invented += 1;
        return;
    };
    if kv.version != 1 || kv.create_revision != kv.mod_revision {
        verdict.repeated += 1;
        verdict.add_example("written more than once", sequence);
    }
    // A key with a wrong value counts as missing, so an acknowledged write of this key counts as lost.
    found[sequence as usize] = kv.value == value(sequence, value_bytes);
}

fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return end;
        }
    }
    b"\0".to_vec()
}
