//! Warnings about members that may serve: volumes with little free space, and keyspaces that differ. Owns what is
//! reported about them. Does not own what follows: a warning delays neither a restart nor a membership change, because
//! both may help.

use crds::Reason;

use crate::decision::Note;
use crate::observed::member::{Configuration, Space};
use crate::roster::{Roster, Seat};

/// Advice about volumes with little free space.
const MAKE_SPACE: &str = "raise spec.storage.size, compact the history, or delete keys";

/// The warning about members of a configuration whose volumes have little free space.
pub(crate) fn low_on_space(roster: &Roster<'_>, configuration: &Configuration) -> Option<Note> {
    let low: Vec<String> = configured(roster, configuration).filter_map(low).collect();
    (!low.is_empty()).then(|| Note::new(Reason::DiskSpaceLow, format!("{}: {MAKE_SPACE}", low.join("; "))))
}

/// The warning about keyspaces that differ.
pub(crate) fn disagreement(roster: &Roster<'_>, configuration: &Configuration) -> Option<Note> {
    let is_corrupt = |seat: &&Seat<'_>| seat.report.is_some_and(|report| report.corrupt);
    let seats = configured(roster, configuration).filter(is_corrupt);
    let names: Vec<&str> = seats.map(|seat| seat.name.as_str()).collect();
    let message = format!(
        "the alarm CORRUPT is raised, according to {}: a client says that the keyspace of a member differs, so writes are refused and no member is ready. `etcdctl alarm list` names the member, `etcdctl alarm disarm` clears the alarm",
        names.join(", ")
    );
    (!names.is_empty()).then(|| Note::new(Reason::MembersDisagree, message))
}

fn configured<'r>(roster: &'r Roster<'_>, configuration: &Configuration) -> impl Iterator<Item = &'r Seat<'r>> {
    roster.seats.values().filter(|seat| seat.id.is_some_and(|id| configuration.contains(id)))
}

/// The warning about the volume of one member.
pub(crate) fn space(seat: &Seat<'_>) -> Option<Note> {
    Some(Note::new(Reason::DiskSpaceLow, format!("{}: {MAKE_SPACE}", amounts(&space_of(seat)?))))
}

/// The report that clients cannot put keys; `None` if they can.
pub(crate) fn writes_refused(roster: &Roster<'_>) -> Option<Note> {
    let refuses = roster.leader()?.report?.space.is_some_and(|space| space.writes_refused);
    let low: Vec<String> = roster.seats.values().filter_map(low).collect();
    refuses.then(|| {
        let message = format!(
            "puts are refused (NOSPACE) until a quorum of voters has more free space than its reserve ({}): {MAKE_SPACE}",
            low.join("; ")
        );
        Note::new(Reason::DiskSpaceLow, message)
    })
}

/// The name of a member whose volume has little free space, with the amounts.
fn low(seat: &Seat<'_>) -> Option<String> {
    Some(format!("{}: {}", seat.name, amounts(&space_of(seat)?)))
}

/// The space of a volume that has less free than its reserve.
fn space_of(seat: &Seat<'_>) -> Option<Space> {
    seat.report?.space.filter(|space| space.below)
}

fn amounts(space: &Space) -> String {
    let [free, total, reserve] = [space.free, space.total, space.reserve].map(|bytes| bytes >> 20);
    format!("{free} of {total} MiB are free, and {reserve} MiB are the reserve")
}
