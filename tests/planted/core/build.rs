//! Copies `node/raft/src` and plants the bugs of `src/bugs.rs` in the copy, each behind its switch
//! (`planting.rs`).

#[path = "../planting.rs"]
mod planting;

#[path = "src/bugs.rs"]
#[expect(unreachable_pub, dead_code, reason = "the crate exports them with their documentation")]
mod bugs;

use bugs::Part;

fn main() {
    planting::plant_all(Part::Core, "../../../node/raft/src", "src/bugs.rs", "crate::switch");
}
