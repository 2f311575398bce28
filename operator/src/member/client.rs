//! Calls to members over the admin service. Owns connections, deadlines and the token's way; decides nothing.
//!
//! Members are reached by the address of their pod, not by name: names lag behind pods that move, and the operator must
//! work while cluster DNS does not. Who answers is checked by the ID it tells.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use plan::action::Change;
use plan::identity::{BackupPlace, Record};
use plan::ids::{ClusterId, MemberId, Token};
use plan::names;
use plan::observed::member::{Configuration, MemberInfo, Phase, Report, Role};
use proto::admin as wire;
use proto::admin::admin_client::AdminClient;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request};

use super::convert;

/// How long looking may take: a member answers from memory.
const LOOK_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a call that changes something may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(800);
/// Connections kept at most; past that all are dropped and made anew as needed.
const CONNECTIONS_MAX: usize = 1024;

/// Connections to members.
#[derive(Clone, Debug, Default)]
pub struct Members {
    channels: Arc<Mutex<BTreeMap<String, Channel>>>,
}

/// One member, ready to be called.
#[derive(Clone, Debug)]
pub struct Member {
    client: AdminClient<Channel>,
    token: Option<MetadataValue<Ascii>>,
}

/// Why a call came to nothing. Whether it had an effect is unknown unless `refusal` is given.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct CallError {
    /// The gRPC code.
    pub code: Code,
    /// The refusal's name, if the member gave one: nothing was done.
    pub refusal: Option<String>,
    /// For people.
    pub message: String,
}

/// How a backup goes.
#[derive(Clone, Debug)]
pub struct BackupReply(pub wire::BackupResponse);

impl Members {
    /// The member at this address of a pod, to be called with the cluster's token if there is one.
    ///
    /// # Errors
    /// The address is none.
    pub fn at(&self, pod_address: &str, token: Option<&Token>) -> Result<Member, CallError> {
        let channel = self.channel(pod_address)?;
        // Hexadecimal digits are always valid metadata.
        let token = token.and_then(|token| token.reveal().parse().ok());
        Ok(Member { client: AdminClient::new(channel), token })
    }

    fn channel(&self, address: &str) -> Result<Channel, CallError> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = channels.get(address) {
            return Ok(channel.clone());
        }
        if channels.len() >= CONNECTIONS_MAX {
            channels.clear();
        }
        let host = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
        let endpoint =
            Endpoint::from_shared(format!("http://{host}:{}", names::PEER_PORT)).map_err(|error| CallError {
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
        channels.insert(address.to_owned(), channel.clone());
        Ok(channel)
    }
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

    /// What the member says of itself. One that refuses the token belongs to somebody else, and says so much.
    ///
    /// # Errors
    /// It did not answer, or not in words that this version knows.
    pub async fn describe(&mut self) -> Result<Report, CallError> {
        let request = self.request(wire::DescribeRequest {}, LOOK_TIMEOUT);
        match within(LOOK_TIMEOUT, self.client.describe(request)).await {
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

    /// The committed configuration by a linearizable read.
    ///
    /// # Errors
    /// It does not lead, or could not confirm that it does.
    pub async fn configuration(&mut self) -> Result<Configuration, CallError> {
        let request = self.request(wire::ConfigurationRequest {}, LOOK_TIMEOUT);
        let said = within(LOOK_TIMEOUT, self.client.configuration(request)).await?;
        convert::configuration(said.configuration.unwrap_or_default()).map_err(|error| CallError {
            code: Code::Internal,
            refusal: None,
            message: error.to_string(),
        })
    }

    /// Makes the member part of a new cluster.
    ///
    /// # Errors
    /// It did not take the record, or the outcome is unknown; calling again is safe.
    pub async fn bootstrap(
        &mut self,
        record: &Record,
        voters: &[(MemberId, MemberInfo)],
        name: String,
    ) -> Result<(), CallError> {
        let request = self.request(convert::bootstrap(record, voters, name), CALL_TIMEOUT);
        within(CALL_TIMEOUT, self.client.bootstrap(request)).await.map(|_| ())
    }

    /// Makes the member the only voter of a cluster that starts from a backup.
    ///
    /// # Errors
    /// It did not begin, or the outcome is unknown; calling again is safe.
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

    /// Tells the member which cluster it is to be added to.
    ///
    /// # Errors
    /// It did not listen, or the outcome is unknown; calling again is safe.
    pub async fn join(
        &mut self,
        cluster: ClusterId,
        token: &Token,
        id: MemberId,
        info: &MemberInfo,
    ) -> Result<(), CallError> {
        let message = wire::JoinRequest {
            cluster_id: cluster.to_string(),
            token: token.reveal().to_owned(),
            self_: Some(convert::member(id, info)),
        };
        let request = self.request(message, CALL_TIMEOUT);
        within(CALL_TIMEOUT, self.client.join(request)).await.map(|_| ())
    }

    /// Changes membership.
    ///
    /// # Errors
    /// Refused, which names the reason, or the outcome is unknown.
    pub async fn change_membership(&mut self, change: &Change) -> Result<(), CallError> {
        let request = self.request(convert::change(change), CALL_TIMEOUT);
        within(CALL_TIMEOUT, self.client.change_membership(request)).await.map(|_| ())
    }

    /// Hands leadership over.
    ///
    /// # Errors
    /// Nobody else was seen to lead in time, or it does not lead itself.
    pub async fn transfer_leadership(&mut self, target: MemberId) -> Result<(), CallError> {
        let request = self.request(wire::TransferLeadershipRequest { target: target.to_string() }, CALL_TIMEOUT);
        within(CALL_TIMEOUT, self.client.transfer_leadership(request)).await.map(|_| ())
    }

    /// Starts a backup, or tells of one of this name.
    ///
    /// # Errors
    /// The outcome is unknown; calling again is safe.
    pub async fn backup(&mut self, name: &str, store: &crds::ObjectStore) -> Result<BackupReply, CallError> {
        let message = wire::BackupRequest { name: name.to_owned(), store: Some(convert::store(store)) };
        let request = self.request(message, CALL_TIMEOUT);
        within(CALL_TIMEOUT, self.client.backup(request)).await.map(BackupReply)
    }

    /// Looks at an object store; cause and explanation, both empty when all is well.
    ///
    /// # Errors
    /// The member did not answer, or cannot look.
    pub async fn probe_object_store(&mut self, store: &crds::ObjectStore) -> Result<(String, String), CallError> {
        let message = wire::ProbeObjectStoreRequest { store: Some(convert::store(store)) };
        let request = self.request(message, CALL_TIMEOUT);
        let said = within(CALL_TIMEOUT, self.client.probe_object_store(request)).await?;
        Ok((said.cause, said.error))
    }
}

/// Both ends keep the deadline: a member that hangs must not hang the operator.
async fn within<T>(
    timeout: Duration,
    call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, CallError> {
    match tokio::time::timeout(timeout, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(CallError {
            code: status.code(),
            refusal: status.metadata().get("raft-refusal").and_then(|name| name.to_str().ok()).map(str::to_owned),
            message: explain(&status),
        }),
        Err(_) => Err(CallError {
            code: Code::DeadlineExceeded,
            refusal: None,
            message: format!("no answer within {timeout:?}"),
        }),
    }
}

/// The innermost cause says most: "connection refused" rather than "transport error".
fn explain(status: &tonic::Status) -> String {
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

/// A member that does not accept the cluster's token.
fn stranger(message: String) -> Report {
    Report {
        id: None,
        phase: Phase::Member,
        cluster: None,
        role: Role::Unknown,
        leader: None,
        term: 0,
        commit: 0,
        last: 0,
        configuration: None,
        progress: BTreeMap::new(),
        version: String::new(),
        error: Some(message),
        restore: None,
    }
}
