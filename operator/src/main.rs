//! Starts the operator: reads flags, sets up logging, and calls `run`. Does not own any logic.

use std::process::ExitCode;

use clap::Parser;
use raft_operator::run;
use raft_operator::settings::Settings;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let settings = Settings::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().json().flatten_event(true).with_env_filter(filter).init();
    match run::blocking(settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(%error, "the operator stops");
            ExitCode::FAILURE
        }
    }
}
