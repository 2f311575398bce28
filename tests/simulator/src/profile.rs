//! The profile of a run: number of members, limits, faults and their frequency. Owns the random choice of a profile.
//! Each seed gets a few kinds of faults, not all of them together ("swarm testing", Groce et al. 2012).

use std::time::Duration;

use raft::{Config, Limits, MemberId};
use world::network::NetworkProfile;
use world::seed::{Random, Seed};

use crate::fault::{Fault, Faults};
use crate::version::{Version, keep_to_the_rules};

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// A profile of a run.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Kinds of faults that may strike in this run.
    pub faults: Faults,
    /// Number of voters at the start.
    pub voters: u64,
    /// Minimum and maximum number of voters that the operator requests.
    pub sizes: (u64, u64),
    /// Limits and times of the newer version. Each member has its own ID and seed instead of those given here.
    pub config: Config,
    /// The older version; every start of a member chooses it with probability 1/2. `None`: all members run the newer
    /// version.
    pub older: Option<Version>,
    /// The network profile.
    pub network: NetworkProfile,
    /// Minimum and maximum duration of a sync.
    pub sync: (Duration, Duration),
    /// Minimum and maximum time from the request of a core to read its log to the answer.
    pub read: (Duration, Duration),
    /// Minimum and maximum duration of an apply of committed entries.
    pub apply: (Duration, Duration),
    /// Maximum time that a snapshot transfer takes in addition to the network's delay.
    pub transfer: Duration,
    /// Maximum time for which a member collects inputs before it requests outputs.
    pub batch: Duration,
    /// Number of clients.
    pub clients: usize,
    /// Number of registers that clients share.
    pub keys: u64,
    /// Time to live of a lease.
    pub lease: Duration,
    /// Minimum and maximum pause of a client between two operations.
    pub think: (Duration, Duration),
    /// Maximum time that a client waits for an answer.
    pub patience: Duration,
    /// Maximum padding of a command, in bytes.
    pub padding: u64,
    /// Probability that a member crashes after an output, per million.
    pub crash_per_output: u32,
    /// Minimum and maximum time that a member stays down.
    pub downtime: (Duration, Duration),
    /// Typical time between two strikes of the same kind of fault.
    pub interval: Duration,
}

impl Profile {
    /// Draws a profile whose faults are all among `allowed`.
    pub fn draw(random: &mut Random, allowed: &Faults) -> Self {
        let allowed = &allowed.without_space();
        let faults = match random.below(8) {
            0 => allowed.clone(),
            1 => allowed.filter(|_| random.chance(200_000)),
            _ => allowed.filter(|_| random.coin()),
        };
        let network = network(random, &faults);
        let voters = *random.pick(&[1, 2, 3, 3, 3, 3, 4, 5, 5, 5, 7]);
        let largest = random.between(voters, 9);
        let think = random.long_tailed(ms(2), ms(150));
        let slow_disk = random.long_tailed(ms(1), ms(40));
        let mut newest = config(random, &faults);
        let older = faults.include(Fault::MixedVersions).then(|| older_than(&mut newest, random, &faults));
        Self {
            voters,
            sizes: (random.between(1, voters), largest),
            config: newest,
            older,
            network,
            sync: (Duration::from_micros(100), slow_disk),
            read: (Duration::from_micros(50), random.long_tailed(ms(1), ms(1_500))),
            apply: (Duration::from_micros(20), random.long_tailed(ms(1), ms(60))),
            transfer: random.long_tailed(ms(1), ms(1_200)),
            batch: if random.coin() { Duration::ZERO } else { random.long_tailed(Duration::from_micros(100), ms(5)) },
            clients: random.between(1, 6) as usize,
            keys: random.between(1, 4),
            lease: random.long_tailed(ms(100), ms(5_000)),
            think: (think / 4, think * 2),
            patience: random.time(ms(300), ms(4_000)),
            padding: *random.pick(&[0, 0, 64, 700]),
            crash_per_output: if faults.include(Fault::Crash) { *random.pick(&[0, 30, 300, 1_500]) } else { 0 },
            downtime: (ms(1), random.long_tailed(ms(50), ms(6_000))),
            interval: random.time(ms(250), ms(5_000)),
            faults,
        }
    }

    /// Lets volumes be short of space in the runs of an eighth of the seeds, if `allowed` contains that fault. Without a draw,
    /// because a draw would change the runs of all seeds.
    pub fn may_lack_space(&mut self, seed: Seed, allowed: &Faults) {
        if allowed.include(Fault::BelowReserve) && seed.0 % 8 == 5 {
            self.faults.add(Fault::BelowReserve);
        }
    }

    /// A profile without faults, for callers that inject faults themselves.
    #[must_use]
    pub fn undisturbed(voters: u64) -> Self {
        Self {
            faults: Faults::none(),
            voters,
            sizes: (voters, voters),
            config: Config {
                limits: Limits { log_bytes: usize::MAX, ..Limits::default() },
                ..Config::new(MemberId(1), 0)
            },
            older: None,
            network: NetworkProfile::UNDISTURBED,
            sync: (Duration::from_micros(100), ms(3)),
            read: (Duration::from_micros(50), ms(1)),
            apply: (Duration::from_micros(20), ms(1)),
            transfer: ms(1),
            batch: Duration::ZERO,
            clients: 2,
            keys: 2,
            lease: ms(1_000),
            think: (ms(50), ms(150)),
            patience: ms(500),
            padding: 0,
            crash_per_output: 0,
            downtime: (ms(1), ms(300)),
            interval: ms(300),
        }
    }

    /// Changes the profile for the time after all faults are lifted: no faults, short delays.
    pub fn heal(&mut self) {
        self.faults = Faults::none();
        self.network = NetworkProfile::UNDISTURBED;
        self.sync = (Duration::from_micros(100), ms(3));
        self.read = (Duration::from_micros(50), ms(1));
        self.apply = (Duration::from_micros(20), ms(1));
        self.transfer = ms(1);
        self.crash_per_output = 0;
        self.patience = ms(4_000);
    }

    /// Chooses at random the version that a starting member runs.
    pub fn version(&self, random: &mut Random) -> Version {
        match &self.older {
            Some(older) if random.coin() => older.clone(),
            _ => Version { config: self.config.clone(), unknown: Vec::new() },
        }
    }
}

fn network(random: &mut Random, faults: &Faults) -> NetworkProfile {
    let mut network = NetworkProfile {
        delay: (Duration::from_micros(100), random.long_tailed(ms(1), ms(40))),
        ..NetworkProfile::UNDISTURBED
    };
    if faults.include(Fault::Loss) {
        network.loss = *random.pick(&[1_000, 10_000, 50_000, 200_000]);
    }
    if faults.include(Fault::Duplication) {
        network.duplication = *random.pick(&[1_000, 20_000, 200_000]);
    }
    if faults.include(Fault::Delay) {
        network.hold = *random.pick(&[1_000, 20_000, 200_000]);
        network.hold_max = random.long_tailed(ms(20), ms(8_000));
    }
    network
}

/// Returns an older version than the version with the settings `newest`. Adjusts the settings of both versions, so that
/// members of both versions may run in one cluster.
fn older_than(newest: &mut Config, random: &mut Random, faults: &Faults) -> Version {
    let mut older = config(random, faults);
    older.transfer_timeout = older.election_timeout * random.between(1, 4) as u32 / 2;
    keep_to_the_rules(newest, &mut older);
    Version::older(random, older)
}

/// Draws limits that are so small that entries leave the memory in most runs.
fn limits(random: &mut Random) -> Limits {
    Limits {
        log_bytes: *random.pick(&[0, 300, 4_096, usize::MAX]),
        unsettled_bytes: *random.pick(&[1_024, 64 << 10, 64 << 20]),
        applying_bytes: *random.pick(&[1, 4_096, 16 << 20]),
        read_back_bytes: *random.pick(&[0, 2_048, 8 << 20]),
    }
}

fn config(random: &mut Random, faults: &Faults) -> Config {
    let heartbeat = *random.pick(&[50, 150, 150]);
    let election = *random.pick(&[300, 1_000, 1_000]);
    let config = Config {
        heartbeat_interval: ms(heartbeat),
        election_timeout: ms(election),
        leader_lease: ms(election / 2),
        clock_drift: ms(election / 20),
        pre_vote: !random.chance(150_000),
        // A leader lease depends on clocks. It is therefore enabled only in runs whose clocks keep to their drift
        // bound.
        lease_reads: random.chance(300_000) && !faults.include(Fault::Clock),
        snapshot_threshold: *random.pick(&[3, 10, 40, 150, 1_024]),
        snapshot_trailing: *random.pick(&[0, 1, 8, 40, 1_024]),
        max_append_entries: *random.pick(&[1, 2, 8, 64]),
        max_append_bytes: *random.pick(&[64, 1_024, 1 << 20]),
        max_inflight_messages: *random.pick(&[1, 2, 16, 256]),
        max_inflight_bytes: *random.pick(&[128, 4_096, 16 << 20]),
        limits: limits(random),
        catch_up_entries: *random.pick(&[0, 4, 64]),
        transfer_timeout: ms(election),
        ..Config::new(MemberId(1), 0)
    };
    assert!(config.heartbeat_interval * 2 <= config.election_timeout, "the draw keeps to the core's rules");
    config
}
