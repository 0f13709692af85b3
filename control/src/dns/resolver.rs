//! The resolver: all places where it is, and the thread that serves them.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use super::place::{Place, Sockets};
use super::serve::{Shared, serve};
use super::upstreams::HostResolvers;
use super::zone::Zone;
use crate::error::Error;

/// The resolver. Dropping it closes all places.
#[derive(Debug)]
pub struct Resolver {
    shared: Arc<Shared>,
    places: Mutex<BTreeMap<Place, Open>>,
    runtime: Option<Runtime>,
}

/// A place that is served.
#[derive(Debug)]
struct Open {
    task: JoinHandle<()>,
    /// Disconnected when the sockets are closed.
    closed: mpsc::Receiver<()>,
}

impl Resolver {
    /// Starts one that is nowhere yet, in the calling thread's network namespace. `resolv_conf` names those whom the host asks.
    ///
    /// # Errors
    /// No thread is to be had.
    pub fn start(resolv_conf: PathBuf) -> Result<Resolver, Error> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("pontoon-names")
            .enable_all()
            .build()
            .map_err(|source| Error::Kernel { action: "start a thread for names", source })?;
        let shared = Arc::new(Shared::new(HostResolvers::of(resolv_conf)));
        Ok(Resolver { shared, places: Mutex::default(), runtime: Some(runtime) })
    }

    /// These are the names from now on.
    pub fn set_zone(&self, zone: Zone) {
        self.shared.set_zone(zone);
    }

    /// Serves a place by these sockets, in place of those that it had.
    ///
    /// # Errors
    /// The resolver ends.
    pub fn open(&self, place: Place, sockets: Sockets) -> Result<(), Error> {
        let ended = || Error::Internal("the resolver has ended".into());
        let runtime = self.runtime.as_ref().ok_or_else(ended)?;
        self.close(&place);
        let (open, closed) = mpsc::channel::<()>();
        let (shared, at) = (Arc::clone(&self.shared), place.clone());
        let task = runtime.spawn(async move {
            // Dropped after what follows, however it ends.
            let _open = open;
            let served: io::Result<()> = serve(shared, at.clone(), sockets).await;
            if let Err(error) = served {
                tracing::error!(place = %at, %error, "names are not served");
            }
        });
        self.places().insert(place, Open { task, closed });
        Ok(())
    }

    /// Closes a place, if it is open. Its sockets are closed when this returns.
    pub fn close(&self, place: &Place) {
        let open = self.places().remove(place);
        if let Some(Open { task, closed }) = open {
            task.abort();
            // Told by the sender's end, which goes with the sockets.
            let _ = closed.recv();
        }
    }

    /// The places that are open.
    pub fn places_now(&self) -> Vec<Place> {
        self.places().keys().cloned().collect()
    }

    fn places(&self) -> MutexGuard<'_, BTreeMap<Place, Open>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Whoever drops us may be on a runtime's thread, where waiting is not allowed.
            runtime.shutdown_background();
        }
    }
}
