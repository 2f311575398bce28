//! Tests of leader election: the real client and the real rules, against an API of Leases in this process and tokio's
//! paused clock. In every test, no two operators of one release may be active at the same time.

mod lease_api;
mod processes;

use std::time::Duration;

use lease_api::Connection;
use processes::{FORMER, Namespace};
use tokio::time::{Instant, sleep};

/// Full name of a release with another lease than the former one.
const PROD: &str = "prod-raft-operator";
/// Full name of a second such release in the same namespace.
const TEST: &str = "test-raft-operator";

const PERIOD: Duration = Duration::from_secs(2);
const EXPIRY: Duration = Duration::from_secs(15);
/// Maximum delay with which a test notices a change.
const NOTICED: Duration = Duration::from_millis(300);

async fn seconds(seconds: u64) {
    sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn the_first_candidate_is_active_and_stays_active() {
    for release in [PROD, FORMER] {
        let namespace = Namespace::default();
        let first = namespace.start(release, "first");
        assert!(namespace.until_active(release, "first").await <= NOTICED);
        let second = namespace.start(release, "second");
        seconds(120).await;
        assert_eq!(namespace.active(release), "first");
        assert_eq!(namespace.api.transitions(release), 0);
        assert_eq!(namespace.api.holder(release), format!("{release}/first_1"));
        first.stop().await;
        second.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_candidates_that_write_at_once_one_is_active() {
    for release in [PROD, FORMER] {
        let namespace = Namespace::default();
        let processes = ["a", "b", "c"].map(|name| {
            let process = namespace.start(release, name);
            process.link.set(Connection::Slow(Duration::from_millis(50)));
            process
        });
        seconds(60).await;
        assert!(!namespace.active(release).is_empty());
        for process in processes {
            process.stop().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_released_lease_is_taken_within_one_period() {
    let namespace = Namespace::default();
    let first = namespace.start(PROD, "first");
    namespace.until_active(PROD, "first").await;
    let second = namespace.start(PROD, "second");
    seconds(5).await;
    first.stop().await;
    assert!(namespace.until_active(PROD, "second").await <= PERIOD + NOTICED);
    second.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_lease_of_a_killed_process_is_taken_after_it_has_expired() {
    let namespace = Namespace::default();
    let first = namespace.start(PROD, "first");
    namespace.until_active(PROD, "first").await;
    let second = namespace.start(PROD, "second");
    seconds(6).await;
    first.kill(&namespace, PROD);
    let took = namespace.until_active(PROD, "second").await;
    assert!((EXPIRY - PERIOD..=EXPIRY + PERIOD + NOTICED).contains(&took), "{took:?}");
    second.stop().await;
}

/// The first process cannot renew its lease. It must have ended before the second one acquires the expired lease.
#[tokio::test(start_paused = true)]
async fn a_process_without_an_api_ends_before_its_lease_expires() {
    let late = Connection::Refuses(Duration::from_millis(2500));
    for connection in [Connection::Silent, Connection::Refuses(Duration::ZERO), late] {
        let namespace = Namespace::default();
        let first = namespace.start(PROD, "first");
        namespace.until_active(PROD, "first").await;
        let second = namespace.start(PROD, "second");
        seconds(10).await;
        first.link.set(connection);
        let ended = namespace.until(|| namespace.active(PROD).is_empty()).await;
        assert!(ended <= Duration::from_secs(10) + NOTICED, "{ended:?}");
        assert!(first.has_ended());
        namespace.until_active(PROD, "second").await;
        second.stop().await;
    }
}

/// The server writes a renewal, but answers eight seconds later. The time until the process ends must count from before
/// the write, because the lease expires that much earlier.
#[tokio::test(start_paused = true)]
async fn a_late_answer_does_not_extend_the_lease() {
    let namespace = Namespace::default();
    let first = namespace.start(FORMER, "first");
    namespace.until_active(FORMER, "first").await;
    let second = namespace.start(FORMER, "second");
    seconds(10).await;
    first.link.set(Connection::SlowWrites(Duration::from_secs(8)));
    seconds(5).await;
    first.link.set(Connection::Silent);
    let ended = namespace.until(|| namespace.active(FORMER).is_empty()).await;
    assert!(ended <= Duration::from_secs(8), "{ended:?}");
    namespace.until_active(FORMER, "second").await;
    second.stop().await;
}

/// A renewal must end within the time that is left after the previous one. A release with another lease than the former
/// one renews both.
#[tokio::test(start_paused = true)]
async fn slow_answers_alone_do_not_end_a_process() {
    for release in [PROD, FORMER] {
        let namespace = Namespace::default();
        let first = namespace.start(release, "first");
        namespace.until_active(release, "first").await;
        first.link.set(Connection::Slow(Duration::from_millis(4500)));
        seconds(120).await;
        assert_eq!(namespace.active(release), "first");
        first.stop().await;
    }
}

/// Every request is slow from the beginning: a process still becomes active, and stays active.
#[tokio::test(start_paused = true)]
async fn a_process_becomes_active_in_spite_of_slow_answers() {
    for release in [PROD, FORMER] {
        let namespace = Namespace::default();
        let first = namespace.start(release, "first");
        first.link.set(Connection::Slow(Duration::from_millis(4500)));
        namespace.until_active(release, "first").await;
        seconds(120).await;
        assert_eq!(namespace.active(release), "first");
        first.stop().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_ends_once_another_one_holds_its_lease() {
    let namespace = Namespace::default();
    let first = namespace.start(PROD, "first");
    namespace.until_active(PROD, "first").await;
    namespace.api.put(PROD, "prod-raft-operator/other_1");
    assert!(namespace.until(|| first.has_ended()).await <= PERIOD + NOTICED);
}

/// `helm upgrade` from the former version: the new pod becomes ready, then the former pods are deleted one by one. The
/// release's lease has a new name, so that only the former lease keeps the former pods from being active.
#[tokio::test(start_paused = true)]
async fn an_upgrade_never_has_two_active_operators() {
    for release in [PROD, FORMER] {
        let namespace = Namespace::default();
        let former = [namespace.start_former(release, "old-1"), namespace.start_former(release, "old-2")];
        seconds(5).await;
        let new = namespace.start(release, "new");
        seconds(60).await;
        assert!(namespace.active(release).starts_with("old-"), "a former process is still active");
        for process in former {
            process.stop().await;
            seconds(7).await;
        }
        namespace.until_active(release, "new").await;
        seconds(60).await;
        assert_eq!(namespace.active(release), "new");
        new.stop().await;
    }
}

/// A process that waits for the former lease holds that of its release. Its successor must not wait until it expires.
#[tokio::test(start_paused = true)]
async fn a_process_that_is_stopped_while_it_waits_releases_its_lease() {
    let namespace = Namespace::default();
    let former = namespace.start_former(PROD, "old");
    namespace.until_active(PROD, "old").await;
    let new = namespace.start(PROD, "new");
    seconds(5).await;
    assert_eq!(namespace.api.holder(PROD), "prod-raft-operator/new_1");
    new.stop().await;
    assert_eq!(namespace.api.holder(PROD), "");
    former.stop().await;
}

/// A process that cannot reach the API ends nevertheless, before Kubernetes kills it.
#[tokio::test(start_paused = true)]
async fn a_process_without_an_api_stops_in_time() {
    let namespace = Namespace::default();
    let process = namespace.start(PROD, "first");
    namespace.until_active(PROD, "first").await;
    process.link.set(Connection::Silent);
    let began = Instant::now();
    process.stop().await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

/// A pod of the former version that was waiting to restart, or that a rollback creates, finds the former lease held.
#[tokio::test(start_paused = true)]
async fn a_former_process_that_comes_later_waits_until_the_new_ones_have_ended() {
    for release in [PROD, FORMER] {
        let namespace = Namespace::default();
        let new = [namespace.start(release, "new-1"), namespace.start(release, "new-2")];
        namespace.until_active(release, "new-1").await;
        let former = namespace.start_former(release, "old");
        seconds(60).await;
        assert_eq!(namespace.active(release), "new-1");
        for process in new {
            process.stop().await;
        }
        namespace.until_active(release, "old").await;
        seconds(60).await;
        former.stop().await;
    }
}

/// An upgrade with `rbac.create: false` before the rights on the release's lease are granted, or those on the former one.
/// A pod that is ready would replace the former pod, and no operator would be active.
#[tokio::test(start_paused = true)]
async fn a_process_without_the_rights_is_not_ready_until_they_are_granted() {
    for lease in [PROD, FORMER] {
        let namespace = Namespace::default();
        let new = namespace.start(PROD, "new");
        new.link.set(Connection::Forbids(lease));
        seconds(60).await;
        assert!(!new.readiness.is_ready(), "{lease}");
        new.link.set(Connection::Works);
        namespace.until_active(PROD, "new").await;
        assert!(new.readiness.is_ready(), "{lease}");
        new.stop().await;
    }
}

/// Otherwise a rollout with a standby, or one from the former version, would never end.
#[tokio::test(start_paused = true)]
async fn a_process_that_waits_for_another_one_is_ready() {
    let namespace = Namespace::default();
    let former = namespace.start_former(PROD, "old");
    namespace.until_active(PROD, "old").await;
    let new = [namespace.start(PROD, "new-1"), namespace.start(PROD, "new-2")];
    seconds(5).await;
    for process in new {
        assert!(process.readiness.is_ready());
        process.stop().await;
    }
    assert_eq!(namespace.active(PROD), "old");
    former.stop().await;
}

/// The former lease was deleted by a person, and a former process created it again.
#[tokio::test(start_paused = true)]
async fn a_process_ends_once_a_former_version_holds_the_former_lease() {
    let namespace = Namespace::default();
    let new = namespace.start(PROD, "new");
    namespace.until_active(PROD, "new").await;
    namespace.api.put(FORMER, "old_1");
    assert!(namespace.until(|| new.has_ended()).await <= PERIOD + NOTICED);
}

#[tokio::test(start_paused = true)]
async fn two_releases_of_one_namespace_are_both_active() {
    for (one, other) in [(PROD, TEST), (PROD, FORMER), (FORMER, PROD)] {
        let namespace = Namespace::default();
        let first = namespace.start(one, "first");
        namespace.until_active(one, "first").await;
        let second = namespace.start(other, "second");
        assert!(namespace.until_active(other, "second").await <= PERIOD + NOTICED);
        seconds(120).await;
        assert_eq!((namespace.active(one), namespace.active(other)), ("first".to_owned(), "second".to_owned()));
        first.stop().await;
        seconds(60).await;
        assert_eq!(namespace.active(other), "second");
        second.stop().await;
    }
}

/// The former lease is held by the operator of one release only. When that operator ends, the other one takes the lease
/// over, so that former processes of both releases keep waiting.
#[tokio::test(start_paused = true)]
async fn one_of_two_releases_always_holds_the_former_lease() {
    // The former process reads the lease at another moment of the period each time.
    for phase in 0..8 {
        let namespace = Namespace::default();
        let first = namespace.start(PROD, "first");
        namespace.until_active(PROD, "first").await;
        seconds(1).await;
        let second = namespace.start(TEST, "second");
        namespace.until_active(TEST, "second").await;
        sleep(phase * PERIOD / 8).await;
        let former = namespace.start_former(TEST, "old");
        seconds(20).await;
        assert_eq!(namespace.api.holder(FORMER), "prod-raft-operator/first_1");
        first.stop().await;
        seconds(60).await;
        assert_eq!(namespace.api.holder(FORMER), "test-raft-operator/second_1");
        assert_eq!(namespace.active(TEST), "second");
        second.stop().await;
        former.stop().await;
    }
}

/// The release that holds the former lease as its own is lost. An operator that relies on it must take the lease over
/// before a former process of its own release does.
#[tokio::test(start_paused = true)]
async fn a_lost_release_named_as_the_former_lease_is_followed_before_former_processes() {
    for phase in 0..8 {
        let namespace = Namespace::default();
        let lost = namespace.start(FORMER, "lost");
        namespace.until_active(FORMER, "lost").await;
        let relies = namespace.start(TEST, "relies");
        namespace.until_active(TEST, "relies").await;
        sleep(phase * PERIOD / 8).await;
        let former = namespace.start_former(TEST, "old");
        seconds(20).await;
        assert_eq!(namespace.api.holder(FORMER), "raft-operator/lost_1");
        lost.kill(&namespace, FORMER);
        seconds(60).await;
        assert_eq!(namespace.api.holder(FORMER), "test-raft-operator/relies_1");
        assert_eq!(namespace.active(TEST), "relies");
        relies.stop().await;
        former.stop().await;
    }
}

/// The holder is lost, and then the operator that relies on its lease loses the API. It must end before a former process
/// of its own release can acquire the lease.
#[tokio::test(start_paused = true)]
async fn an_operator_that_relies_on_a_lost_release_ends_before_the_lease_expires() {
    for (holder, phase) in (0..32).flat_map(|phase| [(FORMER, phase), (PROD, phase)]) {
        let namespace = Namespace::default();
        let lost = namespace.start(holder, "lost");
        namespace.until_active(holder, "lost").await;
        let relies = namespace.start(TEST, "relies");
        namespace.until_active(TEST, "relies").await;
        let former = namespace.start_former(TEST, "old");
        seconds(20).await;
        lost.kill(&namespace, holder);
        sleep(phase * PERIOD / 4).await;
        relies.link.set(Connection::Silent);
        namespace.until_active(TEST, "old").await;
        assert!(relies.has_ended());
        former.stop().await;
    }
}

/// An operator that starts after the holder was lost sees a lease that may expire at any moment.
#[tokio::test(start_paused = true)]
async fn an_operator_relies_only_on_a_holder_that_was_seen_alive() {
    for phase in 0..32 {
        let namespace = Namespace::default();
        let lost = namespace.start(FORMER, "lost");
        namespace.until_active(FORMER, "lost").await;
        let former = namespace.start_former(TEST, "old");
        seconds(20).await;
        lost.kill(&namespace, FORMER);
        sleep(phase * PERIOD / 4).await;
        let late = namespace.start(TEST, "late");
        seconds(60).await;
        assert!(!namespace.active(TEST).is_empty());
        late.stop().await;
        former.stop().await;
    }
}

/// A release whose own lease has the former name takes it at once from a release that holds it only for protection.
#[tokio::test(start_paused = true)]
async fn a_release_takes_its_own_lease_from_a_release_that_guards_it() {
    let namespace = Namespace::default();
    let guard = namespace.start(PROD, "guard");
    namespace.until_active(PROD, "guard").await;
    seconds(10).await;
    assert_eq!(namespace.api.holder(FORMER), "prod-raft-operator/guard_1");
    let owner = [namespace.start(FORMER, "owner-1"), namespace.start(FORMER, "owner-2")];
    seconds(60).await;
    let active = namespace.active(FORMER);
    assert!(active.starts_with("owner-"), "{active}");
    assert_eq!(namespace.api.holder(FORMER), format!("raft-operator/{active}_1"));
    assert_eq!(namespace.active(PROD), "guard");
    for process in owner {
        process.stop().await;
    }
    guard.stop().await;
}
