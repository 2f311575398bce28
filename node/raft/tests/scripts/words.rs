//! Renders each message and output of a core as one line of text. Owns the wording, on which every script depends. Does
//! not own the layout of logs (`renderings.rs`).

use raft::{
    Append, AppendReply, Body, Configuration, DropReason, Entry, EntryId, HardState, MemberId, Message, Output,
    Payload, Persist, Role, SnapshotMeta, SoftState, Standing,
};

/// Renders a message with its sender and receiver.
pub(crate) fn message(from: MemberId, to: MemberId, message: &Message) -> String {
    format!("{from} > {to}: {}, term {}", body(&message.body), message.term)
}

fn body(body: &Body) -> String {
    match body {
        Body::PreVote { last } => format!("would you vote for me? my log ends with {last}"),
        Body::PreVoteReply { granted: true } => "I would".into(),
        Body::PreVoteReply { granted: false } => "I would not".into(),
        Body::Vote { last, transfer } => {
            let why = if *transfer { " (the leader asked me to)" } else { "" };
            format!("vote for me{why}, my log ends with {last}")
        }
        Body::VoteReply { granted: true } => "you have my vote".into(),
        Body::VoteReply { granted: false } => "no vote".into(),
        Body::Append(append) => appended(append),
        Body::AppendReply(AppendReply::Accepted { matched, .. }) => format!("I hold everything up to {matched}"),
        Body::AppendReply(AppendReply::Rejected { prev, hint, .. }) => {
            format!("I do not hold that entry at {prev}, try after {hint}")
        }
        Body::Heartbeat { commit, round: 0 } => format!("committed up to {commit}"),
        Body::Heartbeat { commit, round } => format!("I lead, round {round}, committed up to {commit}"),
        Body::HeartbeatReply { round: 0 } => "there is a newer term".into(),
        Body::HeartbeatReply { round } => format!("I follow, round {round}"),
        Body::InstallSnapshot(meta) => format!("install {}", snapshot(meta)),
        Body::ReadIndex { context } => format!("confirm read {context}"),
        Body::ReadIndexReply { context, index: Some(index) } => format!("read {context} at {index}"),
        Body::ReadIndexReply { context, index: None } => format!("read {context} is not confirmed"),
        Body::Propose { proposals } => {
            let contents: Vec<String> = proposals.iter().map(|(_, content)| payload(content)).collect();
            format!("propose {}", contents.join(", "))
        }
        Body::ProposeRefused { proposals, reason } => {
            format!("{} proposals not taken: {}", proposals.len(), drop_reason(*reason))
        }
        Body::TimeoutNow { last } => format!("campaign now, if your log reaches {last}"),
        Body::Standing(standing) => format!("my disk is {}", standing_word(*standing)),
        Body::Removed { index } => format!("you were removed at {index}"),
    }
}

fn appended(append: &Append) -> String {
    let Append { prev, entries: content, commit, .. } = append;
    let content = if content.is_empty() { "nothing".into() } else { entries(content) };
    format!("after {prev} append {content}; committed up to {commit}")
}

/// Renders an output of a member. Returns `None` for messages and dropped proposals, which the interpreter renders.
pub(crate) fn output(at: MemberId, output: &Output) -> Option<String> {
    let said = match output {
        Output::Persist(Persist { io, hard_state, entries: content }) => {
            let mut parts: Vec<String> = hard_state.iter().map(hard).collect();
            if !content.is_empty() {
                parts.push(entries(content));
            }
            format!("writes #{io}: {}", parts.join("; "))
        }
        Output::InstallSnapshot { io, hard_state, meta, .. } => {
            let term: String = hard_state.iter().map(|state| format!("; {}", hard(state))).collect();
            format!("writes #{io}: {}{term}", snapshot(meta))
        }
        Output::SendSnapshot { to, at_least, .. } => format!("streams a snapshot to {to}, {at_least} or later"),
        Output::DiscardSnapshot { last, .. } => format!("has no use for the snapshot at {last}"),
        Output::Apply(content) => format!("applies {}", entries(content)),
        Output::ApplyStored { first, last } => format!("reads {first} to {last} from its disk and applies them"),
        Output::ReadLog { to, from, through, .. } => format!("reads {from} to {through} from its disk for {to}"),
        Output::ReadReady { context, index } => format!("may read {context} at {index}"),
        Output::ReadFailed { context } => format!("cannot confirm read {context}"),
        Output::SnapshotDue { index } => format!("should take a snapshot at {index}"),
        Output::Changed(state) => soft(state),
        Output::VerifyRemoval => "asks whether it was removed".to_owned(),
        Output::Removed { index } => format!("was removed at {index}"),
        Output::Dropped { .. } | Output::Send { .. } => return None,
    };
    Some(format!("{at} {said}"))
}

/// Renders role, leader and term.
pub(crate) fn soft(state: &SoftState) -> String {
    let leader = match (state.role, state.leader) {
        (Role::Leader, _) => String::new(),
        (_, Some(leader)) => format!(" of {leader}"),
        (Role::Follower | Role::Learner, None) => " of no leader".into(),
        (_, None) => String::new(),
    };
    format!("is {}{leader} in term {}", role(state.role), state.term)
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Follower => "follower",
        Role::Learner => "learner",
        Role::PreCandidate => "pre-candidate",
        Role::Candidate => "candidate",
        Role::Leader => "leader",
    }
}

fn hard(state: &HardState) -> String {
    match state.vote {
        Some(vote) => format!("term {}, vote for {vote}", state.term),
        None => format!("term {}", state.term),
    }
}

fn entries(entries: &[Entry]) -> String {
    let each: Vec<String> = entries.iter().map(|entry| format!("{} {}", entry.id, payload(&entry.payload))).collect();
    each.join(", ")
}

pub(crate) fn payload(payload: &Payload) -> String {
    match payload {
        Payload::Noop => "no-op".into(),
        Payload::Barrier => "barrier".into(),
        Payload::Normal(content) => String::from_utf8_lossy(content).into_owned(),
        Payload::Configuration(configuration) => self::configuration(configuration),
    }
}

/// Renders a configuration: `{1 2 3}`, or `{1 2 4} and {1 2 3}` while joint, followed by `+ learners {4}`.
pub(crate) fn configuration(configuration: &Configuration) -> String {
    let mut text = set(&configuration.voters);
    if configuration.is_joint() {
        text = format!("{text} and {}", set(&configuration.outgoing));
    }
    if !configuration.learners.is_empty() {
        text = format!("{text} + learners {}", set(&configuration.learners));
    }
    text
}

fn set(members: &std::collections::BTreeSet<MemberId>) -> String {
    let each: Vec<String> = members.iter().map(ToString::to_string).collect();
    format!("{{{}}}", each.join(" "))
}

fn snapshot(meta: &SnapshotMeta) -> String {
    let EntryId { term, index } = meta.last;
    format!("the snapshot at {term}/{index} with {}", configuration(&meta.configuration))
}

pub(crate) fn drop_reason(reason: DropReason) -> &'static str {
    match reason {
        DropReason::NoLeader => "no member leads",
        DropReason::LeaderChanged => "another leads",
        DropReason::Transferring => "leadership is being transferred",
        DropReason::Overloaded => "too much is not committed yet",
        DropReason::NoSpace => "no quorum has space",
    }
}

pub(crate) fn standing_word(standing: Standing) -> &'static str {
    match standing {
        Standing::Exhausted => "exhausted",
        Standing::Below => "below its reserve",
        Standing::Above => "above its reserve",
    }
}

pub(crate) fn standing(word: &str) -> Option<Standing> {
    match word {
        "exhausted" => Some(Standing::Exhausted),
        "below" => Some(Standing::Below),
        "above" => Some(Standing::Above),
        _ => None,
    }
}
