//! Owns the header of every response: cluster, member, revision and term. Does not own its values (`admission.rs`).

use proto::etcdserverpb::ResponseHeader;

/// Header of a response (etcd API `ResponseHeader`). Fields with the value 0 are omitted from the encoding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// First 64 bits of the cluster ID.
    pub cluster_id: u64,
    /// ID of the member that answers.
    pub member_id: u64,
    /// Revision of the store when the request was executed; 0 in answers about the cluster.
    pub revision: i64,
    /// Term of the member that answers.
    pub raft_term: u64,
}

impl Header {
    /// Creates the header of an operation in a transaction, which contains only the revision.
    #[must_use]
    pub fn of_revision(revision: mvcc::Revision) -> Header {
        Header { revision: revision.0, ..Header::default() }
    }

    /// Returns this header with the given revision.
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
