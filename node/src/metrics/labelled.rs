//! Owns the metrics with labels. Each is a fixed array with a count for every combination of labels, so that recording
//! is one addition, and no client can create further series. Only combinations that occurred are shown. Does not own
//! what is counted (`metrics.rs`).

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use api::{Method, Request, Success};
use prometheus_client::encoding::{EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::{MetricType, TypedMetric};
use tonic::Code;

use super::histogram::Histogram;

/// Durations of requests, by request and by success. Clones share the counts.
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

/// Names of the gRPC codes by number, as grpc-go spells them.
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

/// Calls by method and code. Clones share the counts.
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

/// Gauge with one label, read from the member: the label's name, and pairs of a label value and its gauge value.
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
    fn code_names_are_in_the_order_of_the_codes() {
        assert_eq!(CODES[Code::Ok as usize], "OK");
        assert_eq!(CODES[Code::OutOfRange as usize], "OutOfRange");
        assert_eq!(CODES[Code::Unauthenticated as usize], "Unauthenticated");
    }
}
