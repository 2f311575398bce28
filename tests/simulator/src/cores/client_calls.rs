//! Times of clients' calls, and the choice of the member for each call. Does not own the requests (`workload.rs`) or
//! the history (`clients.rs`).

use std::time::Duration;

use raft::MemberId;

use crate::command::{Command, Request};
use crate::cores::driver_state::Input;
use crate::cores::{CoreCluster, Event};

impl CoreCluster {
    pub(super) fn client_acts(&mut self, client: usize) {
        if self.is_quiet {
            return;
        }
        let now_up: Vec<MemberId> = self.reachable_members();
        if now_up.is_empty() {
            self.free(Some(client));
            return;
        }
        let at = *self.random.pick(&now_up);
        let burst = if self.random.chance(100_000) { self.random.between(1, 5) } else { 0 };
        let mut commands = Vec::new();
        for place in 0..=burst {
            let waits = (place == 0).then_some(client);
            let (operation, request) = self.clients.begin(&mut self.random, waits, at, self.profile.keys);
            self.agenda.after(self.profile.patience, Event::Patience(operation));
            match request {
                Request::Command(action) => {
                    let padding = self.random.between(0, self.profile.padding) as usize;
                    commands.push((operation, Command { operation, action }.encode(padding)));
                }
                Request::Read(_) => self
                    .agenda
                    .after(Duration::ZERO, Event::Input { to: at, start: None, input: Input::Read { operation } }),
            }
        }
        if !commands.is_empty() {
            let input = Input::Propose { commands };
            self.agenda.after(Duration::ZERO, Event::Input { to: at, start: None, input });
        }
    }

    /// Members that clients call: all running members. After all faults are lifted, clients call only running members
    /// of the committed configuration, as through a Service.
    pub(super) fn reachable_members(&self) -> Vec<MemberId> {
        let running = self.members.values().filter(|member| member.is_up()).map(|member| member.id);
        match self.invariants.ledger.committed_configuration().filter(|_| self.is_healing) {
            Some((_, part)) => running.filter(|id| part.voters.contains(id) || part.learners.contains(id)).collect(),
            None => running.collect(),
        }
    }

    /// Plans the next call of a client that no longer waits.
    pub(super) fn free(&mut self, client: Option<usize>) {
        if let Some(client) = client {
            let (low, high) = self.profile.think;
            let think = self.random.time(low, high);
            self.agenda.after(think, Event::Client(client));
        }
    }

    /// Stops new operations of clients.
    pub(crate) fn quiet(&mut self) {
        self.is_quiet = true;
    }

    /// Starts clients again.
    pub(crate) fn wake_clients(&mut self) {
        self.is_quiet = false;
        for client in 0..self.profile.clients {
            self.free(Some(client));
        }
    }

    /// Proposes up to `count` writes at one member. No client waits for the answers. The writes are spread over many
    /// registers, because a hundred writes of unknown outcome to one register would allow more orders than the check
    /// can try.
    pub(crate) fn burst(&mut self, at: MemberId, count: u64) {
        for _ in 0..count {
            let (operation, request) = self.clients.begin(&mut self.random, None, at, self.profile.keys + 8 * count);
            if let Request::Command(action) = request {
                let commands = vec![(operation, Command { operation, action }.encode(0))];
                self.agenda
                    .after(Duration::ZERO, Event::Input { to: at, start: None, input: Input::Propose { commands } });
            }
        }
    }
}
