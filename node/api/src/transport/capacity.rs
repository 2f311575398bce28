//! Memory for requests that arrive and are under way. Owns who gets the next part of it: each request gets all that it
//! announced at once or waits, the oldest request of a connection first, and connections in turn. Does not own how long
//! a request may wait (`requests.rs`).

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Number of bytes of a request that can arrive before they are read: the window of its call, and the piece with its
/// length.
const FIRST_BYTES_MAX: usize = 80 << 10;

/// Number of a connection, unique on its port.
pub(super) type ConnectionNumber = u64;

/// A number of bytes that requests share.
#[derive(Debug)]
pub(super) struct Capacity {
    state: Mutex<State>,
    received_max: usize,
}

#[derive(Debug)]
struct State {
    total: usize,
    held: usize,
    next: u64,
    waiting: usize,
    /// Bytes that waiting requests may have sent already.
    received: usize,
    connections: BTreeMap<ConnectionNumber, Connection>,
    /// Connections with waiting requests, in the order of their turns.
    turns: VecDeque<ConnectionNumber>,
}

/// The requests of one connection. It has an entry only while it holds bytes or waits for some.
#[derive(Debug, Default)]
struct Connection {
    held: usize,
    /// Bytes that its waiting requests may have sent already.
    received: usize,
    waiting: VecDeque<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    bytes: usize,
    grant: oneshot::Sender<Reserved>,
}

/// Too many requests wait already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Capacity {
    /// A capacity of `total` bytes. The requests that wait for it may have sent at most `received_max` bytes.
    pub(super) fn new(total: usize, received_max: usize) -> Arc<Self> {
        let (connections, turns) = (BTreeMap::new(), VecDeque::new());
        let state = State { total, held: 0, next: 0, waiting: 0, received: 0, connections, turns };
        Arc::new(Self { state: Mutex::new(state), received_max })
    }

    /// Waits until this number of bytes is free for a connection, and reserves them. A connection holds at most half of
    /// the capacity, and a request that is larger waits until its connection holds nothing, or if it is larger than the
    /// capacity, until nothing is held. A caller that drops the future gives up its turn.
    ///
    /// # Errors
    /// Returns an error if too many requests wait already, of all connections or of this one.
    pub(super) async fn reserve(
        self: &Arc<Self>,
        connection: ConnectionNumber,
        bytes: usize,
    ) -> Result<Reserved, Full> {
        let (mut turn, granted) = {
            let mut state = self.lock();
            if state.is_first(connection) && state.may_take(connection, bytes) {
                state.take(connection, bytes);
                return Ok(self.reserved(connection, bytes));
            }
            if !state.may_wait(connection, bytes, self.received_max) {
                return Err(Full);
            }
            let (grant, granted) = oneshot::channel();
            let number = state.join(connection, bytes, grant);
            (Turn { capacity: self, connection, number, granted }, state.grant())
        };
        self.send(granted);
        // The sender is dropped only by the turn.
        (&mut turn.granted).await.map_err(|_| Full)
    }

    /// Tells waiting requests that they have their bytes.
    fn send(self: &Arc<Self>, granted: Vec<(ConnectionNumber, Waiting)>) {
        for (connection, waiting) in granted {
            // If the request was given up at this moment, its bytes are free again.
            let _ = waiting.grant.send(self.reserved(connection, waiting.bytes));
        }
    }

    fn reserved(self: &Arc<Self>, connection: ConnectionNumber, bytes: usize) -> Reserved {
        Reserved { capacity: Arc::clone(self), connection, bytes }
    }

    /// Ignores poisoning, because every holder of the lock leaves the state consistent.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Returns whether a connection may hold so many more bytes, whether or not they are free.
    fn is_due(&self, connection: ConnectionNumber, bytes: usize) -> bool {
        let held = self.connections.get(&connection).map_or(0, |connection| connection.held);
        held == 0 || held + bytes <= self.total / 2
    }

    fn is_free(&self, bytes: usize) -> bool {
        self.held == 0 || self.held.saturating_add(bytes) <= self.total
    }

    /// Returns whether a new request of a connection would be the next one to get its bytes.
    fn is_first(&self, connection: ConnectionNumber) -> bool {
        let waits = self.connections.get(&connection).is_some_and(|connection| !connection.waiting.is_empty());
        !waits && self.next_turn().is_none()
    }

    /// Returns whether one more request may wait. The requests of one connection may have sent at most half of what all
    /// may, so that others may wait, too.
    fn may_wait(&self, connection: ConnectionNumber, bytes: usize, received_max: usize) -> bool {
        let of_connection = self.connections.get(&connection).map_or(0, |connection| connection.received);
        let more = sent_max(bytes);
        self.received + more <= received_max && of_connection + more <= received_max.div_ceil(2)
    }

    fn may_take(&self, connection: ConnectionNumber, bytes: usize) -> bool {
        self.is_due(connection, bytes) && self.is_free(bytes)
    }

    fn take(&mut self, connection: ConnectionNumber, bytes: usize) {
        self.held += bytes;
        self.connections.entry(connection).or_default().held += bytes;
    }

    fn give_back(&mut self, connection: ConnectionNumber, bytes: usize) {
        self.held -= bytes;
        if let Some(entry) = self.connections.get_mut(&connection) {
            entry.held -= bytes;
        }
        self.forget_if_idle(connection);
    }

    fn forget_if_idle(&mut self, connection: ConnectionNumber) {
        if let Some(entry) = self.connections.get(&connection)
            && entry.held == 0
            && entry.waiting.is_empty()
        {
            self.connections.remove(&connection);
        }
    }

    fn join(&mut self, connection: ConnectionNumber, bytes: usize, grant: oneshot::Sender<Reserved>) -> u64 {
        self.next += 1;
        let number = self.next;
        let entry = self.connections.entry(connection).or_default();
        if entry.waiting.is_empty() {
            self.turns.push_back(connection);
        }
        entry.waiting.push_back(Waiting { number, bytes, grant });
        entry.received += sent_max(bytes);
        self.waiting += 1;
        self.received += sent_max(bytes);
        number
    }

    /// Takes a request out of the queue, unless it has its bytes already.
    fn leave(&mut self, connection: ConnectionNumber, number: u64) {
        let Some(entry) = self.connections.get_mut(&connection) else { return };
        let Some(at) = entry.waiting.iter().position(|waiting| waiting.number == number) else { return };
        let left = entry.waiting.remove(at);
        let sent = left.map_or(0, |left| sent_max(left.bytes));
        entry.received -= sent;
        self.waiting -= 1;
        self.received -= sent;
        if entry.waiting.is_empty() {
            self.turns.retain(|turn| *turn != connection);
        }
        self.forget_if_idle(connection);
    }

    /// Gives free bytes to waiting requests. A request that does not fit is not overtaken, because a large one would
    /// otherwise wait as long as small ones arrive.
    fn grant(&mut self) -> Vec<(ConnectionNumber, Waiting)> {
        let mut granted = Vec::new();
        while let Some((at, connection, bytes)) = self.next_turn()
            && self.is_free(bytes)
        {
            self.turns.remove(at);
            let Some(entry) = self.connections.get_mut(&connection) else { break };
            let Some(waiting) = entry.waiting.pop_front() else { break };
            entry.received -= sent_max(bytes);
            if !entry.waiting.is_empty() {
                self.turns.push_back(connection);
            }
            self.waiting -= 1;
            self.received -= sent_max(bytes);
            self.take(connection, bytes);
            granted.push((connection, waiting));
        }
        granted
    }

    /// The place of the first connection in turn that may hold more, and the bytes that its oldest request needs.
    fn next_turn(&self) -> Option<(usize, ConnectionNumber, usize)> {
        self.turns.iter().enumerate().find_map(|(at, &connection)| {
            let bytes = self.connections.get(&connection)?.waiting.front()?.bytes;
            self.is_due(connection, bytes).then_some((at, connection, bytes))
        })
    }
}

/// Number of bytes of a request that may arrive before it has its capacity.
fn sent_max(bytes: usize) -> usize {
    bytes.min(FIRST_BYTES_MAX)
}

/// A request that waits.
struct Turn<'a> {
    capacity: &'a Arc<Capacity>,
    connection: ConnectionNumber,
    number: u64,
    granted: oneshot::Receiver<Reserved>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        // Others may have waited only for this request.
        let granted = {
            let mut state = self.capacity.lock();
            state.leave(self.connection, self.number);
            state.grant()
        };
        self.capacity.send(granted);
    }
}

/// Bytes that a request holds until this value is dropped.
#[derive(Debug)]
pub(crate) struct Reserved {
    capacity: Arc<Capacity>,
    connection: ConnectionNumber,
    bytes: usize,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let granted = {
            let mut state = self.capacity.lock();
            state.give_back(self.connection, self.bytes);
            if state.waiting == 0 { Vec::new() } else { state.grant() }
        };
        self.capacity.send(granted);
    }
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;

    use futures::FutureExt;

    use super::*;

    const TOTAL: usize = 100;

    type Reservation = Pin<Box<dyn Future<Output = Result<Reserved, Full>>>>;

    fn reserve(capacity: &Arc<Capacity>, connection: ConnectionNumber, bytes: usize) -> Reservation {
        let capacity = Arc::clone(capacity);
        Box::pin(async move { capacity.reserve(connection, bytes).await })
    }

    /// What a reservation has received; `None` while it waits.
    fn poll(reservation: &mut Reservation) -> Option<Reserved> {
        reservation.now_or_never().map(|reserved| reserved.expect("few requests wait"))
    }

    #[test]
    fn requests_wait_until_all_of_their_bytes_are_free() {
        let capacity = Capacity::new(TOTAL, 1_000);
        let held: Vec<Reserved> = (1..=2).filter_map(|number| poll(&mut reserve(&capacity, number, 40))).collect();
        assert_eq!(held.len(), 2);
        let (mut large, mut small) = (reserve(&capacity, 3, 50), reserve(&capacity, 4, 10));
        assert!(poll(&mut large).is_none() && poll(&mut small).is_none(), "a small one does not overtake a large one");
        drop(held);
        assert!(poll(&mut large).is_some() && poll(&mut small).is_some());
        assert_eq!(capacity.lock().held, 0);
    }

    #[test]
    fn connections_take_turns() {
        let capacity = Capacity::new(TOTAL, 1_000);
        let mut held: Vec<Reserved> = (1..=2).filter_map(|number| poll(&mut reserve(&capacity, number, 50))).collect();
        let mut of_first: Vec<Reservation> = (0..3).map(|_| reserve(&capacity, 3, 50)).collect();
        assert!(of_first.iter_mut().all(|one| poll(one).is_none()));
        let mut of_second = reserve(&capacity, 4, 50);
        assert!(poll(&mut of_second).is_none());
        held.pop();
        held.extend(poll(&mut of_first[0]));
        held.remove(0);
        held.extend(poll(&mut of_second));
        assert_eq!(held.iter().map(|one| one.connection).collect::<Vec<_>>(), [3, 4]);
    }

    #[test]
    fn a_connection_leaves_half_to_others() {
        let capacity = Capacity::new(TOTAL, 1_000);
        let mut greedy: Vec<Reservation> = (0..6).map(|_| reserve(&capacity, 1, 20)).collect();
        let held: Vec<Reserved> = greedy.iter_mut().filter_map(poll).collect();
        assert_eq!(held.len(), 2);
        assert!(poll(&mut reserve(&capacity, 2, 50)).is_some(), "the waiting ones of the other are not in its way");
    }

    /// The requests of one connection that wait for their turn are not in the way of others, however many they are.
    #[test]
    fn a_connection_keeps_no_others_from_what_is_free() {
        let capacity = Capacity::new(TOTAL, 200);
        let mut greedy: Vec<Reservation> = (0..20).map(|_| reserve(&capacity, 1, 20)).collect();
        let outcomes: Vec<_> = greedy.iter_mut().map(|one| one.now_or_never()).collect();
        assert_eq!(outcomes.iter().filter(|outcome| matches!(outcome, Some(Ok(_)))).count(), 2);
        assert_eq!(outcomes.iter().filter(|outcome| outcome.is_none()).count(), 5, "they wait");
        let other = poll(&mut reserve(&capacity, 2, 50));
        assert!(other.is_some(), "half is free");
        let mut waiting: Vec<Reservation> = (0..5).map(|_| reserve(&capacity, 3, 20)).collect();
        assert!(waiting.iter_mut().all(|one| poll(one).is_none()), "they may wait, too");
    }

    #[test]
    fn a_request_above_all_limits_is_served_alone() {
        let capacity = Capacity::new(TOTAL, 1_000);
        let (small, mut huge) = (poll(&mut reserve(&capacity, 1, 1)), reserve(&capacity, 2, TOTAL * 2));
        assert!(poll(&mut huge).is_none());
        drop(small);
        let huge = poll(&mut huge);
        assert!(huge.is_some() && poll(&mut reserve(&capacity, 1, 1)).is_none());
    }

    #[test]
    fn too_many_waiting_requests_are_refused() {
        let capacity = Capacity::new(TOTAL, 120);
        let _held = [1, 2].map(|number| poll(&mut reserve(&capacity, number, 50)));
        let mut waiting = reserve(&capacity, 3, 50);
        assert!(poll(&mut waiting).is_none());
        let mut other = reserve(&capacity, 4, 60);
        assert!(poll(&mut other).is_none());
        assert_eq!(reserve(&capacity, 5, 20).now_or_never().unwrap().unwrap_err(), Full);
        drop((waiting, other));
        assert!(poll(&mut reserve(&capacity, 4, 20)).is_none(), "it waits");
    }

    /// Requests are made, given up and ended at random. Whatever happens, none waits while it is its turn and its bytes
    /// are free, and at the end everything is free.
    #[test]
    fn no_bytes_and_no_turns_are_lost() {
        let mut seed = 3_u64;
        let mut random = |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % below
        };
        let mut refused = 0;
        for _ in 0..300 {
            // Now and then too many requests wait.
            let capacity = Capacity::new(TOTAL, 400);
            let (mut waiting, mut held): (Vec<Reservation>, Vec<Reserved>) = (Vec::new(), Vec::new());
            for _ in 0..200 {
                match random(4) {
                    0 if !held.is_empty() => drop(held.swap_remove(random(held.len()))),
                    // It may have its bytes already, without having been polled since.
                    1 if !waiting.is_empty() => drop(waiting.swap_remove(random(waiting.len()))),
                    2 => {
                        // Waiting ones are polled only now and then.
                        for mut one in std::mem::take(&mut waiting) {
                            match poll(&mut one) {
                                Some(reserved) => held.push(reserved),
                                None => waiting.push(one),
                            }
                        }
                    }
                    _ => {
                        let mut one = reserve(&capacity, random(5) as u64, 1 + random(70));
                        match (&mut one).now_or_never() {
                            Some(Ok(reserved)) => held.push(reserved),
                            Some(Err(Full)) => refused += 1,
                            None => waiting.push(one),
                        }
                    }
                }
                let state = capacity.lock();
                let sums = state.connections.values().map(|connection| (connection.held, connection.waiting.len()));
                let (sum, count) = sums.fold((0, 0), |(held, waiting), next| (held + next.0, waiting + next.1));
                assert_eq!((state.held, state.waiting), (sum, count));
                assert!(state.held <= TOTAL && held.iter().map(|one| one.bytes).sum::<usize>() <= state.held);
                assert!(state.next_turn().is_none_or(|(_, _, bytes)| !state.is_free(bytes)), "a turn is lost");
            }
            drop((waiting, held));
            let state = capacity.lock();
            assert_eq!((state.held, state.waiting, state.received, state.connections.len()), (0, 0, 0, 0));
            assert!(state.turns.is_empty());
        }
        assert!(refused > 100, "{refused} requests are refused");
    }
}
