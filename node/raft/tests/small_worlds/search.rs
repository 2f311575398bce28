//! Depth first, every state once. Owns the way through; what can happen in a state is the world's.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::bounds::Bounds;
use crate::digest::Visited;
use crate::state::{Act, Seen, World};

/// What there was.
#[derive(Debug, Default)]
pub(crate) struct Explored {
    pub(crate) states: usize,
    pub(crate) steps: usize,
    pub(crate) depth: usize,
    /// Leaders that one history saw at most, and entries.
    pub(crate) leaders: usize,
    pub(crate) committed: usize,
    pub(crate) seen: Seen,
}

/// What went wrong, and how it came to that.
#[derive(Debug)]
pub(crate) struct Violation {
    pub(crate) what: String,
    /// How many states there had been.
    pub(crate) states: usize,
    path: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.what)?;
        self.path.iter().try_for_each(|step| write!(f, "\n  {step}"))
    }
}

/// A state on the way, with what is still to be tried from it.
struct Place {
    world: World,
    acts: Vec<Act>,
    /// What was tried last.
    tried: Option<Act>,
}

pub(crate) fn explore(bounds: &Bounds) -> Result<Explored, Violation> {
    let mut visited = Visited::new();
    let mut explored = Explored::default();
    let world = World::opened(bounds).map_err(|what| Violation { what, states: 0, path: Vec::new() })?;
    visited.insert(world.digest());
    let mut way = vec![Place { acts: world.acts(bounds), world, tried: None }];
    while let Some(place) = way.last_mut() {
        let Some(act) = place.acts.pop() else {
            way.pop();
            continue;
        };
        place.tried = Some(act);
        explored.steps += 1;
        let world = match step(&place.world, bounds, act) {
            Ok(Some(world)) => world,
            Ok(None) => continue,
            Err(what) => {
                let path = way.iter().filter_map(|place| Some(place.world.tell(place.tried?))).collect();
                return Err(Violation { what, states: visited.count(), path });
            }
        };
        if !visited.insert(world.digest()) {
            continue;
        }
        if visited.count() >= bounds.states_max {
            return Err(Violation {
                what: format!("more than {} states: tighten the bounds", bounds.states_max),
                states: visited.count(),
                path: Vec::new(),
            });
        }
        explored.leaders = explored.leaders.max(world.past.leaders());
        explored.committed = explored.committed.max(world.past.decided().len());
        explored.seen.note(world.seen);
        way.push(Place { acts: world.acts(bounds), world, tried: None });
        explored.depth = explored.depth.max(way.len());
    }
    explored.states = visited.count();
    Ok(explored)
}

/// The core asserts its own invariants; what it says then is a violation like any other.
fn step(world: &World, bounds: &Bounds, act: Act) -> Result<Option<World>, String> {
    catch_unwind(AssertUnwindSafe(|| world.after(bounds, act))).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().cloned();
        let said = said.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(said.unwrap_or_else(|| "the core gave up".into()))
    })
}
