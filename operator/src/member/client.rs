//! Calls to members over the admin service. Owns connections, deadlines and the sending of the token. Does not own the
//! conversion of messages (`convert.rs`), nor any decision.
//!
//! The operator connects to the addresses of pods instead of DNS names, because DNS lags when pods move, and because
//! the operator must work while cluster DNS does not. An address may meanwhile belong to another pod, therefore the
//! planner checks the ID in each answer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use plan::action::Change;
use plan::identity::{BackupPlace, ClusterIdentity};
use plan::ids::{ClusterId, MemberId, Token};
use plan::names;
use plan::observed::failure::FailureCause;
use plan::observed::member::{Configuration, MemberInfo, MemberPhase, Report};
use plan::observed::refusal::RefusalReason;
use proto::admin as wire;
use proto::admin::admin_client::AdminClient;
use tonic::body::Body;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Endpoint;
use tonic::{Code, Request, Status};
use tower::util::{BoxCloneService, ServiceExt};

use super::{convert, reasons};

/// Deadline of a call that only reads. It is short because a member answers from memory.
const READ_TIMEOUT: Duration = Duration::from_secs(1);
/// Deadline of a call that changes the member or the cluster.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// Deadline for opening a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(800);
/// Maximum number of connections that are kept. When it is exceeded, all connections are dropped and opened again as
/// needed.
const CONNECTIONS_MAX: usize = 1024;

/// Carries calls to one member: a channel of HTTP/2, or a simulated one.
pub type Transport = BoxCloneService<http::Request<Body>, http::Response<Body>, Status>;

/// Opens the transport to the pod with this address.
type Open = dyn Fn(&str) -> Result<Transport, CallError> + Send + Sync;

/// Connections to members.
#[derive(Clone)]
pub struct Members {
    open: Arc<Open>,
    transports: Arc<Mutex<BTreeMap<String, Transport>>>,
}

/// A connection to one member.
#[derive(Clone, Debug)]
pub struct Member {
    client: AdminClient<Transport>,
    token: Option<MetadataValue<Ascii>>,
}

/// The reason why a call failed. The call may have had an effect unless `refusal` is set.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct CallError {
    /// The gRPC status code.
    pub code: Code,
    /// The reason why the member refused the call; the member changed nothing. `None` if the member gave no reason.
    pub refusal: Option<RefusalReason>,
    /// Explanation for people.
    pub message: String,
}

/// A member's answer about a backup.
#[derive(Clone, Debug)]
pub struct BackupReply(pub wire::BackupResponse);

impl Default for Members {
    /// Creates connections over the network.
    fn default() -> Self {
        Self::over(channel)
    }
}

impl Members {
    /// Creates connections over the transports that `open` opens.
    #[must_use]
    pub fn over(open: impl Fn(&str) -> Result<Transport, CallError> + Send + Sync + 'static) -> Self {
        Self { open: Arc::new(open), transports: Arc::default() }
    }

    /// The member whose pod has this address. Calls carry the cluster's token if `token` is given.
    ///
    /// # Errors
    /// Returns an error if the address is malformed. No connection is opened.
    pub fn at(&self, pod_address: &str, token: Option<&Token>) -> Result<Member, CallError> {
        let transport = self.transport(pod_address)?;
        // Hexadecimal digits are always valid metadata, therefore no token is dropped here.
        let token = token.and_then(|token| token.reveal().parse().ok());
        Ok(Member { client: AdminClient::new(transport), token })
    }

    fn transport(&self, address: &str) -> Result<Transport, CallError> {
        let mut transports = self.transports.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(transport) = transports.get(address) {
            return Ok(transport.clone());
        }
        if transports.len() >= CONNECTIONS_MAX {
            transports.clear();
        }
        let transport = (self.open)(address)?;
        transports.insert(address.to_owned(), transport.clone());
        Ok(transport)
    }
}

/// Opens a channel to a pod. The connection itself is opened by the first call.
fn channel(address: &str) -> Result<Transport, CallError> {
    let host = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
    let endpoint = Endpoint::from_shared(format!("http://{host}:{}", names::PEER_PORT)).map_err(|error| CallError {
        code: Code::InvalidArgument,
        refusal: None,
        message: format!("{address:?} is no address: {error}"),
    })?;
    let channel = endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(Duration::from_secs(5))
        .keep_alive_timeout(Duration::from_secs(2))
        .keep_alive_while_idle(true)
        .connect_lazy();
    Ok(BoxCloneService::new(channel.map_err(|error| Status::from_error(Box::new(error)))))
}

impl Member {
    fn request<T>(&self, message: T, timeout: Duration) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(timeout);
        if let Some(token) = &self.token {
            request.metadata_mut().insert("raft-token", token.clone());
        }
        request
    }

    /// The member's report about itself. A member that refuses the token belongs to another cluster, and its report
    /// says so.
    ///
    /// # Errors
    /// Returns an error if the member did not answer, or sent a message that this version cannot read.
    pub async fn describe(&mut self) -> Result<Report, CallError> {
        let request = self.request(wire::DescribeRequest {}, READ_TIMEOUT);
        match within(READ_TIMEOUT, self.client.describe(request)).await {
            Ok(said) => convert::report(said).map_err(|error| CallError {
                code: Code::Internal,
                refusal: None,
                message: error.to_string(),
            }),
            Err(error) if matches!(error.code, Code::Unauthenticated | Code::PermissionDenied) => {
                Ok(stranger(error.message))
            }
            Err(error) => Err(error),
        }
    }

    /// The committed configuration, from a linearizable read.
    ///
    /// # Errors
    /// Returns an error if the member does not lead, or could not confirm that it leads.
    pub async fn configuration(&mut self) -> Result<Configuration, CallError> {
        let request = self.request(wire::ConfigurationRequest {}, READ_TIMEOUT);
        let said = within(READ_TIMEOUT, self.client.configuration(request)).await?;
        convert::configuration(said.configuration.unwrap_or_default()).map_err(|error| CallError {
            code: Code::Internal,
            refusal: None,
            message: error.to_string(),
        })
    }

    /// Makes the member part of a new cluster.
    ///
    /// # Errors
    /// Returns an error if the member refused the identity, or if the outcome is unknown. It is safe to repeat the
    /// call.
    pub async fn bootstrap(
        &mut self,
        identity: &ClusterIdentity,
        voters: &[(MemberId, MemberInfo)],
        name: String,
    ) -> Result<(), CallError> {
        let request = self.request(convert::bootstrap(identity, voters, name), CALL_TIMEOUT);
        within(CALL_TIMEOUT, self.client.bootstrap(request)).await.map(|_| ())
    }

    /// Makes the member the only voter of a cluster that starts from a backup.
    ///
    /// # Errors
    /// Returns an error if the member did not begin to restore, or if the outcome is unknown. It is safe to repeat the
    /// call.
    pub async fn restore(
        &mut self,
        cluster: ClusterId,
        token: &Token,
        id: MemberId,
        info: &MemberInfo,
        place: &BackupPlace,
    ) -> Result<(), CallError> {
        let request = self.request(convert::restore(cluster, token.reveal(), id, info, place), CALL_TIMEOUT);
        within(CALL_TIMEOUT, self.client.restore(request)).await.map(|_| ())
    }

    /// Informs the member which cluster will add it, and at which feature level that cluster is.
    ///
    /// # Errors
    /// Returns an error if the member refused, or if the outcome is unknown. It is safe to repeat the call.
    pub async fn join(
        &mut self,
        cluster: ClusterId,
        token: &Token,
        id: MemberId,
        info: &MemberInfo,
        level: u32,
    ) -> Result<(), CallError> {
        let message = wire::JoinRequest {
            cluster_id: cluster.to_string(),
            token: token.reveal().to_owned(),
            self_: Some(convert::member(id, info)),
            feature_level: level,
        };
        let request = self.request(message, CALL_TIMEOUT);
        within(CALL_TIMEOUT, self.client.join(request)).await.map(|_| ())
    }

    /// Requests a membership change from the leader.
    ///
    /// # Errors
    /// Returns an error with the reason if the leader refused. Returns an error without a reason if the outcome is
    /// unknown.
    pub async fn change_membership(&mut self, change: &Change) -> Result<(), CallError> {
        let request = self.request(convert::change(change), CALL_TIMEOUT);
        within(CALL_TIMEOUT, self.client.change_membership(request)).await.map(|_| ())
    }

    /// Transfers leadership to the member `target`.
    ///
    /// # Errors
    /// Returns an error if the called member does not lead, or if the transfer did not complete in time.
    pub async fn transfer_leadership(&mut self, target: MemberId) -> Result<(), CallError> {
        let request = self.request(wire::TransferLeadershipRequest { target: target.to_string() }, CALL_TIMEOUT);
        within(CALL_TIMEOUT, self.client.transfer_leadership(request)).await.map(|_| ())
    }

    /// Raises the feature level of the cluster. A level that holds already succeeds.
    ///
    /// # Errors
    /// Returns an error with the reason if the leader refused, also if it is of a version without levels. Returns an
    /// error without a reason if the outcome is unknown. It is safe to repeat the call.
    pub async fn raise_feature_level(&mut self, to: u32) -> Result<(), CallError> {
        let request = self.request(wire::RaiseFeatureLevelRequest { to }, CALL_TIMEOUT);
        match within(CALL_TIMEOUT, self.client.raise_feature_level(request)).await {
            Ok(_) => Ok(()),
            Err(error) if error.code == Code::Unimplemented => {
                Err(CallError { refusal: Some(RefusalReason::LevelHeld), ..error })
            }
            Err(error) => Err(error),
        }
    }

    /// Starts a backup, or reports its state if the backup with this name was started before.
    ///
    /// # Errors
    /// Returns an error if the outcome is unknown. It is safe to repeat the call.
    pub async fn backup(&mut self, name: &str, store: &crds::ObjectStore) -> Result<BackupReply, CallError> {
        let message = wire::BackupRequest { name: name.to_owned(), store: Some(convert::store(store)) };
        let request = self.request(message, CALL_TIMEOUT);
        within(CALL_TIMEOUT, self.client.backup(request)).await.map(BackupReply)
    }

    /// Checks that the member can write and read an object store. Returns `None` if it can, otherwise the cause and an
    /// explanation.
    ///
    /// # Errors
    /// Returns an error if the member did not answer, or belongs to no cluster. A member without a cluster cannot check
    /// a store, because every key in a store contains the cluster ID.
    pub async fn probe_object_store(
        &mut self,
        store: &crds::ObjectStore,
    ) -> Result<Option<(FailureCause, String)>, CallError> {
        let message = wire::ProbeObjectStoreRequest { store: Some(convert::store(store)) };
        let request = self.request(message, CALL_TIMEOUT);
        let said = within(CALL_TIMEOUT, self.client.probe_object_store(request)).await?;
        Ok(reasons::cause(said.cause_code, &said.cause).map(|cause| (cause, said.error)))
    }
}

/// Waits for the answer to a call, at most for `timeout`. The operator measures the time itself, so that a member that
/// hangs does not block the operator.
async fn within<T>(
    timeout: Duration,
    call: impl Future<Output = Result<tonic::Response<T>, Status>>,
) -> Result<T, CallError> {
    match tokio::time::timeout(timeout, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(CallError {
            code: status.code(),
            refusal: reasons::refusal(status.metadata()),
            message: explain(&status),
        }),
        Err(_) => Err(CallError {
            code: Code::DeadlineExceeded,
            refusal: None,
            message: format!("no answer within {timeout:?}"),
        }),
    }
}

/// The status with its innermost cause, which is the most specific: "connection refused" instead of "transport error".
fn explain(status: &Status) -> String {
    let mut source = std::error::Error::source(status);
    let mut innermost = None;
    while let Some(error) = source {
        innermost = Some(error.to_string());
        source = error.source();
    }
    match innermost {
        Some(cause) => format!("{}: {cause}", status.message()),
        None => status.message().to_owned(),
    }
}

/// The report of a member that refuses the cluster's token.
fn stranger(message: String) -> Report {
    Report { error: Some(message), ..Report::of_phase(MemberPhase::Member) }
}

#[cfg(test)]
mod tests {
    use tower::util::service_fn;

    use super::*;

    /// A member of a version without levels does not know the call. It holds the level back, and nothing fails.
    #[tokio::test]
    async fn a_member_that_knows_no_levels_holds_them_back() {
        let former = |_: http::Request<Body>| async { Ok(Status::unimplemented("no such call").into_http()) };
        let members = Members::over(move |_| Ok(BoxCloneService::new(service_fn(former))));
        let mut member = members.at("10.0.0.1", None).expect("an address");
        let error = member.raise_feature_level(2).await.expect_err("the call is not known");
        assert_eq!(error.refusal, Some(RefusalReason::LevelHeld));
    }
}
