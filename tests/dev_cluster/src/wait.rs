//! The one place that waits: a condition, looked at again and again until it holds or its deadline has passed.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// What starts, ends or shows within a moment and has not by then never will; generous, as its machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(100);

/// Looks at `condition` until it gives a value; returns that value.
///
/// # Errors
/// After `limit`, naming `what` and the last error of `condition`; a condition that fails is looked at again.
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

/// `Some(())` if `holds`; the usual last line of a condition.
pub(crate) fn so(holds: bool) -> Result<Option<()>> {
    Ok(holds.then_some(()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_comes_true_gives_its_value() {
        let mut looks = 0;
        let found = until("counting", PATIENCE, || {
            looks += 1;
            Ok((looks == 3).then_some(looks))
        });
        assert_eq!(found.unwrap(), 3);
    }

    #[test]
    fn the_error_names_what_was_awaited_and_why_it_failed() {
        let error = until::<()>("the sky falling", Duration::ZERO, || bail!("it holds")).unwrap_err().to_string();
        assert_eq!(error, "the sky falling: not so after 0 s: it holds");
    }
}
