//! How a world begins. Owns the few states from which a search starts later than at the very beginning, each reached by what
//! can happen there, so that its bounds are spent on what follows.

use raft::Body;

use crate::bounds::{Bounds, Opening};
use crate::state::{Act, Letter, World};

/// As many as it takes.
const WIRE: usize = 64;

type Outcome = Result<(), String>;

impl World {
    /// The state that a search begins with.
    pub(crate) fn opened(bounds: &Bounds) -> Result<Self, String> {
        let wide = Bounds { wire: WIRE, crashes: 0, ..*bounds };
        let mut world = Self::new(bounds);
        match bounds.opening {
            Opening::Start => {}
            Opening::Led => world.lead(&wide)?,
            Opening::Contested => world.contest(&wide)?,
        }
        Ok(world)
    }

    /// The first member leads, and everybody knows what it committed.
    fn lead(&mut self, bounds: &Bounds) -> Outcome {
        self.goes(bounds, Act::Silence(0))?;
        while !self.wire.is_empty() {
            self.goes(bounds, Act::Deliver(0))?;
        }
        Ok(())
    }

    /// The first and the second campaigned, and the first leads by the third's vote, which is still to hear of the
    /// second's plea; and everybody of the leader.
    fn contest(&mut self, bounds: &Bounds) -> Outcome {
        self.goes(bounds, Act::Silence(0))?;
        self.goes(bounds, Act::Silence(1))?;
        self.hears(bounds, |letter| (letter.from, letter.to) == (0, 2))?;
        self.hears(bounds, |letter| (letter.from, letter.to) == (2, 0))?;
        self.wire.retain(|letter| match letter.message.body {
            Body::Vote { .. } => (letter.from, letter.to) == (1, 2),
            _ => true,
        });
        Ok(())
    }

    fn hears(&mut self, bounds: &Bounds, which: impl Fn(&Letter) -> bool) -> Outcome {
        let place = self.wire.iter().position(|letter| which(letter)).ok_or("the opening lacks a message")?;
        self.goes(bounds, Act::Deliver(place))
    }

    fn goes(&mut self, bounds: &Bounds, act: Act) -> Outcome {
        *self = self.after(bounds, act)?.ok_or("the opening is out of bounds")?;
        Ok(())
    }
}
