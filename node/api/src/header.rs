//! Owns the header of every response: which cluster, which member, at which revision, in which term; and its bytes. Does
//! not own where these come from.

use proto::etcdserverpb::ResponseHeader;

/// Stamped once per response (etcd API `ResponseHeader`); a zero is left out on the wire.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The first 64 bits of the cluster's ID.
    pub cluster_id: u64,
    /// The answering member.
    pub member_id: u64,
    /// The store's revision when the request was executed; 0 in answers about the cluster.
    pub revision: i64,
    /// The answering member's term.
    pub raft_term: u64,
}

impl Header {
    /// What an operation inside a transaction carries.
    #[must_use]
    pub fn of_revision(revision: mvcc::Revision) -> Header {
        Header { revision: revision.0, ..Header::default() }
    }

    /// The same header at another revision.
    #[must_use]
    pub fn at(self, revision: mvcc::Revision) -> Header {
        Header { revision: revision.0, ..self }
    }
}

impl From<Header> for ResponseHeader {
    fn from(header: Header) -> ResponseHeader {
        ResponseHeader {
            cluster_id: header.cluster_id,
            member_id: header.member_id,
            revision: header.revision,
            raft_term: header.raft_term,
        }
    }
}
