//! Copies `node/engine/src` and plants those bugs of `tests/planted/switch/src/bugs.rs` in the copy that belong to it,
//! each behind its switch (`planting.rs`).

#[path = "../planting.rs"]
mod planting;

#[path = "../switch/src/bugs.rs"]
#[expect(unreachable_pub, dead_code, reason = "the crate with the switch exports them with their documentation")]
mod bugs;

use planting::Edit;

fn main() {
    let edits = bugs::BUGS.iter().enumerate().flat_map(|(place, bug)| {
        let edits = bug.edits.iter().filter(|edit| edit.part == bugs::Part::Engine);
        edits.map(move |edit| Edit { place, bug: bug.name, file: edit.file, texts: (edit.from, edit.to) })
    });
    planting::plant_all("../../../node/engine/src", "../switch/src/bugs.rs", "planted_switch", edits);
}
