//! Owns a proxy that passes a given number of bytes, counted in both directions together, and then stops. A transfer
//! through the proxy stays incomplete for as long as a test needs, however fast the machine is. Does not interpret the
//! bytes.

use std::net::SocketAddr;
use std::sync::Arc;

use dev_cluster::own_address;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};

/// A running proxy. Dropping it breaks its connections.
pub(crate) struct Gate {
    address: SocketAddr,
    passing: JoinHandle<()>,
}

impl Gate {
    pub(crate) async fn before(server: SocketAddr, bytes: usize) -> Self {
        let listener = TcpListener::bind((own_address(), 0)).await.expect("an address of our own has free ports");
        let address = listener.local_addr().expect("it is bound");
        let budget = Arc::new(Semaphore::new(bytes));
        let passing = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                connections.spawn(pass_both(client, server, Arc::clone(&budget)));
            }
        });
        Self { address, passing }
    }

    /// URL of the proxy.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.passing.abort();
    }
}

async fn pass_both(client: TcpStream, server: SocketAddr, budget: Arc<Semaphore>) {
    let Ok(server) = TcpStream::connect(server).await else { return };
    let ((from_client, to_client), (from_server, to_server)) = (client.into_split(), server.into_split());
    tokio::join!(pass(from_client, to_server, &budget), pass(from_server, to_client, &budget));
}

async fn pass(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, budget: &Semaphore) {
    let mut bytes = [0; 16 * 1024];
    while let Ok(count @ 1..) = from.read(&mut bytes).await {
        let permits = u32::try_from(count).expect("no more than the buffer takes");
        budget.acquire_many(permits).await.expect("the semaphore is never closed").forget();
        if to.write_all(&bytes[..count]).await.is_err() {
            return;
        }
    }
}
