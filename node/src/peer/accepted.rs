//! The mark that a caller was accepted. Owns how a call marks the connection that it came over. Does not own what the mark is
//! for (`member/watched.rs`).

use std::sync::Arc;

use api::{OpenCall, Place};
use tonic::Request;

/// Says that a caller was accepted. A part of every request that comes over the connection.
#[derive(Clone, Debug)]
pub(crate) struct Accepted(Arc<Place>);

impl Accepted {
    /// For the connection that has this place.
    pub(crate) fn new(place: Arc<Place>) -> Self {
        Self(place)
    }

    /// Notes an accepted call. The connection does not end for a newcomer while the returned value is held, nor soon after
    /// it.
    pub(crate) fn call(&self) -> OpenCall {
        self.0.begin();
        self.0.call()
    }

    /// Notes an accepted call on the connection that a request came over. `None` if it came over no connection, as in a unit test.
    pub(crate) fn note<T>(request: &Request<T>) -> Option<OpenCall> {
        request.extensions().get::<Self>().map(Self::call)
    }
}
