//! Modules of a crate do not import each other in a circle. Owns which circles are allowed, and why. Does not own how
//! imports are found (`modules.rs`). `cargo test -p tests --test tidy cycles -- --nocapture` prints the circles of every crate.

use std::collections::BTreeSet;

use super::modules::{Crate, crates};

/// The only circles that are allowed, each with the reason.
const ALLOWED: &[(Circle, &str)] = &[(
    Circle::Family,
    "a parent module declares its children and uses them, and a child uses its parent's types or adds an `impl` to one: \
     Rust needs a child's file for this, and nobody can meet the child without the parent",
)];

/// Files in other circles.
const KNOWN: super::Known = &[];

/// How the modules of a circle are related.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Circle {
    /// One module and its descendants; without the arrows from a descendant to an ancestor there is no circle.
    Family,
    /// Any other.
    Strangers,
}

#[test]
fn modules_import_each_other_in_one_direction() {
    let mut findings = Vec::new();
    println!("{:<20} {:>7} {:>7} {:>9} {:>9} {:>10}", "crate", "modules", "arrows", "circles", "files", "families");
    for found in crates() {
        let (strangers, families): (Vec<_>, Vec<_>) =
            circles(&found).into_iter().partition(|circle| kind(&found, circle) == Circle::Strangers);
        let files: usize = strangers.iter().map(Vec::len).sum();
        println!(
            "{:<20} {:>7} {:>7} {:>9} {files:>9} {:>10}",
            found.name,
            found.modules.len(),
            found.arrows.len(),
            strangers.len(),
            families.len()
        );
        let shown: Vec<String> = strangers.iter().map(|circle| describe(&found, circle)).collect();
        println!("{}", shown.concat());
        for (circle, text) in strangers.iter().zip(&shown) {
            let file = |module: &usize| found.modules[*module].file.clone();
            findings.extend(circle.iter().map(|module| (file(module), format!("{} is in\n{text}", file(module)))));
        }
    }
    super::settle_known(&findings, KNOWN);
    assert!(ALLOWED.iter().all(|(circle, _)| *circle != Circle::Strangers), "a circle of strangers is never allowed");
}

/// The sets of modules that reach each other, by index.
fn circles(of: &Crate) -> Vec<Vec<usize>> {
    let keep = |_: usize, _: usize| true;
    let reached: Vec<BTreeSet<usize>> = (0..of.modules.len()).map(|from| reach(of, from, &keep)).collect();
    let mut seen = BTreeSet::new();
    let mut circles = Vec::new();
    for from in 0..of.modules.len() {
        if seen.contains(&from) || !reached[from].contains(&from) {
            continue;
        }
        let circle: Vec<usize> = reached[from].iter().copied().filter(|to| reached[*to].contains(&from)).collect();
        seen.extend(circle.iter().copied());
        circles.push(circle);
    }
    circles
}

/// The modules at the ends of all ways from `from` over arrows that `keep` lets through.
fn reach(of: &Crate, from: usize, keep: &dyn Fn(usize, usize) -> bool) -> BTreeSet<usize> {
    let mut reached = BTreeSet::new();
    let mut next = vec![from];
    while let Some(at) = next.pop() {
        for &(source, target) in of.arrows.keys() {
            if source == at && keep(source, target) && reached.insert(target) {
                next.push(target);
            }
        }
    }
    reached
}

fn kind(of: &Crate, circle: &[usize]) -> Circle {
    let is_above = |above: usize, below: usize| {
        let (above, below) = (&of.modules[above].path, &of.modules[below].path);
        above.len() < below.len() && below.starts_with(above)
    };
    let has_top = circle.iter().any(|top| circle.iter().all(|other| other == top || is_above(*top, *other)));
    let downward = |from: usize, to: usize| circle.contains(&from) && circle.contains(&to) && !is_above(to, from);
    let is_family = has_top && !circle.iter().any(|from| reach(of, *from, &downward).contains(from));
    if is_family { Circle::Family } else { Circle::Strangers }
}

/// The arrows of a circle with one name that each of them carries.
fn describe(of: &Crate, circle: &[usize]) -> String {
    let mut lines = vec![format!("  a circle of {} modules\n", circle.len())];
    for ((from, to), name) in &of.arrows {
        if circle.contains(from) && circle.contains(to) {
            lines.push(format!("    {} -> {}: {name}\n", of.modules[*from].file, of.modules[*to].file));
        }
    }
    lines.concat()
}

#[test]
fn a_circle_of_parent_and_child_is_told_from_one_of_strangers() {
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
    let found = circles(&family);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(kind(&family, &found[0]), Circle::Family);

    let strangers = Crate::from_files(
        "x",
        &[
            ("src/lib.rs", "mod a; mod b; pub use b::B;"),
            ("src/a.rs", "use crate::B; pub struct A;"),
            ("src/b.rs", "pub struct B; fn f() -> crate::a::A { todo() } #[cfg(test)] mod tests { use crate::b; }"),
        ],
    );
    let found = circles(&strangers);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].len(), 2);
    assert_eq!(kind(&strangers, &found[0]), Circle::Strangers);
}
