//! The trace of a run as text. Owns the last lines of the trace. Lines are formatted only when a failed seed runs
//! again, so that other runs do not spend time on them.

use std::collections::VecDeque;
use std::fmt::Write;
use std::time::Duration;

use raft::{Append, AppendReply, Body, EntryId, Message, Output};

/// The last lines of a trace; empty if none are kept.
#[derive(Debug, Default)]
pub struct Trace {
    kept: usize,
    lines: VecDeque<String>,
}

impl Trace {
    /// A trace that keeps the last `kept` lines.
    #[must_use]
    pub fn keeping(kept: usize) -> Self {
        Self { kept, lines: VecDeque::new() }
    }

    /// Adds a line, if lines are kept.
    pub fn note(&mut self, now: Duration, line: impl FnOnce() -> String) {
        if self.kept == 0 {
            return;
        }
        if self.lines.len() == self.kept {
            self.lines.pop_front();
        }
        self.lines.push_back(format!("{:>12.6} {}", now.as_secs_f64(), line()));
    }

    /// The kept lines, oldest first.
    #[must_use]
    pub fn into_lines(self) -> Vec<String> {
        self.lines.into()
    }
}

/// A message as one line of text.
#[must_use]
pub fn message(message: &Message) -> String {
    let said = match &message.body {
        Body::Append(Append { prev, entries, commit, round }) => {
            let mut text = format!("append after {prev}");
            match entries.as_slice() {
                [] => text.push_str(", empty"),
                [only] => write!(text, ": {}", only.id).expect("writing to a string does not fail"),
                [first, .., last] => {
                    write!(text, ": {} to {}", first.id, last.id).expect("writing to a string does not fail")
                }
            }
            format!("{text}, commit {commit}, round {round}")
        }
        Body::AppendReply(AppendReply::Accepted { matched, round }) => format!("accepted to {matched}, round {round}"),
        Body::AppendReply(AppendReply::Rejected { prev, hint, round }) => {
            format!("rejected after {prev}, try {hint}, round {round}")
        }
        Body::InstallSnapshot(meta) => format!("install snapshot at {}", meta.last),
        Body::Propose { proposals } => {
            format!("propose {:?}", proposals.iter().map(|(id, _)| id.0).collect::<Vec<_>>())
        }
        other => format!("{other:?}"),
    };
    format!("[term {}] {said}", message.term)
}

/// An output as one line of text.
#[must_use]
pub fn output(output: &Output) -> String {
    match output {
        Output::Persist(persist) => {
            let ids: Vec<EntryId> = persist.entries.iter().map(|entry| entry.id).collect();
            let entries = match ids.as_slice() {
                [] => String::new(),
                [only] => format!(" {only}"),
                [first, .., last] => format!(" {first} to {last}"),
            };
            let state = persist.hard_state.map(|state| format!(" term {} vote {:?}", state.term, state.vote));
            format!("persist {}:{}{entries}", persist.io, state.unwrap_or_default())
        }
        Output::Send { to, message: sent } => format!("send to {to}: {}", message(sent)),
        Output::Apply(entries) => {
            let ids = (entries.first().map(|entry| entry.id), entries.last().map(|entry| entry.id));
            format!("apply {ids:?}")
        }
        Output::InstallSnapshot { io, from, hard_state, meta } => {
            format!("install {io}: snapshot at {} from {from}, {hard_state:?}", meta.last)
        }
        other => format!("{other:?}"),
    }
}
