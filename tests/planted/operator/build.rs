//! Copies `operator/src` and plants those bugs of `tests/planted/plan/src/bugs.rs` in the copy that belong to it, each
//! behind its switch (`planting.rs`).

#[path = "../planting.rs"]
mod planting;

#[path = "../plan/src/bugs.rs"]
#[expect(unreachable_pub, dead_code, reason = "the crate with the planner exports them with their documentation")]
mod bugs;

use bugs::Part;

fn main() {
    planting::plant_all(Part::Shell, "../../../operator/src", "../plan/src/bugs.rs", "plan::switch");
}
