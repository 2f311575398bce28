//! Tests that the member whose name is preferred becomes the leader, even if another member was elected first.

use proto::admin as wire;

use crate::member::{Member, TOKEN, eventually, with_token};

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn leadership_goes_to_the_member_that_is_preferred_by_name() {
    let flags = ["--election-timeout=500ms", "--prefer-leaders=demo-3"];
    let members: Vec<Member> = ["demo-1", "demo-2", "demo-3"].map(|name| Member::blank_with(name, &flags)).into();
    let mut voters = Vec::new();
    for member in &members {
        voters.push(member.info().await);
    }
    // The preferred member is bootstrapped last, so that another member is elected first.
    for member in &members {
        let record = member.record(voters.clone());
        member.admin().await.bootstrap(with_token(record, TOKEN)).await.expect("a blank member accepts an identity");
        if member.name == "demo-2" {
            eventually("another member leads first", async || {
                let roles = [members[0].describe().await.role(), members[1].describe().await.role()];
                if roles.contains(&wire::Role::Leader) { Ok(()) } else { Err(roles) }
            })
            .await;
        }
    }
    eventually("demo-3 leads", async || {
        let role = members[2].describe().await.role();
        if role == wire::Role::Leader { Ok(()) } else { Err(role) }
    })
    .await;
}
