//! The admin service (admin.proto), which the operator calls. The peer port serves it together with the peer service.
//! Owns the steps of a call: check the token, parse the request, call the engine, answer. Does not own decisions
//! (`engine`, `raft`).

mod archive;
mod describe;
mod parse;
mod refusal;
mod token;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use self::archive::Archive;
use engine::handle::Handle;
use engine::status::Phase;
use proto::admin as wire;
use proto::admin::admin_server::{Admin, AdminServer};
use raft::MemberId;
use tonic::{Request, Response, Status};

use crate::config::RunArgs;
use crate::peer::Accepted;
use crate::peer::Peers;
use token::TokenCheck;

/// Maximum bytes of one request. Most requests are small, but a configuration names all members with their URLs: a name of
/// Kubernetes has at most 253 bytes, so more than 70 members with the longest names fit.
pub(crate) const REQUEST_BYTES_MAX: usize = 64 << 10;

/// Creates the admin service of one member. The peer port serves it. `peers` is set once the member belongs to a
/// cluster.
pub(crate) fn service(handle: Handle, args: &RunArgs, peers: Arc<OnceLock<Arc<Peers>>>) -> AdminServer<AdminService> {
    let service = AdminService { handle, archive: Archive::new(args), peers };
    AdminServer::new(service).max_decoding_message_size(REQUEST_BYTES_MAX)
}

/// The admin service of one member.
#[derive(Clone, Debug)]
pub struct AdminService {
    handle: Handle,
    archive: Archive,
    peers: Arc<OnceLock<Arc<Peers>>>,
}

impl AdminService {
    fn check_token<T>(&self, request: &Request<T>) -> TokenCheck {
        let check = token::check(request.metadata(), self.handle.token_sha256().as_deref());
        if check == TokenCheck::Right {
            // The call itself may take longer, but a connection that was just used is kept.
            drop(Accepted::note(request));
        }
        check
    }

    /// Admits only calls that carry the cluster's token. A blank member has no token yet and admits no call.
    fn admit<T>(&self, request: Request<T>) -> Result<T, Status> {
        token::require(self.check_token(&request))?;
        Ok(request.into_inner())
    }

    /// Admits a call that brings an identity. If this member is blank, the call must carry the token that the new
    /// identity contains. Otherwise the call must carry the cluster's token, as in [`Self::admit`].
    fn admit_identity<T>(&self, request: Request<T>, token_of: impl FnOnce(&T) -> &str) -> Result<T, Status> {
        match self.check_token(&request) {
            TokenCheck::NothingToCompare => {
                token::require_same(request.metadata(), token_of(request.get_ref()))?;
                drop(Accepted::note(&request));
            }
            check => token::require(check)?,
        }
        Ok(request.into_inner())
    }
}

#[tonic::async_trait]
impl Admin for AdminService {
    async fn describe(
        &self,
        request: Request<wire::DescribeRequest>,
    ) -> Result<Response<wire::DescribeResponse>, Status> {
        let status = self.handle.status();
        let check = self.check_token(&request);
        if check == TokenCheck::Wrong {
            token::require(check)?;
        }
        let is_trusted = check == TokenCheck::Right || status.phase == Phase::Blank;
        if !is_trusted {
            return Ok(Response::new(describe::phase_only(&status)));
        }
        let mut described = describe::everything(&status, &self.handle.published());
        if described.error.is_empty() {
            described.error = self.handle.unknown().unwrap_or_default();
        }
        Ok(Response::new(described))
    }

    async fn bootstrap(
        &self,
        request: Request<wire::BootstrapRequest>,
    ) -> Result<Response<wire::BootstrapResponse>, Status> {
        let order = parse::bootstrap(self.admit_identity(request, |request| &request.token)?)?;
        self.handle.bootstrap(order).await.map_err(|error| refusal::adopt(&error))?;
        Ok(Response::new(wire::BootstrapResponse {}))
    }

    async fn join(&self, request: Request<wire::JoinRequest>) -> Result<Response<wire::JoinResponse>, Status> {
        let order = parse::join(self.admit_identity(request, |request| &request.token)?)?;
        self.handle.join(order).await.map_err(|error| refusal::adopt(&error))?;
        Ok(Response::new(wire::JoinResponse {}))
    }

    async fn restore(&self, request: Request<wire::RestoreRequest>) -> Result<Response<wire::RestoreResponse>, Status> {
        let order = parse::restore(self.admit_identity(request, |request| &request.token)?)?;
        let order = self.archive.restore(order.join, order.store, order.source, order.manifest);
        self.handle.restore(order).await.map_err(|error| refusal::adopt(&error))?;
        Ok(Response::new(wire::RestoreResponse {}))
    }

    async fn configuration(
        &self,
        request: Request<wire::ConfigurationRequest>,
    ) -> Result<Response<wire::ConfigurationResponse>, Status> {
        self.admit(request)?;
        let answer = self.handle.configuration().await.map_err(|error| refusal::configuration(&error))?;
        let (configuration, index) = answer.committed;
        let configuration = describe::configuration(&configuration, index);
        Ok(Response::new(wire::ConfigurationResponse { configuration: Some(configuration) }))
    }

    async fn change_membership(
        &self,
        request: Request<wire::ChangeMembershipRequest>,
    ) -> Result<Response<wire::ChangeMembershipResponse>, Status> {
        let change = parse::change(self.admit(request)?)?;
        let supports = match self.peers.get() {
            Some(peers) => peers.support_of_newcomers(&change.members).await,
            None => BTreeMap::new(),
        };
        let index = self.handle.change(change, supports).await.map_err(|error| refusal::change(&error))?;
        Ok(Response::new(wire::ChangeMembershipResponse { index: index.0 }))
    }

    async fn transfer_leadership(
        &self,
        request: Request<wire::TransferLeadershipRequest>,
    ) -> Result<Response<wire::TransferLeadershipResponse>, Status> {
        let target = target(&self.admit(request)?)?;
        let leader = self.handle.transfer(target).await.map_err(|error| refusal::transfer(&error))?;
        Ok(Response::new(wire::TransferLeadershipResponse { leader: leader.to_string() }))
    }

    async fn raise_feature_level(
        &self,
        request: Request<wire::RaiseFeatureLevelRequest>,
    ) -> Result<Response<wire::RaiseFeatureLevelResponse>, Status> {
        let to = parse::raise(&self.admit(request)?);
        let level = self.handle.raise_level(to).await.map_err(|error| refusal::raise(&error))?;
        Ok(Response::new(wire::RaiseFeatureLevelResponse { level: level.0 }))
    }

    async fn backup(&self, request: Request<wire::BackupRequest>) -> Result<Response<wire::BackupResponse>, Status> {
        let (name, store) = parse::backup(self.admit(request)?)?;
        Ok(Response::new(self.archive.backup(&self.handle, name, store).await?))
    }

    async fn probe_object_store(
        &self,
        request: Request<wire::ProbeObjectStoreRequest>,
    ) -> Result<Response<wire::ProbeObjectStoreResponse>, Status> {
        let store = parse::store(self.admit(request)?.store)?;
        Ok(Response::new(self.archive.probe(&self.handle, store).await?))
    }
}

fn target(request: &wire::TransferLeadershipRequest) -> Result<Option<MemberId>, Status> {
    if request.target.is_empty() { Ok(None) } else { Ok(Some(parse::member_id("target", &request.target)?)) }
}
