//! Generated messages: the etcd v3 API, member to member, operator to member.
