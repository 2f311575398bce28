//! Seeded random requests to both, one after another, until an answer differs.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use world::settings;

use crate::chance::Chance;
use crate::generate::{self, Request};
use crate::subject::{Answer, Subject};

/// Seeds of an ordinary run.
const SEEDS: u64 = 4;
/// Requests of one seed.
const REQUESTS: usize = 2_500;

#[test]
fn a_member_answers_as_etcd_does() -> Result<()> {
    for seed in settings::seeds(SEEDS) {
        agree_on(seed)?;
    }
    Ok(())
}

fn agree_on(seed: u64) -> Result<()> {
    let (mut etcd, mut member) = (Subject::etcd()?, Subject::member()?);
    let mut chance = Chance::of(seed);
    let mut revision = 1;
    let mut compactions = BTreeSet::new();
    for number in 0..REQUESTS {
        let request = generate::request(&mut chance, revision);
        // etcd remembers the hashes of its last ten compactions, until it restarts: a decision of its own.
        if matches!(&request, Request::HashKv(hash) if compactions.contains(&hash.revision)) {
            continue;
        }
        let (theirs, ours) = (etcd.ask(request.clone()), member.ask(request.clone()));
        if theirs != ours {
            bail!(
                "SEED={seed}, request {number} at revision {revision}:\n{request:#?}\netcd: {theirs:#?}\nmember: {ours:#?}"
            );
        }
        revision = theirs.revision().unwrap_or(revision);
        if let (Request::Compact(compaction), Answer::Compact(_)) = (&request, &theirs) {
            compactions.insert(compaction.revision);
        }
    }
    println!("seed {seed}: {REQUESTS} answers equal, up to revision {revision}");
    Ok(())
}
