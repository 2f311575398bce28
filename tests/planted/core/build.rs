//! Copies `node/raft/src` and plants the bugs of `src/bugs.rs` in the copy, each behind its switch
//! (`planting.rs`).

#[path = "../planting.rs"]
mod planting;

#[path = "src/bugs.rs"]
#[expect(unreachable_pub, dead_code, reason = "the crate exports them with their documentation")]
mod bugs;

use planting::Edit;

fn main() {
    let edits = bugs::BUGS.iter().enumerate().flat_map(|(place, bug)| {
        let edits = bug.edits.iter();
        edits.map(move |edit| Edit { place, bug: bug.name, file: edit.file, texts: (edit.from, edit.to) })
    });
    planting::plant_all("../../../node/raft/src", "src/bugs.rs", "crate::switch", edits);
}
