//! The links to other members. Owns how many there are. Does not own what a link does (`lanes.rs`, `dial.rs`).
//!
//! The port of members does not authenticate its callers yet. A caller can make this member answer any ID, so
//! what is kept for IDs outside the configuration is limited, and the least recently used goes first.

use std::collections::BTreeMap;
use std::sync::Arc;

use raft::{Configuration, MemberId};
use tokio::task::AbortHandle;

use crate::peer::lanes::Lane;

/// Maximum number of links to members that are not in the configuration. Among them are a member that is being added,
/// and removed members that are notified of their removal.
const STRANGERS_MAX: usize = 16;
/// Maximum number of addresses kept from greetings; far above the size of any cluster.
const LEARNED_MAX: usize = 64;
/// Maximum length of such an address in bytes. A longer one is no address of a member.
const URL_BYTES_MAX: usize = 2_048;

/// The lanes to one member.
pub(super) struct Link {
    pub(super) control: Arc<Lane>,
    pub(super) bulk: Arc<Lane>,
    pub(super) tasks: Vec<AbortHandle>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

/// A value, and when it was last used.
struct Used<T> {
    at: u64,
    value: T,
}

#[derive(Default)]
pub(super) struct Links {
    /// Number of uses so far.
    uses: u64,
    links: BTreeMap<MemberId, Used<Link>>,
    /// Addresses that members gave in greetings. A member's address is used while the configuration does not contain
    /// that member.
    learned: BTreeMap<MemberId, Used<String>>,
    /// Latest snapshot transfer to each member, in progress or ended.
    pub(super) snapshots: BTreeMap<MemberId, AbortHandle>,
}

impl Links {
    /// Returns the link to a member, which is opened if there is none.
    pub(super) fn to(&mut self, to: MemberId, configuration: &Configuration, open: impl FnOnce() -> Link) -> &Link {
        self.uses += 1;
        if !self.links.contains_key(&to) && !configuration.members.contains_key(&to) {
            let strangers = self.links.iter().filter(|(id, _)| !configuration.members.contains_key(id));
            let (count, oldest) = oldest(strangers);
            if let Some(oldest) = oldest.filter(|_| count >= STRANGERS_MAX) {
                self.links.remove(&oldest);
            }
        }
        let link = self.links.entry(to).or_insert_with(|| Used { at: 0, value: open() });
        link.at = self.uses;
        &link.value
    }

    /// Keeps the address that a member gave.
    pub(super) fn learn(&mut self, member: MemberId, url: &str) {
        if url.is_empty() || url.len() > URL_BYTES_MAX {
            return;
        }
        self.uses += 1;
        if !self.learned.contains_key(&member)
            && self.learned.len() >= LEARNED_MAX
            && let (_, Some(oldest)) = oldest(self.learned.iter())
        {
            self.learned.remove(&oldest);
        }
        self.learned.insert(member, Used { at: self.uses, value: url.to_owned() });
    }

    /// The address that a member gave.
    pub(super) fn learned(&self, member: MemberId) -> Option<String> {
        self.learned.get(&member).map(|learned| learned.value.clone())
    }

    /// Closes all links and aborts all snapshot transfers.
    pub(super) fn close(&mut self) {
        self.links.clear();
        std::mem::take(&mut self.snapshots).into_values().for_each(|task| task.abort());
    }
}

/// The number of entries, and the one that was not used for the longest time.
fn oldest<'u, T: 'u>(entries: impl Iterator<Item = (&'u MemberId, &'u Used<T>)>) -> (usize, Option<MemberId>) {
    let mut found: (usize, Option<(u64, MemberId)>) = (0, None);
    for (id, used) in entries {
        let this = (used.at, *id);
        found = (found.0 + 1, Some(found.1.map_or(this, |oldest| oldest.min(this))));
    }
    (found.0, found.1.map(|(_, id)| id))
}

#[cfg(test)]
mod tests {
    use raft::MemberInfo;

    use crate::peer::lanes::CONTROL_BYTES_MAX;

    use super::*;

    fn link() -> Link {
        let lane = || Arc::new(Lane::new(CONTROL_BYTES_MAX));
        Link { control: lane(), bulk: lane(), tasks: Vec::new() }
    }

    #[test]
    fn strangers_get_a_limited_number_of_links_and_members_keep_theirs() {
        let mut configuration = Configuration::default();
        configuration.members.insert(MemberId(1), MemberInfo::default());
        let mut links = Links::default();
        links.to(MemberId(1), &configuration, link);
        for stranger in 100..200 {
            links.to(MemberId(100), &configuration, link);
            links.to(MemberId(stranger), &configuration, link);
        }
        assert_eq!(links.links.len(), 1 + STRANGERS_MAX);
        assert!(links.links.contains_key(&MemberId(1)), "it is in the configuration");
        assert!(links.links.contains_key(&MemberId(100)), "it is in use");
    }

    #[test]
    fn the_newest_addresses_are_kept() {
        let mut links = Links::default();
        for id in 1..=200 {
            links.learn(MemberId(id), "http://x:2380");
        }
        assert_eq!(links.learned.len(), LEARNED_MAX);
        assert_eq!(
            (links.learned(MemberId(1)), links.learned(MemberId(200))),
            (None, Some("http://x:2380".to_owned()))
        );
        links.learn(MemberId(200), "");
        links.learn(MemberId(200), &"x".repeat(URL_BYTES_MAX + 1));
        assert!(links.learned(MemberId(200)).is_some(), "a member without an address does not take it away");
    }
}
