//! Checks that there is no import cycle between the modules of a crate. Owns the kind of cycle that is allowed, and the
//! reason. Does not own how imports are found (`modules.rs`). `cargo test -p tests --test tidy cycles -- --nocapture`
//! prints the cycles of every crate.

use std::collections::BTreeSet;

use super::modules::{Crate, crates};

/// How the modules of a cycle are related.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Cycle {
    /// One module and its descendants. If descendants did not import their ancestors, there would be no cycle. Allowed,
    /// because a parent module declares and uses its children, and a child uses its parent's types or adds an `impl` to
    /// one of these types.
    Family,
    /// Any other relation. Never allowed.
    Strangers,
}

#[test]
fn modules_import_in_one_direction() {
    let mut findings = Vec::new();
    println!("{:<20} {:>7} {:>7} {:>9} {:>9} {:>10}", "crate", "modules", "imports", "cycles", "files", "families");
    for found in crates() {
        let (strangers, families): (Vec<_>, Vec<_>) =
            cycles(&found).into_iter().partition(|cycle| kind(&found, cycle) == Cycle::Strangers);
        let files: usize = strangers.iter().map(Vec::len).sum();
        println!(
            "{:<20} {:>7} {:>7} {:>9} {files:>9} {:>10}",
            found.name,
            found.modules.len(),
            found.imports.len(),
            strangers.len(),
            families.len()
        );
        let shown: Vec<String> = strangers.iter().map(|cycle| describe(&found, cycle)).collect();
        println!("{}", shown.concat());
        findings.extend(
            shown.iter().map(|cycle| format!("{}: move what both sides need below them:\n{cycle}", found.name)),
        );
    }
    super::settle(&findings);
}

/// Returns the cycles: sets of modules in which every module reaches every other. Modules are given by index.
fn cycles(of: &Crate) -> Vec<Vec<usize>> {
    let keep = |_: usize, _: usize| true;
    let reached: Vec<BTreeSet<usize>> = (0..of.modules.len()).map(|from| reach(of, from, &keep)).collect();
    let mut seen = BTreeSet::new();
    let mut cycles = Vec::new();
    for from in 0..of.modules.len() {
        if seen.contains(&from) || !reached[from].contains(&from) {
            continue;
        }
        let cycle: Vec<usize> = reached[from].iter().copied().filter(|to| reached[*to].contains(&from)).collect();
        seen.extend(cycle.iter().copied());
        cycles.push(cycle);
    }
    cycles
}

/// Returns the modules that can be reached from `from` over imports for which `keep` returns true.
fn reach(of: &Crate, from: usize, keep: &dyn Fn(usize, usize) -> bool) -> BTreeSet<usize> {
    let mut reached = BTreeSet::new();
    let mut next = vec![from];
    while let Some(at) = next.pop() {
        for &(source, target) in of.imports.keys() {
            if source == at && keep(source, target) && reached.insert(target) {
                next.push(target);
            }
        }
    }
    reached
}

fn kind(of: &Crate, cycle: &[usize]) -> Cycle {
    let is_above = |above: usize, below: usize| {
        let (above, below) = (&of.modules[above].path, &of.modules[below].path);
        above.len() < below.len() && below.starts_with(above)
    };
    let has_top = cycle.iter().any(|top| cycle.iter().all(|other| other == top || is_above(*top, *other)));
    let downward = |from: usize, to: usize| cycle.contains(&from) && cycle.contains(&to) && !is_above(to, from);
    let is_family = has_top && !cycle.iter().any(|from| reach(of, *from, &downward).contains(from));
    if is_family { Cycle::Family } else { Cycle::Strangers }
}

/// Lists the imports of a cycle. For each import, gives one of the names that it imports.
fn describe(of: &Crate, cycle: &[usize]) -> String {
    let mut lines = vec![format!("  a cycle of {} modules\n", cycle.len())];
    for ((from, to), name) in &of.imports {
        if cycle.contains(from) && cycle.contains(to) {
            lines.push(format!("    {} -> {}: {name}\n", of.modules[*from].file, of.modules[*to].file));
        }
    }
    lines.concat()
}

#[test]
fn a_cycle_of_parent_and_child_is_told_from_one_of_strangers() {
    let family = Crate::from_files(
        "x",
        &[
            ("src/lib.rs", "mod a; mod b;"),
            ("src/a.rs", "mod c; mod d; use self::c::C; pub struct A; fn f() { d::g() }"),
            ("src/a/c.rs", "use super::A; pub struct C; impl A {}"),
            ("src/a/d.rs", "use crate::a::A; use super::c::C; pub fn g() {}"),
            ("src/b.rs", "use crate::a::A;"),
        ],
    );
    let found = cycles(&family);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(kind(&family, &found[0]), Cycle::Family);

    let strangers = Crate::from_files(
        "x",
        &[
            ("src/lib.rs", "mod a; mod b; pub use b::B;"),
            ("src/a.rs", "use crate::B; pub struct A;"),
            ("src/b.rs", "pub struct B; fn f() -> crate::a::A { todo() } #[cfg(test)] mod tests { use crate::b; }"),
        ],
    );
    let found = cycles(&strangers);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].len(), 2);
    assert_eq!(kind(&strangers, &found[0]), Cycle::Strangers);
}
