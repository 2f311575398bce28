//! Depth-first search that visits every state once. Owns the stack and the result. Does not own the events that are
//! possible in a state (`state.rs`).

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::bounds::Bounds;
use super::digest::Visited;
use super::state::{Coverage, Event, World};

/// Result of a complete search.
#[derive(Debug, Default)]
pub(crate) struct Explored {
    /// Number of states in which no message must be lost.
    pub(crate) states: usize,
    /// Number of overfull states, in which the search chose the message that is lost.
    pub(crate) choices: usize,
    /// Number of events that were tried.
    pub(crate) steps: usize,
    /// Highest number of events in one history, plus one.
    pub(crate) depth: usize,
    /// Highest number of leaders in one history.
    pub(crate) leaders: usize,
    /// Highest number of committed entries in one history.
    pub(crate) committed: usize,
    pub(crate) coverage: Coverage,
}

/// A violated property, and the events that led to it.
#[derive(Debug)]
pub(crate) struct Violation {
    pub(crate) what: String,
    /// Number of states that the search had visited before the violation.
    pub(crate) states: usize,
    /// The events that led to the violation, in order.
    path: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.what)?;
        self.path.iter().try_for_each(|step| write!(f, "\n  {step}"))
    }
}

/// A state on the current path, with the events that the search has yet to try in this state.
struct Frame {
    world: World,
    events: Vec<Event>,
    /// The event that the search tried last in this state.
    tried: Option<Event>,
}

pub(crate) fn explore(bounds: &Bounds) -> Result<Explored, Violation> {
    let mut visited = Visited::new();
    let mut explored = Explored::default();
    let world = World::opened(bounds).map_err(|what| Violation { what, states: 0, path: Vec::new() })?;
    visited.insert(world.digest());
    explored.choices += usize::from(world.is_overfull(bounds));
    let mut stack = vec![Frame { events: world.events(bounds), world, tried: None }];
    while let Some(frame) = stack.last_mut() {
        let Some(event) = frame.events.pop() else {
            stack.pop();
            continue;
        };
        frame.tried = Some(event);
        explored.steps += 1;
        let world = match step(&frame.world, bounds, event) {
            Ok(Some(world)) => world,
            Ok(None) => continue,
            Err(what) => {
                let path = stack.iter().filter_map(|frame| Some(frame.world.describe(frame.tried?))).collect();
                return Err(Violation { what, states: visited.count(), path });
            }
        };
        if !visited.insert(world.digest()) {
            continue;
        }
        if visited.count() >= bounds.states_max {
            return Err(Violation {
                what: format!("the search reached {} states: tighten the bounds", bounds.states_max),
                states: visited.count(),
                path: Vec::new(),
            });
        }
        explored.choices += usize::from(world.is_overfull(bounds));
        explored.leaders = explored.leaders.max(world.history.leaders());
        explored.committed = explored.committed.max(world.history.committed().len());
        explored.coverage.note(world.coverage);
        stack.push(Frame { events: world.events(bounds), world, tried: None });
        explored.depth = explored.depth.max(stack.len());
    }
    explored.states = visited.count() - explored.choices;
    Ok(explored)
}

/// Applies an event. A panic of the core, which asserts its own invariants, is a violation too.
fn step(world: &World, bounds: &Bounds, event: Event) -> Result<Option<World>, String> {
    catch_unwind(AssertUnwindSafe(|| world.after(bounds, event))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(text.unwrap_or_else(|| "the core panicked without a message".into()))
    })
}
