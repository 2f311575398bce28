//! The program `traffic`, which writes without pause and reports the outcomes. Owns the program's flags.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand};
use traffic::control::{self, ControlRequest};
use traffic::writer::Options;

/// Writes new keys without pause, and checks that the store holds every acknowledged write.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Loopback address at which a running client serves requests.
    #[arg(long, default_value = "127.0.0.1:7070", global = true)]
    control: SocketAddr,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write until the process ends.
    Write {
        /// Endpoint to write to, such as http://demo:2379.
        #[arg(long)]
        endpoint: String,
        /// Prefix of every key; the key's number follows it.
        #[arg(long, default_value = "/traffic/")]
        prefix: String,
        /// Number of connections. Each connection writes one key after another.
        #[arg(long, default_value_t = 2)]
        writers: usize,
        /// Length of each value in bytes.
        #[arg(long, default_value_t = 64)]
        value_bytes: usize,
        /// Maximum wait for the response to a write, in milliseconds. The outcome of a write without a response is
        /// unknown.
        #[arg(long, default_value_t = 2_000)]
        deadline_ms: u64,
        /// Pause between two writes of one connection, in milliseconds.
        #[arg(long, default_value_t = 0)]
        pace_ms: u64,
    },
    /// End the running client's present phase, begin the next phase, and print a report on the phase that ended.
    Mark {
        /// Name of the phase that begins.
        next: String,
    },
    /// Stop the running client, and compare a store with the client's ledger.
    Verify {
        /// Endpoint of the store.
        #[arg(long)]
        endpoint: String,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let request = match arguments.command {
        Command::Write { endpoint, prefix, writers, value_bytes, deadline_ms, pace_ms } => {
            let options = Options {
                endpoint,
                prefix,
                value_bytes,
                deadline: Duration::from_millis(deadline_ms),
                pace: Duration::from_millis(pace_ms),
            };
            return control::serve(options, writers, arguments.control).await;
        }
        Command::Mark { next } => ControlRequest::Mark { next },
        Command::Verify { endpoint } => ControlRequest::Verify { endpoint },
    };
    println!("{}", serde_json::to_string(&control::send(arguments.control, &request).await?)?);
    Ok(())
}
