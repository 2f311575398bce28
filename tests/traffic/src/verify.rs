//! The reckoning: what the store holds against what was acknowledged. Reads only, at one revision.

use anyhow::{Context, Result, bail};
use proto::etcdserverpb::RangeRequest;
use proto::etcdserverpb::kv_client::KvClient;
use serde::{Deserialize, Serialize};
use tonic::transport::Channel;

use crate::record::Outcome;
use crate::writer::{key, value};

const PAGE: i64 = 2_000;

/// What was found.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Verdict {
    /// Writes acknowledged, all of which must be there.
    pub acknowledged: u64,
    /// Acknowledged writes that are not there, or not as written; must be 0.
    pub lost: u64,
    /// Keys that exist more than once over (version above 1); must be 0.
    pub repeated: u64,
    /// Writes with an unknown outcome that happened.
    pub unknown_applied: u64,
    /// Writes with an unknown outcome that did not.
    pub unknown_absent: u64,
    /// Writes that never left and are there all the same, or keys nobody wrote; must be 0.
    pub invented: u64,
    /// Store revision that all this was read at.
    pub revision: i64,
    /// The first few offending keys.
    pub examples: Vec<String>,
}

impl Verdict {
    /// Whether every acknowledgement was kept and nothing was repeated or invented.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.lost == 0 && self.repeated == 0 && self.invented == 0
    }

    fn offend(&mut self, what: &str, sequence: u64) {
        if self.examples.len() < 10 {
            self.examples.push(format!("{what}: {sequence}"));
        }
    }
}

/// The store's revision, by a linearizable read.
///
/// # Errors
/// The read failed.
pub async fn revision(client: &mut KvClient<Channel>) -> Result<i64> {
    let request = RangeRequest { key: b"\0".to_vec().into(), count_only: true, ..Default::default() };
    let response = client.range(request).await.context("reading the revision")?.into_inner();
    Ok(response.header.context("a response without header")?.revision)
}

/// Reads every key under `prefix`, linearizably and at one revision, and compares.
///
/// # Errors
/// A read failed; nothing is known then.
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
            bail!("the server returned a key beyond the asked range");
        }
    }
    for (sequence, (outcome, found)) in outcomes.iter().zip(found).enumerate() {
        match (outcome, found) {
            (Outcome::Acknowledged, true) => verdict.acknowledged += 1,
            (Outcome::Acknowledged, false) => {
                verdict.acknowledged += 1;
                verdict.lost += 1;
                verdict.offend("lost", sequence as u64);
            }
            (Outcome::Unknown, true) => verdict.unknown_applied += 1,
            (Outcome::Unknown, false) => verdict.unknown_absent += 1,
            (Outcome::NotSent, true) => {
                verdict.invented += 1;
                verdict.offend("never sent but there", sequence as u64);
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
        verdict.offend("written more than once", sequence);
    }
    // A wrong value is as good as no key: an acknowledged one then counts as lost.
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
