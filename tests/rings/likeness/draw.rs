//! Draws random writes. Owns how often each kind of write comes. Does not own the objects (`bodies.rs`).

use operators::api_server::Kind;
use serde_json::{Value, json};
use world::seed::Random;

use crate::bodies;
use crate::server::Server;
use crate::write::{Action, Age, Write};

/// Field managers that create, apply and replace.
const WRITERS: [&str; 2] = ["raft-operator", "person"];
/// Field managers that patch.
const PATCHERS: [&str; 3] = ["raft-operator-notes", "raft-operator", "person"];
/// Field manager of controllers and kubelets.
const CONTROLLERS: &str = "controllers";

/// Draws a write. It usually fits what exists.
pub(crate) fn draw(random: &mut Random, server: &Server) -> Write {
    let kind = match random.below(100) {
        0..30 => Kind::StatefulSet,
        30..42 => Kind::Service,
        42..54 => Kind::Claim,
        54..76 => Kind::Pod,
        76..82 => Kind::Secret,
        82..87 => Kind::Budget,
        87..91 => Kind::Lease,
        _ => Kind::RaftCluster,
    };
    let name = *random.pick(bodies::names(kind));
    let exists = server.live(kind, name).is_some();
    let (manager, action) = if exists || random.percent(20) {
        of_present(random, kind, name, exists)
    } else {
        creation(random, kind, name)
    };
    // A scale that changes nothing is not drawn: the real server makes a new version even then. No operator
    // scales.
    let replicas = server.live(kind, name).and_then(|live| live["spec"]["replicas"].as_u64()).unwrap_or(0);
    let action = match action {
        Action::Scale(wanted) if wanted == replicas => Action::Scale(replicas + 1),
        other => other,
    };
    let (uid, version) = (age(random), age(random));
    let mut write = Write { kind, name, manager, uid, version, action };
    let without_version = match &write.action {
        Action::Create(_) => {
            write.uid = Age::Any;
            true
        }
        // Most applies depend only on the UID.
        Action::Apply { .. } | Action::Merge { .. } => random.percent(60),
        Action::Get | Action::List(_) | Action::Scale(_) => true,
        Action::Replace(_) | Action::ReplaceLive(_) | Action::Delete { .. } | Action::Evict => false,
    };
    if without_version {
        write.version = Age::Any;
    }
    write
}

fn age(random: &mut Random) -> Age {
    match random.below(100) {
        0..30 => Age::Any,
        30..85 => Age::Present,
        85..95 => Age::Former,
        _ => Age::Never,
    }
}

fn creation(random: &mut Random, kind: Kind, name: &'static str) -> (&'static str, Action) {
    let object = bodies::whole(kind, name, random);
    let manager = *random.pick(&WRITERS);
    let action = match random.percent(60) {
        true => Action::Create(object),
        false => Action::Apply { object, force: random.coin(), status: false },
    };
    (manager, action)
}

/// Draws a write of an object that exists. Some of these writes come when no object exists.
fn of_present(random: &mut Random, kind: Kind, name: &'static str, exists: bool) -> (&'static str, Action) {
    let (writer, patcher) = (*random.pick(&WRITERS), *random.pick(&PATCHERS));
    // Without force the owner of the number of replicas would count (`exceptions.rs`).
    let force = random.percent(60) || kind == Kind::RaftCluster;
    match random.below(100) {
        0..3 => (writer, Action::Get),
        3..5 => {
            let labels = *random.pick(&["a=1", "b=2", "a=1,b=1"]);
            (writer, Action::List(labels))
        }
        5..9 => (writer, Action::Create(bodies::whole(kind, name, random))),
        9..33 => {
            // An object that exists may be applied in part. One that does not exist would not be valid.
            let object = match exists && random.coin() {
                true => bodies::partial(kind, name, random),
                false => bodies::whole(kind, name, random),
            };
            (writer, Action::Apply { object, force, status: false })
        }
        33..43 => (writer, Action::Replace(bodies::whole(kind, name, random))),
        43..50 if exists => (writer, Action::ReplaceLive(bodies::patch(kind, random))),
        43..50 => (writer, Action::Replace(bodies::whole(kind, name, random))),
        50..66 => (patcher, Action::Merge { patch: bodies::patch(kind, random), status: false }),
        66..70 => {
            let patch = bodies::forbidden(kind, random).unwrap_or_else(|| bodies::patch(kind, random));
            (patcher, Action::Merge { patch, status: false })
        }
        70..84 => status(random, kind, name),
        84..90 => match kind {
            Kind::RaftCluster => ("person", Action::Scale(random.between(1, 3))),
            Kind::Pod => (writer, Action::Evict),
            Kind::Claim => {
                let patch = json!({ "metadata": { "finalizers": null } });
                (CONTROLLERS, Action::Merge { patch, status: false })
            }
            Kind::StatefulSet | Kind::Service | Kind::Budget | Kind::Secret | Kind::Lease => {
                (patcher, Action::Merge { patch: bodies::patch(kind, random), status: false })
            }
        },
        90..94 if kind == Kind::Pod => (writer, Action::Evict),
        _ => (writer, Action::Delete { at_once: kind == Kind::Pod && random.coin() }),
    }
}

fn status(random: &mut Random, kind: Kind, name: &'static str) -> (&'static str, Action) {
    let Some(status) = bodies::status(kind, random) else {
        return ("person", Action::Merge { patch: bodies::patch(kind, random), status: false });
    };
    let with_status = |mut object: Value| {
        object["status"] = status;
        object
    };
    match kind {
        Kind::RaftCluster if random.percent(80) => {
            let object = with_status(bodies::bare(kind, name));
            ("raft-operator", Action::Apply { object, force: random.percent(80), status: true })
        }
        Kind::RaftCluster => {
            ("raft-operator", Action::Merge { patch: with_status(json!({ "metadata": {} })), status: true })
        }
        Kind::Service | Kind::Budget | Kind::StatefulSet | Kind::Pod | Kind::Claim | Kind::Secret | Kind::Lease => {
            (CONTROLLERS, Action::Merge { patch: with_status(json!({ "metadata": {} })), status: true })
        }
    }
}
