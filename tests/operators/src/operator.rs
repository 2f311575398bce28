//! A simulated operator: the passes of `operator/src`, whose every request to the API server and to members waits until
//! the world carries it out. Owns the faults of an operator: it reads stale objects, pauses before a request, loses
//! requests and replies, watches that break or are silent, a wall clock that differs, and crashes after any request. A crash loses everything that the operator remembers. Does not
//! own the operator's process (`operator/process.rs`).

mod messages;
mod process;
mod requests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::jiff::SignedDuration;
use plan::names::{self, Ordinal};
use world::seed::Random;

pub use self::process::Activity;
use self::process::Process;
use self::requests::{Pending, PendingCall};
use crate::api_server::http::{Answer, ApiRequest, Target, Verb};
use crate::api_server::{ApiServer, CLUSTER, Kind, wall_clock};
use crate::invariants::OperatorInvariants;
use crate::members::calls::{MemberCall, MemberReply};
use crate::members::{CallError, Members};

/// Maximum number of reads in one step. A step ends after a request that changes something.
const READS_PER_STEP: usize = 8;
/// Reads of the API server are lost less often than other requests by this factor, because a pass makes many of them.
const READ_LOSS: u32 = 16;

/// Faults of an operator. Rates are per million requests.
#[derive(Clone, Copy, Debug)]
pub struct OperatorFaults {
    /// Rate of lost replies: the request takes effect, but the operator does not learn the outcome.
    pub lost_replies: u32,
    /// Rate of lost requests: the request has no effect, and the operator does not learn the outcome.
    pub lost_calls: u32,
    /// Rate of crashes after a request that changes something.
    pub crashes: u32,
    /// Rate of pauses before a request that changes something.
    pub pauses: u32,
    /// Maximum length of a pause.
    pub pause_max: Duration,
    /// Maximum number of versions by which a read may lag.
    pub stale_max: u64,
    /// Rate of changes after which the watch is silent, until it starts anew.
    pub silences: u32,
    /// Maximum time for which the watch is silent.
    pub silence_max: Duration,
    /// Rate of steps in which the watch breaks and starts anew, so that a pass begins although nothing changed.
    pub watch_restarts: u32,
    /// Difference between the wall clock of the operator's machine and that of the API server.
    pub clock_ahead: SignedDuration,
}

impl OperatorFaults {
    /// No faults.
    pub const NONE: Self = Self {
        lost_replies: 0,
        lost_calls: 0,
        crashes: 0,
        pauses: 0,
        pause_max: Duration::ZERO,
        stale_max: 0,
        silences: 0,
        silence_max: Duration::ZERO,
        watch_restarts: 0,
        clock_ahead: SignedDuration::ZERO,
    };
}

/// An operator. A crash ends its process; the next step starts another one.
#[derive(Debug)]
pub struct Operator {
    /// Faults of this operator.
    pub faults: OperatorFaults,
    activity: Activity,
    process: Option<Process>,
    /// Ordinals whose reservation the process knows to have succeeded, each with the UID of the members' Service.
    reserved: BTreeMap<Ordinal, String>,
    /// Objects that the process read in this pass, each by itself.
    found: BTreeSet<(Kind, String)>,
    /// Number of versions by which the next read may lag. It never grows during a pass.
    age: u64,
    has_just_read_cluster: bool,
    resumes_at: Duration,
    /// A request that is carried out after a pause.
    delayed: Option<Pending>,
    /// Number of requests that changed something and were carried out, including those before crashes.
    pub actions: u64,
}

/// The parts of the world that an operator uses.
pub struct Environment<'w> {
    /// The API server.
    pub api: &'w mut ApiServer,
    /// The members that the operator calls.
    pub members: &'w mut Members,
    /// The invariants, which are notified of the operator's requests.
    pub invariants: &'w mut OperatorInvariants,
    /// Random numbers.
    pub random: &'w mut Random,
    /// Time since the start of the run.
    pub now: Duration,
}

impl Operator {
    /// Creates an operator whose process starts in the first step.
    #[must_use]
    pub fn new(faults: OperatorFaults, activity: Activity) -> Self {
        Self {
            faults,
            activity,
            process: None,
            reserved: BTreeMap::new(),
            found: BTreeSet::new(),
            age: 0,
            has_just_read_cluster: false,
            resumes_at: Duration::ZERO,
            delayed: None,
            actions: 0,
        }
    }

    /// Crashes the process. Its state in memory is lost, and its pending requests are not carried out.
    pub fn crash(&mut self) {
        self.process = None;
        self.delayed = None;
        self.reserved.clear();
    }

    /// Stops the process until this time, as a machine without CPU time does.
    pub fn halt(&mut self, until: Duration) {
        self.resumes_at = until;
    }

    /// Takes the next step unless the operator is paused: lets the process run, and carries out some of its reads, or
    /// one request that changes something.
    pub fn step(&mut self, environment: &mut Environment<'_>) {
        if environment.now < self.resumes_at {
            return;
        }
        if let Some(pending) = self.delayed.take() {
            self.carry_out(pending, environment);
            return;
        }
        for _ in 0..READS_PER_STEP {
            let Some(pending) = self.next_request(environment) else { return };
            if pending.is_read() {
                self.carry_out(pending, environment);
                continue;
            }
            if environment.random.chance(self.faults.pauses) {
                self.resumes_at = environment.now + environment.random.time(Duration::ZERO, self.faults.pause_max);
                self.delayed = Some(pending);
            } else {
                self.carry_out(pending, environment);
            }
            return;
        }
    }

    /// Lets the process run until it waits, and returns one of the requests for whose answers it waits.
    fn next_request(&mut self, environment: &mut Environment<'_>) -> Option<Pending> {
        if self.process.is_none() {
            let cluster = environment.api.now().cluster.clone()?;
            let (random, ahead) = (&mut *environment.random, self.faults.clock_ahead);
            self.process = Some(Process::start(cluster, self.activity, random, environment.now, ahead));
        }
        let process = self.process.as_mut()?;
        process.notice(environment.api.version(), &self.faults, environment.random, environment.now);
        if !process.run(environment.now) {
            self.crash();
            return None;
        }
        process.take_request(environment.random)
    }

    /// Carries out a request, unless it is lost, and answers it, unless the reply is lost or the operator crashes.
    fn carry_out(&mut self, pending: Pending, environment: &mut Environment<'_>) {
        let is_read = pending.is_read();
        let loss = match &pending {
            Pending::Api(..) if is_read => self.faults.lost_calls / READ_LOSS,
            Pending::Api(..) | Pending::Member(..) => self.faults.lost_calls,
        };
        if environment.random.chance(loss) {
            // The operator's wait ends here, because the request is dropped. The next pass begins with other reads.
            self.has_just_read_cluster = false;
            return;
        }
        let arrives = is_read || !environment.random.chance(self.faults.lost_replies);
        match pending {
            Pending::Api(request, reply) => {
                let reserved = reservation(&request, environment.api);
                let answer = self.ask_api(&request, environment);
                if arrives {
                    if answer.status().is_success() {
                        let service = service_uid(environment.api);
                        self.reserved.extend(reserved.into_iter().map(|ordinal| (ordinal, service.clone())));
                    }
                    let _ = reply.send(answer);
                }
            }
            Pending::Member(call, reply) => {
                let answer = ask_member(&call, environment);
                if arrives {
                    let _ = reply.send(answer);
                }
            }
        }
        if !is_read {
            self.actions += 1;
            if environment.random.chance(self.faults.crashes) {
                self.crash();
            }
        }
    }

    fn ask_api(&mut self, request: &ApiRequest, environment: &mut Environment<'_>) -> Answer {
        // A pass reads the members' Service first, and again after the RaftCluster.
        let is_first = request.name == names::member_service(CLUSTER) && !self.has_just_read_cluster;
        if request.verb == Verb::Get && is_first {
            self.age = self.faults.stale_max;
            self.found.clear();
        }
        if request.is_read() {
            self.age = environment.random.between(0, self.age);
        }
        let age = usize::try_from(self.age).unwrap_or(usize::MAX);
        let Environment { api, members, invariants, now, .. } = environment;
        if let Target::Stored(kind) = request.target {
            invariants.writes(request, self.found.contains(&(kind, request.name.clone())));
        }
        match (request.verb, request.target) {
            // After a refusal the operator may create the same member again.
            (Verb::Create, Target::Stored(Kind::StatefulSet)) if !api.refuses.contains(&Kind::StatefulSet) => {
                let ordinal = names::ordinal_of_member(CLUSTER, request.object_name());
                let reserved_on = ordinal.and_then(|ordinal| self.reserved.get(&ordinal));
                // A person who deletes the Service deletes the reservations: the ordinal may be reserved again.
                if reserved_on.is_none_or(|service| *service == service_uid(api)) {
                    invariants.creates(ordinal, &request.parse_body(), reserved_on.is_some(), api);
                }
            }
            (Verb::Delete, Target::Stored(Kind::StatefulSet)) => {
                invariants.about_to_delete(&request.name, api, members)
            }
            _ => {}
        }
        let answer = api.answer(request, age, wall_clock(*now));
        if !request.is_read() {
            invariants.note(*now, format!("{request} {}", answer.status()));
        }
        self.has_just_read_cluster = (request.verb, request.target) == (Verb::Get, Target::Stored(Kind::RaftCluster))
            && answer.status().is_success();
        match (request.verb, request.target) {
            (Verb::Get, Target::Stored(kind)) if answer.status().is_success() => {
                self.found.insert((kind, request.name.clone()));
            }
            (Verb::Delete, Target::Stored(Kind::StatefulSet)) if answer.status().is_success() => invariants.deleted(),
            (Verb::Evict, Target::Stored(Kind::Pod)) if answer.status().is_success() => {
                invariants.evicts(&request.name, members, *now);
            }
            _ => {}
        }
        answer
    }
}

/// Returns the UID of the members' Service.
fn service_uid(api: &ApiServer) -> String {
    let service = api.now().services.get(&names::member_service(CLUSTER));
    service.and_then(|service| service.metadata.uid.clone()).unwrap_or_default()
}

/// Returns the ordinals that a request reserves if it succeeds.
fn reservation(request: &ApiRequest, api: &ApiServer) -> Vec<Ordinal> {
    let last = |annotation: Option<&str>| annotation.and_then(|last| last.parse::<u32>().ok());
    let wanted = last(request.body["metadata"]["annotations"][names::ANNOTATION_LAST_ORDINAL].as_str());
    let Some(wanted) = wanted.filter(|_| request.target == Target::Stored(Kind::Service)) else { return Vec::new() };
    let live = api.now().services.get(&request.name).and_then(|service| service.metadata.annotations.as_ref());
    let before = last(live.and_then(|notes| notes.get(names::ANNOTATION_LAST_ORDINAL)).map(String::as_str));
    (before.unwrap_or(0) + 1..=wanted).map(Ordinal).collect()
}

/// Calls the member at an address, which is the UID of a pod.
fn ask_member(made: &PendingCall, environment: &mut Environment<'_>) -> Result<MemberReply, CallError> {
    let Environment { api, members, invariants, now, .. } = environment;
    let answer = members.answer(&made.address, made.token.as_deref(), &made.call);
    if !made.call.is_read() {
        invariants.note(*now, format!("{} {:?}: {answer:?}", made.address, made.call));
    }
    if let (MemberCall::ChangeMembership(change), Ok(_)) = (&made.call, &answer) {
        invariants.changed(change, members, *now);
    }
    if let (MemberCall::RaiseFeatureLevel(to), Ok(_)) = (&made.call, &answer) {
        invariants.raised(*to, api);
    }
    answer
}
