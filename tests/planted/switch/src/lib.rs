//! The switch of the bugs that can be planted in storage and engine. Each thread has its own switch; a simulated member
//! has no threads, so one run is under one switch. Owns the switch and the list of bugs (`bugs.rs`). Does not own the
//! copies in which the bugs are planted.

pub mod bugs;

use std::cell::Cell;

thread_local! {
    static ON: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Whether the bug at this position of the list is switched on in this thread.
#[must_use]
pub fn is_on(place: usize) -> bool {
    ON.get() == Some(place)
}

/// Switches one bug on in this thread and all others off; `None` switches all off.
///
/// # Panics
/// Panics if no bug has this name.
pub fn plant(name: Option<&str>) {
    let place = name.map(|name| {
        let place = bugs::BUGS.iter().position(|bug| bug.name == name);
        place.unwrap_or_else(|| panic!("unknown planted bug: {name}"))
    });
    ON.set(place);
}
