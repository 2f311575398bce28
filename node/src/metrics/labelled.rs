//! Owns the metrics with labels: a fixed grid of counts, so that recording is an index and an addition, and so that no
//! client can make more series. Only what happened is shown.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};
use tonic::Code;

use super::histogram::Histogram;

/// Requests whose duration is measured (etcd's label `type`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// A range.
    Range,
    /// A put.
    Put,
    /// A delete.
    DeleteRange,
    /// A transaction that goes through the log.
    Txn,
    /// A transaction that does not.
    ReadonlyTxn,
    /// A compaction.
    Compaction,
    /// Raising or clearing an alarm.
    Alarm,
}

impl Request {
    const ALL: [Request; 7] = [
        Request::Range,
        Request::Put,
        Request::DeleteRange,
        Request::Txn,
        Request::ReadonlyTxn,
        Request::Compaction,
        Request::Alarm,
    ];

    fn label(self) -> &'static str {
        match self {
            Request::Range => "Range",
            Request::Put => "Put",
            Request::DeleteRange => "DeleteRange",
            Request::Txn => "Txn",
            Request::ReadonlyTxn => "ReadonlyTxn",
            Request::Compaction => "Compaction",
            Request::Alarm => "Alarm",
        }
    }
}

/// Whether a request did what it was to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Success {
    /// It did.
    Yes,
    /// It failed or was refused.
    No,
}

impl Success {
    /// Of a result.
    #[must_use]
    pub fn of<T, E>(result: &Result<T, E>) -> Success {
        if result.is_ok() { Success::Yes } else { Success::No }
    }
}

/// Durations by request and success. Cloning shares them.
#[derive(Clone, Debug)]
pub(super) struct Durations(Arc<[[Histogram; 2]]>);

impl Durations {
    pub(super) fn new() -> Durations {
        Durations(Request::ALL.iter().map(|_| [Histogram::durations(), Histogram::durations()]).collect())
    }

    pub(super) fn of(&self, request: Request, success: Success) -> &Histogram {
        &self.0[request as usize][success as usize]
    }
}

impl TypedMetric for Durations {
    const TYPE: MetricType = MetricType::Histogram;
}

impl EncodeMetric for Durations {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        for request in Request::ALL {
            for (success, label) in [(Success::Yes, "true"), (Success::No, "false")] {
                let histogram = self.of(request, success);
                if histogram.count() > 0 {
                    histogram.encode(encoder.encode_family(&[("type", request.label()), ("success", label)])?)?;
                }
            }
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

macro_rules! methods {
    ($($name:ident, $kind:literal, $service:literal, $method:literal;)*) => {
        /// The gRPC methods served on the client port.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "the names are those of the methods")]
        pub enum Method {
            $($name,)*
        }

        impl Method {
            const ALL: &[Method] = &[$(Method::$name,)*];

            /// By the path of a call.
            #[must_use]
            pub fn of_path(path: &str) -> Option<Method> {
                match path {
                    $(concat!("/", $service, "/", $method) => Some(Method::$name),)*
                    _ => None,
                }
            }

            /// Whether a service has any method here.
            #[must_use]
            pub fn serves(service: &str) -> bool {
                [$($service),*].contains(&service)
            }

            fn labels(self) -> [(&'static str, &'static str); 3] {
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

/// The codes by number, as grpc-go spells them.
const CODES: [&str; 17] = [
    "OK",
    "Canceled",
    "Unknown",
    "InvalidArgument",
    "DeadlineExceeded",
    "NotFound",
    "AlreadyExists",
    "PermissionDenied",
    "ResourceExhausted",
    "FailedPrecondition",
    "Aborted",
    "OutOfRange",
    "Unimplemented",
    "Internal",
    "Unavailable",
    "DataLoss",
    "Unauthenticated",
];

/// Calls by method and code. Cloning shares them.
#[derive(Clone, Debug)]
pub(super) struct Calls(Arc<[[AtomicU64; CODES.len()]]>);

impl Calls {
    pub(super) fn new() -> Calls {
        Calls(Method::ALL.iter().map(|_| std::array::from_fn(|_| AtomicU64::new(0))).collect())
    }

    pub(super) fn inc(&self, method: Method, code: Code) {
        self.0[method as usize][code as usize].fetch_add(1, Ordering::Relaxed);
    }
}

impl TypedMetric for Calls {
    const TYPE: MetricType = MetricType::Counter;
}

impl EncodeMetric for Calls {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        for &method in Method::ALL {
            for (counts, code) in self.0[method as usize].iter().zip(CODES) {
                let count = counts.load(Ordering::Relaxed);
                if count > 0 {
                    let [kind, service, name] = method.labels();
                    encoder
                        .encode_family(&[kind, service, name, ("grpc_code", code)])?
                        .encode_counter::<NoLabelSet, _, f64>(&count, None)?;
                }
            }
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }
}

/// A gauge with one label, read off the member: value by label.
#[derive(Clone, Debug)]
pub(super) struct ByLabel(pub(super) &'static str, pub(super) Vec<(String, u64)>);

impl EncodeMetric for ByLabel {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        for (label, value) in &self.1 {
            encoder.encode_family(&[(self.0, label.as_str())])?.encode_gauge(&(*value as f64))?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }
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

    #[test]
    fn codes_are_spelt_in_their_order() {
        assert_eq!(CODES[Code::Ok as usize], "OK");
        assert_eq!(CODES[Code::OutOfRange as usize], "OutOfRange");
        assert_eq!(CODES[Code::Unauthenticated as usize], "Unauthenticated");
    }

    #[test]
    fn each_request_has_its_own_place() {
        for (place, request) in Request::ALL.into_iter().enumerate() {
            assert_eq!(request as usize, place);
        }
    }
}
