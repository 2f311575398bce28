//! Control-C during a run that owns a dev cluster: the cluster goes before the program does.

use std::thread;

use anyhow::Result;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// From now on an interrupt takes the dev cluster down and ends this program. A second interrupt changes nothing: what
/// is left then is cleared away by the next `up` or `down`.
pub(crate) fn take_down_on_interrupt() -> Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::Builder::new().name("interrupt".into()).spawn(move || {
        if let Some(signal) = signals.forever().next() {
            eprintln!("interrupted: taking the dev cluster down");
            if let Err(error) = dev_cluster::down() {
                eprintln!("{error:#}: `cargo xtask cluster down` clears it away");
            }
            // As a shell reports a program that a signal ended.
            std::process::exit(128 + signal);
        }
    })?;
    Ok(())
}
