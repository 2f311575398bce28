//! The planned events of a run, in the order of simulated time. Owns the true time of a run. Does not own the clocks
//! that members read (`clock.rs`).

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::time::Duration;

#[derive(Debug)]
struct Planned<E> {
    when: Duration,
    /// Position in the order in which events were planned. Events at the same time happen in this order.
    order: u64,
    /// The event is in a box of its own, so that the heap moves only small elements.
    event: Box<E>,
}

impl<E> PartialEq for Planned<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<E> Eq for Planned<E> {}

impl<E> PartialOrd for Planned<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Planned<E> {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.when, self.order).cmp(&(other.when, other.order))
    }
}

/// Events that are planned and have not happened yet.
#[derive(Debug)]
pub struct Agenda<E> {
    now: Duration,
    planned: u64,
    queue: BinaryHeap<Reverse<Planned<E>>>,
}

impl<E> Default for Agenda<E> {
    fn default() -> Self {
        Self { now: Duration::ZERO, planned: 0, queue: BinaryHeap::new() }
    }
}

impl<E> Agenda<E> {
    /// True time since the run began.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.now
    }

    /// Plans an event that happens after `delay`.
    pub fn after(&mut self, delay: Duration, event: E) {
        self.at(self.now.saturating_add(delay), event);
    }

    /// Plans an event at true time `when`. If `when` is in the past, the event happens now.
    pub fn at(&mut self, when: Duration, event: E) {
        self.planned += 1;
        self.queue.push(Reverse(Planned { when: when.max(self.now), order: self.planned, event: Box::new(event) }));
    }

    /// Removes and returns the next event if it is due at `time`, and advances the time to the event.
    pub fn take_due(&mut self, time: Duration) -> Option<E> {
        let is_due = self.queue.peek().is_some_and(|Reverse(planned)| planned.when <= time);
        if is_due { self.take_next() } else { None }
    }

    /// Number of planned events.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queue.len()
    }

    /// Returns whether no event is planned.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Removes and returns the next event, and advances the time to the event.
    pub fn take_next(&mut self) -> Option<E> {
        let Reverse(planned) = self.queue.pop()?;
        self.now = planned.when;
        Some(*planned.event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_ordered_by_time_then_by_planning() {
        let mut agenda = Agenda::default();
        agenda.after(Duration::from_millis(2), 'c');
        agenda.after(Duration::from_millis(1), 'a');
        agenda.after(Duration::from_millis(1), 'b');
        let order: Vec<char> = std::iter::from_fn(|| agenda.take_next()).collect();
        assert_eq!(order, ['a', 'b', 'c']);
        assert_eq!(agenda.now(), Duration::from_millis(2));
        agenda.at(Duration::ZERO, 'd');
        agenda.take_next();
        assert_eq!(agenda.now(), Duration::from_millis(2), "time never decreases");
        agenda.after(Duration::from_millis(1), 'e');
        assert_eq!(agenda.take_due(Duration::from_millis(2)), None);
        assert_eq!(agenda.take_due(Duration::from_millis(3)), Some('e'));
    }
}
