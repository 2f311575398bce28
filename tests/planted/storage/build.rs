//! Copies `node/storage/src` and plants those bugs of `tests/planted/switch/src/bugs.rs` in the copy that belong to it,
//! each behind its switch (`planting.rs`).

#[path = "../planting.rs"]
mod planting;

#[path = "../switch/src/bugs.rs"]
#[expect(unreachable_pub, dead_code, reason = "the crate with the switch exports them with their documentation")]
mod bugs;

use bugs::Part;

fn main() {
    planting::plant_all(Part::Storage, "../../../node/storage/src", "../switch/src/bugs.rs", "planted_switch");
}
