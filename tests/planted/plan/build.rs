//! Copies `operator/plan/src` and plants those bugs of `src/bugs.rs` in the copy that belong to it, each behind its
//! switch (`planting.rs`).

#[path = "../planting.rs"]
mod planting;

#[path = "src/bugs.rs"]
#[expect(unreachable_pub, dead_code, reason = "the crate with the planner exports them with their documentation")]
mod bugs;

use bugs::Part;

fn main() {
    let copy = planting::plant_all(Part::Planner, "../../../operator/plan/src", "src/bugs.rs", "crate::switch");
    // The world must notice a bug by itself, therefore the planner's own assertions are off while a bug is on.
    let check = "    Finished { valid: &valid, observed, roster: &roster, identity, actions }.check();";
    let guarded = format!("    if !PLANTED {{\n    {check}\n    }}");
    let texts = (check, guarded.as_str());
    planting::plant(&copy.join("plan.rs"), "the switch of assertions", texts, "crate::switch::is_any_on()");
}
