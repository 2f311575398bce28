//! Which bug is switched on, thread by thread. Owns nothing else.

use std::cell::Cell;

thread_local! {
    static ON: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Whether the bug at this place of the list is on in this thread.
pub(crate) fn is_on(place: usize) -> bool {
    ON.get() == Some(place)
}

/// Switches one bug on in this thread, and all others off; `None`: all.
///
/// # Panics
/// When no bug has this name.
pub fn plant(name: Option<&str>) {
    let place = name.map(|name| {
        let place = crate::bugs::BUGS.iter().position(|bug| bug.name == name);
        place.unwrap_or_else(|| panic!("no bug is called {name}"))
    });
    ON.set(place);
}
