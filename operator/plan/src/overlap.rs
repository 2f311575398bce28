//! Whether operators of two releases manage the same cluster. Owns the judgement, from the release that is noted on the
//! members' Service. Does not own the note's key (`names.rs`), nor the write and the report (the shell).
//!
//! Every active operator notes its release once on each cluster. An operator that finds another release in place of its
//! own note is not the only one: it reports the other release once, and does not replace the note. It writes again only
//! after a person removed the note, and reports again only another release, or after its own note was back. An operator
//! of a version before this note writes none and is not detected.

/// What the active operator has done about the note on a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NoteState {
    /// It has not found its own note yet, and has written none.
    #[default]
    Unwritten,
    /// Its note was on the cluster.
    Written,
    /// It has reported the release that replaced its note.
    Reported {
        /// The other release.
        other: String,
    },
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
pub fn react<'n>(noted: Option<&'n str>, own: &str, before: &NoteState) -> (Reaction<'n>, NoteState) {
    match (noted, before) {
        (Some(release), _) if release == own => (Reaction::Nothing, NoteState::Written),
        // The note is that of an operator that was active before this one, or of another active one. In the second
        // case the other operator finds this note in place of its own, and reports it.
        (_, NoteState::Unwritten) => (Reaction::Write, NoteState::Written),
        // A person may have removed the note, also after a report, or the Service was created again.
        (None, NoteState::Written | NoteState::Reported { .. }) => (Reaction::Write, NoteState::Written),
        (Some(release), NoteState::Reported { other }) if release == other => (Reaction::Nothing, before.clone()),
        (Some(other), NoteState::Written | NoteState::Reported { .. }) => {
            (Reaction::Report { other }, NoteState::Reported { other: other.to_owned() })
        }
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
            let (reaction, after) = react(note.as_deref(), own, state);
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
    fn a_third_operator_is_reported_too() {
        let (reports, writes) = passes(&["a", "a", "b", "a", "a", "c", "a", "a"]);
        assert_eq!(reports, [("a", "b".to_owned()), ("a", "c".to_owned())]);
        assert_eq!(writes, 3);
    }

    /// The other release was uninstalled, and the note still names it. A person removes the note.
    #[test]
    fn a_removed_note_is_written_again() {
        let reported = NoteState::Reported { other: "b".to_owned() };
        assert_eq!(react(None, "a", &NoteState::Written), (Reaction::Write, NoteState::Written));
        assert_eq!(react(Some("b"), "a", &reported), (Reaction::Nothing, reported.clone()));
        assert_eq!(react(None, "a", &reported), (Reaction::Write, NoteState::Written));
        assert_eq!(react(Some("a"), "a", &reported), (Reaction::Nothing, NoteState::Written));
        let again = react(Some("b"), "a", &NoteState::Written);
        assert_eq!(again, (Reaction::Report { other: "b" }, reported));
    }
}
