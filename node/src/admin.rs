//! The operator's door (admin.proto), beside the members' on the peer port. Checks the token, parses, asks, answers; owns
//! no decision.

mod archive;
mod describe;
mod parse;
mod refusal;
mod token;

use self::archive::Archive;
use engine::handle::Handle;
use engine::status::Phase;
use proto::admin as wire;
use proto::admin::admin_server::{Admin, AdminServer};
use raft::MemberId;
use tonic::{Request, Response, Status};

use crate::config::RunArgs;
use token::Shown;

/// Requests are small; a configuration of many members with long names is not.
const REQUEST_BYTES_MAX: usize = 1024 * 1024;

/// The operator's door of one member, to be served on the peer port.
#[must_use]
pub fn service(handle: Handle, args: &RunArgs) -> AdminServer<Door> {
    AdminServer::new(Door { handle, archive: Archive::new(args) }).max_decoding_message_size(REQUEST_BYTES_MAX)
}

/// The member behind the operator's door.
#[derive(Clone, Debug)]
pub struct Door {
    handle: Handle,
    archive: Archive,
}

impl Door {
    fn shown<T>(&self, request: &Request<T>) -> Shown {
        token::shown(request.metadata(), self.handle.token_sha256().as_deref())
    }

    /// Lets in whoever shows the cluster's token, and nobody while there is none.
    fn admit<T>(&self, request: Request<T>) -> Result<T, Status> {
        token::require(self.shown(&request))?;
        Ok(request.into_inner())
    }

    /// Lets in whoever brings a record: to a blank member whoever shows the token in it, to another one as [`Self::admit`].
    fn admit_record<T>(&self, request: Request<T>, token_of: impl FnOnce(&T) -> &str) -> Result<T, Status> {
        match self.shown(&request) {
            Shown::Unknown => token::require_same(request.metadata(), token_of(request.get_ref()))?,
            shown => token::require(shown)?,
        }
        Ok(request.into_inner())
    }
}

#[tonic::async_trait]
impl Admin for Door {
    async fn describe(
        &self,
        request: Request<wire::DescribeRequest>,
    ) -> Result<Response<wire::DescribeResponse>, Status> {
        let status = self.handle.status();
        let shown = self.shown(&request);
        if shown == Shown::Wrong {
            token::require(shown)?;
        }
        let known = shown == Shown::Right || status.phase == Phase::Blank;
        Ok(Response::new(if known {
            describe::whole(&status, &self.handle.published())
        } else {
            describe::phase_alone(&status)
        }))
    }

    async fn bootstrap(
        &self,
        request: Request<wire::BootstrapRequest>,
    ) -> Result<Response<wire::BootstrapResponse>, Status> {
        let record = parse::bootstrap(self.admit_record(request, |request| &request.token)?)?;
        self.handle.bootstrap(record).await.map_err(|error| refusal::adopt(&error))?;
        Ok(Response::new(wire::BootstrapResponse {}))
    }

    async fn join(&self, request: Request<wire::JoinRequest>) -> Result<Response<wire::JoinResponse>, Status> {
        let record = parse::join(self.admit_record(request, |request| &request.token)?)?;
        self.handle.join(record).await.map_err(|error| refusal::adopt(&error))?;
        Ok(Response::new(wire::JoinResponse {}))
    }

    async fn restore(&self, request: Request<wire::RestoreRequest>) -> Result<Response<wire::RestoreResponse>, Status> {
        let order = parse::restore(self.admit_record(request, |request| &request.token)?)?;
        let record = self.archive.restore(order.join, order.store, order.source, order.manifest);
        self.handle.restore(record).await.map_err(|error| refusal::adopt(&error))?;
        Ok(Response::new(wire::RestoreResponse {}))
    }

    async fn configuration(
        &self,
        request: Request<wire::ConfigurationRequest>,
    ) -> Result<Response<wire::ConfigurationResponse>, Status> {
        self.admit(request)?;
        let known = self.handle.configuration().await.map_err(|error| refusal::configuration(&error))?;
        let (configuration, index) = known.committed;
        let configuration = describe::configuration(&configuration, index);
        Ok(Response::new(wire::ConfigurationResponse { configuration: Some(configuration) }))
    }

    async fn change_membership(
        &self,
        request: Request<wire::ChangeMembershipRequest>,
    ) -> Result<Response<wire::ChangeMembershipResponse>, Status> {
        let change = parse::change(self.admit(request)?)?;
        let index = self.handle.change(change).await.map_err(|error| refusal::change(&error))?;
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
