//! Owns the metrics of the process. They are read from `/proc` when the page is requested, and are missing on systems
//! without `/proc`. Does not own the metrics of the member (`state.rs`).

use std::fs;

use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

use rustix::param::clock_ticks_per_second;

use super::Page;

pub(super) fn register(page: &mut Page) {
    // The unit of CPU times in `/proc`.
    let ticks_per_second = clock_ticks_per_second() as f64;
    if let Some(stat) = fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(Stat::parse) {
        page.0.register(
            "process_cpu_seconds",
            "CPU time spent, user and system",
            ConstCounter::new(stat.cpu_ticks as f64 / ticks_per_second),
        );
        page.0.register("process_threads", "Threads", ConstGauge::new(stat.threads as i64));
        if let Some(boot) = fs::read_to_string("/proc/stat").ok().as_deref().and_then(boot_time) {
            page.0.register(
                "process_start_time_seconds",
                "Start time of the process, in seconds since the Unix epoch",
                ConstGauge::new(boot as f64 + stat.start_ticks as f64 / ticks_per_second),
            );
        }
    }
    if let Some(resident) = fs::read_to_string("/proc/self/status").ok().as_deref().and_then(resident_bytes) {
        page.0.register("process_resident_memory_bytes", "Memory in use", ConstGauge::new(resident as f64));
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        page.0.register("process_open_fds", "Open file descriptors", ConstGauge::new(open.count() as i64));
    }
    if let Some(max) = fs::read_to_string("/proc/self/limits").ok().as_deref().and_then(open_files_max) {
        page.0.register("process_max_fds", "Limit of open file descriptors", ConstGauge::new(max as f64));
    }
}

struct Stat {
    cpu_ticks: u64,
    threads: u64,
    start_ticks: u64,
}

impl Stat {
    /// Parses the fields after the last closing bracket, because the program's name before it may contain blanks and
    /// brackets.
    fn parse(text: &str) -> Option<Stat> {
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
        Some(Stat { cpu_ticks: number(11)? + number(12)?, threads: number(17)?, start_ticks: number(19)? })
    }
}

fn boot_time(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

fn resident_bytes(text: &str) -> Option<u64> {
    let kib = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().strip_suffix("kB")?;
    kib.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

fn open_files_max(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let text = "7 (raft) no) de) S 1 2 3 4 5 6 7 8 9 10 150 50 13 14 20 0 12 0 4242 99";
        let stat = Stat::parse(text).unwrap();
        assert_eq!((stat.cpu_ticks, stat.threads, stat.start_ticks), (200, 12, 4242));
        assert!(Stat::parse("7 (raft-node) S 1").is_none());
    }

    #[test]
    fn the_other_files_are_parsed() {
        assert_eq!(boot_time("cpu 1 2\nbtime 1700000000\n"), Some(1_700_000_000));
        assert_eq!(resident_bytes("Name:\tx\nVmRSS:\t  2048 kB\n"), Some(2048 * 1024));
        let limits =
            "Limit Soft Hard Units\nMax open files            1024                 4096                 files\n";
        assert_eq!(open_files_max(limits), Some(1024));
        assert_eq!(open_files_max("Max open files unlimited unlimited files\n"), None);
    }
}
