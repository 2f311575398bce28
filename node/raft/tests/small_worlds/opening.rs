//! State in which a search begins. Owns the openings that begin with a leader, each reached by ordinary events, so that
//! the search spends its bounds on the states that follow. Does not own the events (`state.rs`).

use raft::Body;

use super::bounds::{Bounds, Opening};
use super::in_flight::Envelope;
use super::state::{Event, World};

/// Maximum number of messages in flight during an opening; no opening needs as many.
const OPENING_IN_FLIGHT: usize = 64;

type Outcome = Result<(), String>;

impl World {
    /// Returns the state in which a search begins.
    pub(crate) fn opened(bounds: &Bounds) -> Result<Self, String> {
        let wide = Bounds { in_flight: OPENING_IN_FLIGHT, crashes: 0, ..*bounds };
        let mut world = Self::new(bounds);
        match bounds.opening {
            Opening::Start => {}
            Opening::Led => world.lead(&wide)?,
            Opening::Contested => world.contest(&wide)?,
            Opening::Reading => world.begin_read(&wide)?,
        }
        Ok(world)
    }

    /// Makes member 1 the leader, and lets all members learn its commit index.
    fn lead(&mut self, bounds: &Bounds) -> Outcome {
        self.advance(bounds, Event::Timeout(0))?;
        while !self.in_flight.is_empty() {
            self.advance(bounds, Event::Deliver(0))?;
        }
        Ok(())
    }

    /// Makes members 1 and 2 campaign. Member 1 becomes the leader through the vote of member 3. Afterwards the vote
    /// request of member 2 to member 3 and the first messages of the leader are still in flight.
    fn contest(&mut self, bounds: &Bounds) -> Outcome {
        self.advance(bounds, Event::Timeout(0))?;
        self.advance(bounds, Event::Timeout(1))?;
        self.deliver_first(bounds, |envelope| (envelope.from, envelope.to) == (0, 2))?;
        self.deliver_first(bounds, |envelope| (envelope.from, envelope.to) == (2, 0))?;
        self.in_flight.retain(|envelope| match envelope.message.body {
            Body::Vote { .. } => (envelope.from, envelope.to) == (1, 2),
            _ => true,
        });
        Ok(())
    }

    /// Makes member 1 the leader through the vote of member 3. Its first appends are lost. Member 2 answers a heartbeat,
    /// so the leader reads its entry, which is no longer in memory, from its disk.
    fn begin_read(&mut self, bounds: &Bounds) -> Outcome {
        self.advance(bounds, Event::Timeout(0))?;
        self.deliver_first(bounds, |envelope| (envelope.from, envelope.to) == (0, 2))?;
        self.deliver_first(bounds, |envelope| (envelope.from, envelope.to) == (2, 0))?;
        self.in_flight.clear();
        self.advance(bounds, Event::Heartbeat(0))?;
        self.deliver_first(bounds, |envelope| (envelope.from, envelope.to) == (0, 1))?;
        self.deliver_first(bounds, |envelope| (envelope.from, envelope.to) == (1, 0))?;
        self.in_flight.clear();
        let is_reading = !self.members[0].reads.is_empty();
        is_reading.then_some(()).ok_or_else(|| "the leader does not read its entry".into())
    }

    fn deliver_first(&mut self, bounds: &Bounds, which: impl Fn(&Envelope) -> bool) -> Outcome {
        let place = self
            .in_flight
            .iter()
            .position(|envelope| which(envelope))
            .ok_or("a message that the opening delivers is not in flight")?;
        self.advance(bounds, Event::Deliver(place))
    }

    fn advance(&mut self, bounds: &Bounds, event: Event) -> Outcome {
        *self = self.after(bounds, event)?.ok_or("an event of the opening is outside the bounds, or has no effect")?;
        Ok(())
    }
}
