//! The switch of the planted bugs of one list. Each thread has its own switch; a simulated member or operator has no
//! threads, so one run is under one switch. Does not own the bugs (the files `bugs.rs`).

use std::cell::Cell;

use super::bugs::BUGS;

thread_local! {
    static ON: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Whether the bug at this position of the list is switched on in this thread.
#[must_use]
pub fn is_on(place: usize) -> bool {
    ON.get() == Some(place)
}

/// Whether any bug is switched on in this thread.
#[must_use]
pub fn is_any_on() -> bool {
    ON.get().is_some()
}

/// Switches one bug on in this thread and all others off; `None` switches all off.
///
/// # Panics
/// Panics if no bug has this name.
pub fn plant(name: Option<&str>) {
    let place = name.map(|name| {
        let place = BUGS.iter().position(|bug| bug.name == name);
        place.unwrap_or_else(|| panic!("unknown planted bug: {name}"))
    });
    ON.set(place);
}
