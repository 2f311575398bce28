//! Waiting for a condition: the condition is checked repeatedly until it holds or its deadline has passed. Owns all
//! waiting of this crate.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// Time limit for an event that takes moments on an idle machine. It is long, because a machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Pause between two checks.
const PAUSE: Duration = Duration::from_millis(100);

/// Checks `condition` until it returns a value, and returns that value. After an error, the condition is checked again.
///
/// # Errors
/// Returns an error after `limit`, with `what` and the last error of `condition`.
pub fn until<T>(what: &str, limit: Duration, mut condition: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        let last = match condition() {
            Ok(Some(value)) => return Ok(value),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        if Instant::now() >= deadline {
            match last {
                Some(error) => bail!("{what}: not so after {} s: {error:#}", limit.as_secs()),
                None => bail!("{what}: not so after {} s", limit.as_secs()),
            }
        }
        std::thread::sleep(PAUSE);
    }
}

/// Returns `Some(())` if `holds`, otherwise `None`. A closure that is passed to [`until`] usually has this call as its
/// last expression.
pub(crate) fn so(holds: bool) -> Result<Option<()>> {
    Ok(holds.then_some(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_becomes_true_returns_its_value() {
        let mut checks = 0;
        let found = until("counting", PATIENCE, || {
            checks += 1;
            Ok((checks == 3).then_some(checks))
        });
        assert_eq!(found.unwrap(), 3);
    }

    #[test]
    fn the_error_names_the_condition_and_its_last_error() {
        let error = until::<()>("the sky falling", Duration::ZERO, || bail!("it holds")).unwrap_err().to_string();
        assert_eq!(error, "the sky falling: not so after 0 s: it holds");
    }
}
