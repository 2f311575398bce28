//! Owns the list of the gRPC methods on the client port. Does not own their implementation (`service.rs`).

macro_rules! methods {
    ($($name:ident, $kind:literal, $service:literal, $method:literal;)*) => {
        /// The gRPC methods served on the client port.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "the names are those of the methods")]
        pub enum Method {
            $($name,)*
        }

        impl Method {
            /// All methods, in the order of their numbers.
            pub const ALL: &[Method] = &[$(Method::$name,)*];

            /// Returns the method with this request path.
            #[must_use]
            pub fn of_path(path: &str) -> Option<Method> {
                match path {
                    $(concat!("/", $service, "/", $method) => Some(Method::$name),)*
                    _ => None,
                }
            }

            /// Returns whether any method of this service is served.
            #[must_use]
            pub fn serves(service: &str) -> bool {
                [$($service),*].contains(&service)
            }

            /// Prometheus labels for calls of this method: kind, service, method.
            #[must_use]
            pub fn labels(self) -> [(&'static str, &'static str); 3] {
                let (kind, service, method) = match self {
                    $(Method::$name => ($kind, $service, $method),)*
                };
                [("grpc_type", kind), ("grpc_service", service), ("grpc_method", method)]
            }
        }
    };
}

methods! {
    Put, "unary", "etcdserverpb.KV", "Put";
    Range, "unary", "etcdserverpb.KV", "Range";
    Txn, "unary", "etcdserverpb.KV", "Txn";
    DeleteRange, "unary", "etcdserverpb.KV", "DeleteRange";
    Compact, "unary", "etcdserverpb.KV", "Compact";
    RangeStream, "server_stream", "etcdserverpb.KV", "RangeStream";
    MemberList, "unary", "etcdserverpb.Cluster", "MemberList";
    MemberAdd, "unary", "etcdserverpb.Cluster", "MemberAdd";
    MemberRemove, "unary", "etcdserverpb.Cluster", "MemberRemove";
    MemberUpdate, "unary", "etcdserverpb.Cluster", "MemberUpdate";
    MemberPromote, "unary", "etcdserverpb.Cluster", "MemberPromote";
    Status, "unary", "etcdserverpb.Maintenance", "Status";
    Alarm, "unary", "etcdserverpb.Maintenance", "Alarm";
    Hash, "unary", "etcdserverpb.Maintenance", "Hash";
    HashKv, "unary", "etcdserverpb.Maintenance", "HashKV";
    MoveLeader, "unary", "etcdserverpb.Maintenance", "MoveLeader";
    Defragment, "unary", "etcdserverpb.Maintenance", "Defragment";
    Snapshot, "server_stream", "etcdserverpb.Maintenance", "Snapshot";
    Downgrade, "unary", "etcdserverpb.Maintenance", "Downgrade";
    HealthCheck, "unary", "grpc.health.v1.Health", "Check";
    HealthList, "unary", "grpc.health.v1.Health", "List";
    HealthWatch, "server_stream", "grpc.health.v1.Health", "Watch";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_method_is_found_by_its_path() {
        for &method in Method::ALL {
            let [_, (_, service), (_, name)] = method.labels();
            assert_eq!(Method::of_path(&format!("/{service}/{name}")), Some(method));
            assert!(Method::serves(service));
        }
        assert_eq!(Method::of_path("/etcdserverpb.KV/Nothing"), None);
        assert!(!Method::serves("etcdserverpb.Watch"));
    }
}
