//! Owns a value that one thread produces and another one waits for.

use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// A value that the log thread produces for the apply thread. Both hold a clone.
#[derive(Debug)]
pub struct Slot<T>(Arc<(Mutex<Option<T>>, Condvar)>);

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self(Arc::new((Mutex::new(None), Condvar::new())))
    }
}

impl<T> Clone for Slot<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Slot<T> {
    /// Provides the value and wakes the thread that waits for it.
    pub(crate) fn set(&self, value: T) {
        *self.0.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
        self.0.1.notify_all();
    }

    /// Returns whether the value is there.
    pub(crate) fn is_set(&self) -> bool {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Blocks until the value is there, and takes it. Always returns, because the log thread sets the value or ends the process.
    /// May be called once.
    pub(crate) fn wait(&self) -> T {
        let mut value = self.0.0.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match value.take() {
                Some(value) => return value,
                None => value = self.0.1.wait(value).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}
