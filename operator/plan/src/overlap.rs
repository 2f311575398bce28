//! Whether operators of two releases manage the same cluster. Owns the judgement, from the release that is noted on the
//! members' Service. Does not own the note's key (`names.rs`), nor the write and the report (the shell).
//!
//! Every active operator notes its release once on each cluster. An operator that finds another release in place of its
//! own note is not the only one: it reports the other release once, and does not replace the note. The number of
//! writes is therefore bounded, whatever the other operator does.

/// What the active operator has done about the note on a cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NoteState {
    /// It has not found its own note yet, and has written none.
    #[default]
    Unwritten,
    /// Its note was on the cluster.
    Written,
    /// It has reported the release that replaced its note.
    Reported,
}

/// What the active operator must do about the note on a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reaction<'n> {
    /// Nothing.
    Nothing,
    /// Write the name of its own release.
    Write,
    /// Report that an operator of another release manages the same cluster.
    Report {
        /// The other release.
        other: &'n str,
    },
}

/// Returns what must be done about the note, and the state after it was done. `noted` is the note as observed; `None`
/// if there is none.
#[must_use]
pub fn react<'n>(noted: Option<&'n str>, own: &str, before: NoteState) -> (Reaction<'n>, NoteState) {
    match (noted, before) {
        (Some(release), NoteState::Unwritten | NoteState::Written) if release == own => {
            (Reaction::Nothing, NoteState::Written)
        }
        // The note is that of an operator that was active before this one, or of another active one. In the second
        // case the other operator finds this note in place of its own, and reports it.
        (_, NoteState::Unwritten) => (Reaction::Write, NoteState::Written),
        // A person may have removed the note, or the Service was created again.
        (None, NoteState::Written) => (Reaction::Write, NoteState::Written),
        (Some(other), NoteState::Written) => (Reaction::Report { other }, NoteState::Reported),
        (_, NoteState::Reported) => (Reaction::Nothing, NoteState::Reported),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cluster's note, and the operators that pass it in turn.
    fn passes(order: &[&'static str]) -> (Vec<(&'static str, String)>, u32) {
        let mut note: Option<String> = None;
        let mut states = std::collections::BTreeMap::new();
        let (mut reports, mut writes) = (Vec::new(), 0);
        for own in order {
            let state = states.entry(*own).or_default();
            let (reaction, after) = react(note.as_deref(), own, *state);
            *state = after;
            match reaction {
                Reaction::Nothing => {}
                Reaction::Write => {
                    note = Some((*own).to_owned());
                    writes += 1;
                }
                Reaction::Report { other } => reports.push((*own, other.to_owned())),
            }
        }
        (reports, writes)
    }

    #[test]
    fn one_of_two_operators_reports_the_other_once() {
        let (reports, writes) = passes(&["a", "a", "b", "a", "b", "a", "b", "a"]);
        assert_eq!(reports, [("a", "b".to_owned())]);
        assert_eq!(writes, 2, "neither replaces the other's note again");
    }

    #[test]
    fn an_operator_that_follows_another_one_reports_nothing() {
        let (reports, writes) = passes(&["a", "a", "b", "b", "b"]);
        assert_eq!((reports, writes), (Vec::new(), 2));
    }

    #[test]
    fn a_removed_note_is_written_again() {
        assert_eq!(react(None, "a", NoteState::Written), (Reaction::Write, NoteState::Written));
        assert_eq!(react(None, "a", NoteState::Reported), (Reaction::Nothing, NoteState::Reported));
    }
}
