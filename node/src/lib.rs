//! One member: consensus, log, store and etcd v3 API.
