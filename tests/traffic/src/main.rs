//! `traffic`: writes without pause, and tells what it saw. Owns the flags.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand};
use traffic::control::{self, Ask};
use traffic::writer::Options;

/// Writes fresh keys without pause, remembers every acknowledgement, and checks them.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Where a running client is asked; loopback.
    #[arg(long, default_value = "127.0.0.1:7070", global = true)]
    control: SocketAddr,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write until the process ends.
    Write {
        /// Where to, such as http://demo:2379.
        #[arg(long)]
        endpoint: String,
        /// Keys are this and a number.
        #[arg(long, default_value = "/traffic/")]
        prefix: String,
        /// Connections, each writing one key after the other.
        #[arg(long, default_value_t = 2)]
        writers: usize,
        /// Bytes of a value.
        #[arg(long, default_value_t = 64)]
        value_bytes: usize,
        /// A write without an answer by then has an unknown outcome, milliseconds.
        #[arg(long, default_value_t = 2_000)]
        deadline_ms: u64,
        /// Rest between two writes of one writer, milliseconds.
        #[arg(long, default_value_t = 0)]
        pace_ms: u64,
    },
    /// End the running client's phase, begin the next, print what the ended one looked like.
    Mark {
        /// Name of the phase that begins.
        next: String,
    },
    /// Stop the running client and compare a store with its record.
    Verify {
        /// Which store.
        #[arg(long)]
        endpoint: String,
    },
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let question = match arguments.command {
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
        Command::Mark { next } => Ask::Mark { next },
        Command::Verify { endpoint } => Ask::Verify { endpoint },
    };
    println!("{}", serde_json::to_string(&control::ask(arguments.control, &question).await?)?);
    Ok(())
}
