//! The mark that a caller was accepted. Owns how a call marks the connection that it came over, and that the connection is then
//! read on. Does not own what the mark is for (`member/watched.rs`).

use std::sync::Arc;
use std::task::{Poll, Waker};

use api::{OpenCall, Place};
use futures::task::AtomicWaker;
use tonic::Request;

/// Says that a caller was accepted. A part of every request that comes over the connection.
#[derive(Clone, Debug)]
pub(crate) struct Accepted {
    place: Arc<Place>,
    /// Wakes the reader of the connection.
    reader: Arc<AtomicWaker>,
}

impl Accepted {
    /// For the connection that has this place.
    pub(crate) fn new(place: Arc<Place>) -> Self {
        Self { place, reader: Arc::default() }
    }

    /// Returns whether a call was accepted.
    pub(crate) fn is_accepted(&self) -> bool {
        self.place.has_begun()
    }

    /// Ready once a call was accepted. The last waker that was given is woken then.
    pub(crate) fn poll_accepted(&self, reader: &Waker) -> Poll<()> {
        self.reader.register(reader);
        if self.is_accepted() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Notes an accepted call. The connection does not end for a newcomer while the returned value is held, nor soon after
    /// it.
    pub(crate) fn call(&self) -> OpenCall {
        self.place.begin();
        self.reader.wake();
        self.place.call()
    }

    /// Notes an accepted call on the connection that a request came over. `None` if it came over no connection, as in a unit test.
    pub(crate) fn note<T>(request: &Request<T>) -> Option<OpenCall> {
        request.extensions().get::<Self>().map(Self::call)
    }
}
