//! The kill tables in `tests/README.md`, which show how each planted bug was detected. Owns the format of a table and its
//! place in the file, which the name of the package marks.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use world::settings;

/// A row of the table: a bug, and the invariant that caught it.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) of: &'static str,
    pub(crate) invariant: &'static str,
    pub(crate) seeds: u64,
    pub(crate) budget: u64,
}

const BEGIN: &str = concat!("<!-- kill table: written by UPDATE=1 cargo test -p ", env!("CARGO_PKG_NAME"), " -->\n");
const END: &str = "<!-- end of the kill table -->\n";

fn write(rows: &[Row]) -> String {
    let mut text =
        "| Planted bug | What it is | Caught by | Seeds needed | Budget |\n|---|---|---|---|---|\n".to_owned();
    for Row { name, of, invariant, seeds, budget } in rows {
        writeln!(text, "| {name} | {of} | {invariant} | {seeds} | {budget} |")
            .expect("writing to a string does not fail");
    }
    text
}

/// Compares the table in the file with these rows. With `UPDATE=1`, writes the rows to the file instead.
pub(crate) fn settle(rows: &[Row]) {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let file = crates.map(|dir| dir.join("README.md")).find(|file| file.exists()).expect("`tests` has a README");
    let text = fs::read_to_string(&file).expect("the README can be read");
    let (before, rest) = text.split_once(BEGIN).expect("the README has a place for the table");
    let (held, after) = rest.split_once(END).expect("the table has an end");
    let fresh = write(rows);
    if settings::updates() {
        fs::write(&file, format!("{before}{BEGIN}{fresh}{END}{after}")).expect("the README can be written");
        return;
    }
    assert!(
        held == fresh,
        "the kill table is stale: UPDATE=1 cargo test -p {} writes\n{fresh}",
        env!("CARGO_PKG_NAME")
    );
}
