//! The switch of the planted bugs. Each thread has its own switch. Does not own the bugs (`bugs.rs`).

use std::cell::Cell;

thread_local! {
    static ON: Cell<Option<usize>> = const { Cell::new(None) };
}

/// Whether the bug at this position of the list is switched on in this thread.
#[must_use]
pub fn is_on(place: usize) -> bool {
    ON.get() == Some(place)
}

/// Whether any bug is switched on in this thread.
pub(crate) fn is_any_on() -> bool {
    ON.get().is_some()
}

/// Switches one bug on in this thread and all others off; `None` switches all off.
///
/// # Panics
/// Panics if no bug has this name.
pub fn plant(name: Option<&str>) {
    let place = name.map(|name| {
        let place = crate::bugs::BUGS.iter().position(|bug| bug.name == name);
        place.unwrap_or_else(|| panic!("unknown planted bug: {name}"))
    });
    ON.set(place);
}
