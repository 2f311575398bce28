//! Counts of events in runs. A test uses them to prove that its runs reached the situations that it must cover.

use std::fmt;
use std::time::Duration;

/// Counts of one run or sums over many runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Number of runs.
    pub seeds: u64,
    /// Simulated time.
    pub time: Duration,
    /// Inputs to members.
    pub steps: u64,
    /// Outputs carried out.
    pub outputs: u64,
    /// Outputs before all faults were lifted.
    pub outputs_under_faults: u64,
    /// Messages sent.
    pub messages: u64,
    /// Crashes of members.
    pub crashes: u64,
    /// Partitions.
    pub partitions: u64,
    /// Disks destroyed.
    pub wipes: u64,
    /// WAL records damaged or overwritten.
    pub ailments: u64,
    /// Logs of members repaired.
    pub repairs: u64,
    /// Syncs that failed, because of a full disk or otherwise.
    pub failed_syncs: u64,
    /// Failed reads of a disk when a member starts, sends a snapshot, or installs a snapshot.
    pub failed_reads: u64,
    /// Restarts at which a member may change its version.
    pub rolls: u64,
    /// Hints received by members whose version does not know them.
    pub hints_unknown: u64,
    /// Elections won.
    pub elections: u64,
    /// Changes of the space on volumes.
    pub standings: u64,
    /// Leadership transfers begun.
    pub transfers: u64,
    /// Entries committed.
    pub committed: u64,
    /// Configurations committed.
    pub configurations: u64,
    /// Clusters whose feature level was raised.
    pub raises: u64,
    /// Snapshots installed.
    pub installs: u64,
    /// Requests of a core to read entries that are not in memory, for another member or to apply them.
    pub log_reads: u64,
    /// Writes acknowledged.
    pub writes: u64,
    /// Acknowledged writes that involve more than one register or lease.
    pub wide: u64,
    /// Leases expired.
    pub expiries: u64,
    /// Linearizable reads checked.
    pub reads: u64,
    /// Operations in histories that were checked for linearizability.
    pub operations: u64,
    /// Sum of the runs' trace hashes ([`world::trace_hash`]).
    pub trace_hash: u64,
}

impl Coverage {
    /// Adds the counts of another run.
    pub fn add(&mut self, other: &Self) {
        self.seeds += other.seeds;
        self.time += other.time;
        self.steps += other.steps;
        self.outputs += other.outputs;
        self.outputs_under_faults += other.outputs_under_faults;
        self.messages += other.messages;
        self.crashes += other.crashes;
        self.partitions += other.partitions;
        self.wipes += other.wipes;
        self.ailments += other.ailments;
        self.repairs += other.repairs;
        self.failed_syncs += other.failed_syncs;
        self.failed_reads += other.failed_reads;
        self.rolls += other.rolls;
        self.hints_unknown += other.hints_unknown;
        self.elections += other.elections;
        self.standings += other.standings;
        self.transfers += other.transfers;
        self.committed += other.committed;
        self.configurations += other.configurations;
        self.raises += other.raises;
        self.installs += other.installs;
        self.log_reads += other.log_reads;
        self.writes += other.writes;
        self.wide += other.wide;
        self.expiries += other.expiries;
        self.reads += other.reads;
        self.operations += other.operations;
        self.trace_hash = self.trace_hash.wrapping_add(other.trace_hash);
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hours = self.time.as_secs_f64() / 3600.0;
        write!(
            f,
            "{} seeds, {hours:.1} simulated hours, {} steps, {} messages; {} crashes, {} partitions, {} disks lost, {} records damaged, {} logs repaired, {} syncs \
             and {} reads failed, {} restarts for another version, {} hints unknown to one, {} changes of the space on volumes; {} elections, \
             {} transfers, {} configurations, {} feature levels raised, {} snapshots installed, {} reads of the log; {} entries committed, {} writes acknowledged, {} of them wide, {} leases expired, {} reads \
             checked, {} operations checked for linearizability",
            self.seeds,
            self.steps,
            self.messages,
            self.crashes,
            self.partitions,
            self.wipes,
            self.ailments,
            self.repairs,
            self.failed_syncs,
            self.failed_reads,
            self.rolls,
            self.hints_unknown,
            self.standings,
            self.elections,
            self.transfers,
            self.configurations,
            self.raises,
            self.installs,
            self.log_reads,
            self.committed,
            self.writes,
            self.wide,
            self.expiries,
            self.reads,
            self.operations
        )
    }
}
