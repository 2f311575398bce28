//! Faults and runs with programs that support different feature levels, and with members that repair their disks. Owns
//! what is drawn, and what must hold in these runs. Does not own what a program does with a level
//! (`members/levels.rs`).

use std::collections::BTreeSet;
use std::time::Duration;

use plan::ids::MemberId;
use world::seed::{Random, Seed};

use crate::controllers::{FORMER_IMAGE, LATER_IMAGE};
use crate::life::operator_faults;
use crate::operator::OperatorFaults;
use crate::world::World;

/// Longest time for which a member repairs its disk, or runs a program that is too old: twice the replacement delay.
const LONG: Duration = Duration::from_secs(20);

impl World {
    /// Sets the image of the members, as a person does.
    pub fn set_image(&mut self, image: &str) {
        self.edit(|spec| spec.image = Some(image.to_owned()));
        self.invariants.note(self.now, format!("image: {image}"));
    }

    /// Sets one of two images, one of which supports only the first feature level.
    pub(super) fn change_image(&mut self) {
        let image = *self.random.pick(&[FORMER_IMAGE, LATER_IMAGE]);
        self.set_image(image);
    }

    /// Sets an image that supports the level, if the present one does not.
    pub(super) fn correct_image(&mut self) {
        let image = self.api.now().cluster.as_ref().and_then(|cluster| cluster.spec.image.clone());
        if image.as_deref() == Some(FORMER_IMAGE) {
            self.set_image(LATER_IMAGE);
        }
    }

    /// Lets a random member repair its disk for a while.
    pub(super) fn repair_member(&mut self) {
        let pods: Vec<String> = self.api.now().pods.values().filter_map(|pod| pod.metadata.uid.clone()).collect();
        if pods.is_empty() || self.is_too_soon() {
            return;
        }
        let pod = self.random.pick(&pods).clone();
        let time = self.random.time(Duration::ZERO, LONG);
        self.members.repair(&pod, time);
        self.invariants.last_fault = Some(self.now);
        self.invariants.note(self.now, format!("{pod} repairs its disk for {time:?}"));
    }

    /// Restarts a random member with a program that supports only the first level, as a tag that was moved does; or the
    /// one that was restarted so with the program of its image.
    pub(super) fn age_program(&mut self) {
        if self.is_too_soon() {
            return;
        }
        let claims: Vec<String> =
            self.api.now().volumes.values().filter_map(|claim| claim.metadata.uid.clone()).collect();
        let claim = self.aged.take().or_else(|| (!claims.is_empty()).then(|| self.random.pick(&claims).clone()));
        let Some(claim) = claim else { return };
        let is_aged = !self.members.is_outdated(&claim);
        self.members.set_outdated(&claim, is_aged);
        self.aged = is_aged.then(|| claim.clone());
        self.invariants.last_fault = Some(self.now);
        self.invariants.note(self.now, format!("the program on {claim} is too old: {is_aged}"));
    }

    fn everyone(&self) -> BTreeSet<MemberId> {
        self.members.newest_committed().map(|committed| committed.everyone()).unwrap_or_default()
    }
}

/// Restarts a member of a cluster at level 2 with a program that supports only the first level, and lets another one
/// repair its disk, each for twice the replacement delay, while an operator loses calls. Neither is replaced.
///
/// # Panics
/// Panics if an invariant is violated, the cluster does not heal, or a member was replaced.
pub fn keep_members_that_come_back(seed: u64) {
    let lossy = OperatorFaults { lost_calls: 100_000, ..OperatorFaults::NONE };
    let mut world = World::new(Seed(seed), 3, vec![lossy]);
    world.run_until("at level 2", Duration::from_secs(180), |world| world.is_healed() && world.members.level() == 2);
    let before = world.everyone();
    let ids: Vec<MemberId> = before.iter().copied().collect();
    for _ in 0..2 {
        let id = *world.random.pick(&ids);
        let claim = world.members.claim_of(id).expect("it has a disk").to_owned();
        world.invariants.last_fault = Some(world.now);
        world.members.set_outdated(&claim, true);
        world.run(LONG);
        assert!(
            world.members.is_too_old(&claim),
            "seed {seed}: its program starts, or it was replaced\n{}",
            world.invariants.history()
        );
        world.members.set_outdated(&claim, false);
        world.run_until("healed", Duration::from_secs(60), World::is_healed);
        let pods: Vec<String> = world.api.now().pods.values().filter_map(|pod| pod.metadata.uid.clone()).collect();
        let pod = world.random.pick(&pods).clone();
        world.invariants.last_fault = Some(world.now);
        world.members.repair(&pod, LONG);
        world.run(LONG);
        world.run_until("healed", Duration::from_secs(60), World::is_healed);
    }
    assert!(
        world.everyone() == before,
        "seed {seed}: a member was replaced that comes back\n{}",
        world.invariants.history()
    );
}

/// Upgrades a cluster to an image that supports level 2, while two operators read stale states and crash, and takes the
/// image back at any time. If the level rose meanwhile, the former image is refused, or one member tries it and keeps
/// its volume. Then the later image is set again.
///
/// # Panics
/// Panics if an invariant is violated, the cluster does not heal, or a member is replaced.
pub fn upgrade_and_take_back(seed: u64) {
    let mut random = Random::new(Seed(seed ^ 0x001e_7e15));
    let operators = vec![operator_faults(&mut random), operator_faults(&mut random)];
    let mut world = World::new(Seed(seed), 3, operators);
    world.set_image(FORMER_IMAGE);
    world.run_until("healed", Duration::from_secs(300), World::is_healed);
    world.run_until("recorded", Duration::from_secs(120), World::is_recorded);
    assert_eq!(world.members.level(), 1, "seed {seed}: no member supports more");
    let before = world.everyone();
    world.set_image(LATER_IMAGE);
    world.run(random.time(Duration::ZERO, Duration::from_secs(90)));
    world.set_image(FORMER_IMAGE);
    let level = world.members.level();
    for _ in 0..60 {
        world.run(Duration::from_secs(1));
        let claims = world.api.now().volumes.values().filter_map(|claim| claim.metadata.uid.as_deref());
        let too_old = claims.filter(|claim| world.members.is_too_old(claim)).count();
        assert!(too_old <= 1, "seed {seed}: {too_old} members are too old\n{}", world.invariants.history());
    }
    world.lift_all_faults();
    world.set_image(if level == 1 && world.members.level() == 1 { FORMER_IMAGE } else { LATER_IMAGE });
    world.run_until("healed", Duration::from_secs(300), World::is_healed);
    assert!(world.everyone() == before, "seed {seed}: a member was replaced\n{}", world.invariants.history());
}

/// Adds members with a program that does not support the level of the cluster: none joins. With a later image they do.
///
/// # Panics
/// Panics if an invariant is violated, or a member that is too old joins.
pub fn refuse_old_newcomers(seed: u64) {
    let mut world = World::new(Seed(seed), 3, vec![OperatorFaults::NONE]);
    world.run_until("at level 2", Duration::from_secs(180), |world| world.is_healed() && world.members.level() == 2);
    let before = world.everyone();
    world.members.newcomers_are_outdated = true;
    world.set_replicas(5);
    world.run(LONG);
    assert_eq!(world.everyone(), before, "seed {seed}: a newcomer that is too old joined");
    assert_eq!(world.reason("Ready").as_deref(), Some("MemberTooOld"), "seed {seed}");
    world.members.newcomers_are_outdated = false;
    world.members.renew_programs();
    world.run_until("healed", Duration::from_secs(180), World::is_healed);
}
