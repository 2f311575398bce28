//! Log lines of the member's process. Owns the filter and the format. Does not own the lines, which each module writes.

use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

/// Crates of this program that write log lines, besides the program's own crate.
const LIBRARIES: [&str; 3] = ["api", "archive", "engine"];

/// Starts to write log lines to standard error. A filter that cannot be parsed is reported, and `info` is used instead.
pub fn start(filter: &str, format: LogFormat) {
    let filter = EnvFilter::try_new(with_libraries(filter)).unwrap_or_else(|reason| {
        eprintln!("warning: --log: {reason}; using info");
        EnvFilter::new("info")
    });
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format {
        LogFormat::Text => lines.with_ansi(false).init(),
        LogFormat::Json => lines.json().init(),
    }
}

/// Extends each directive for `raft_node` to the crates that the program consists of. Otherwise `raft_node=debug` would
/// hide their lines, even the line that says why the process ends, because a filter with a target hides all others.
/// A directive in `filter` for one of these crates has precedence, because the last of two equal targets counts.
fn with_libraries(filter: &str) -> String {
    let own = filter.split(',').filter_map(|directive| directive.trim().strip_prefix("raft_node"));
    let whole = own.filter(|level| level.is_empty() || level.starts_with('='));
    let mut directives: Vec<String> =
        whole.flat_map(|level| LIBRARIES.map(|library| format!("{library}{level}"))).collect();
    directives.push(filter.to_owned());
    directives.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directive_for_the_program_covers_its_crates() {
        assert_eq!(with_libraries("info"), "info");
        assert_eq!(with_libraries("warn,raft_node=debug"), "api=debug,archive=debug,engine=debug,warn,raft_node=debug");
        assert_eq!(
            with_libraries("raft_node=info, engine=trace"),
            "api=info,archive=info,engine=info,raft_node=info, engine=trace"
        );
        assert_eq!(with_libraries("raft_node::peer=debug"), "raft_node::peer=debug", "a module of the program only");
    }

    #[test]
    fn the_last_directive_for_a_crate_counts() {
        let filter = EnvFilter::new(with_libraries("raft_node=info,engine=trace"));
        let text = filter.to_string();
        assert!(text.contains("engine=trace") && !text.contains("engine=info"), "{text}");
    }
}
