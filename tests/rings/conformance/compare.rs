//! Sends the same random requests to etcd and to a member, one request after another, and stops at the first difference
//! between their responses. Does not own the requests (`generate.rs`).

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use world::parallel::on_all_processors;
use world::settings;

use crate::chance::Chance;
use crate::generate::{self, Request};
use crate::subject::{Answer, Subject};

/// Number of seeds in an ordinary run.
const SEEDS: u64 = 4;
/// Number of requests for each seed.
const REQUESTS: usize = 2_500;

#[test]
fn a_member_answers_as_etcd_does() {
    on_all_processors(settings::seeds(SEEDS), |seed| {
        compare_all(seed).unwrap_or_else(|difference| panic!("{difference:#}"));
    });
}

fn compare_all(seed: u64) -> Result<()> {
    let (mut etcd, mut member) = (Subject::etcd()?, Subject::member()?);
    let mut chance = Chance::of(seed);
    let mut revision = 1;
    let mut compactions = BTreeSet::new();
    for number in 0..REQUESTS {
        let request = generate::request(&mut chance, revision);
        // HashKV requests for the revision of a compaction are not sent. etcd can answer them, because it keeps the
        // hashes of its last ten compactions until it restarts; a member keeps no such hashes.
        if matches!(&request, Request::HashKv(hash) if compactions.contains(&hash.revision)) {
            continue;
        }
        if generate::ends_etcd(&request) {
            continue;
        }
        let (theirs, ours) = (etcd.send(request.clone()), member.send(request.clone()));
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
