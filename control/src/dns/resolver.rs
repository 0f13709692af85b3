//! The resolver: all places where it is, and the thread that serves them.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

use super::count::Count;
use super::forward::forward;
use super::message::Transport;
use super::place::{Place, Sockets};
use super::serve::{Reaction, Shared, serve};
use super::upstreams::HostResolvers;
use super::zone::{Asker, Zone};
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

    /// What is said to a message of `asker`'s, and whether somebody else was asked; nothing when there is nothing to say.
    pub fn ask(&self, asker: Asker, message: &[u8]) -> Option<(Vec<u8>, bool)> {
        match self.shared.receive(&asker, Transport::Udp, message) {
            Reaction::Say(answer) => Some((answer, false)),
            Reaction::Nothing => None,
            Reaction::Ask(asked, permit) => {
                let (tell, told) = mpsc::channel();
                let shared = Arc::clone(&self.shared);
                self.runtime.as_ref()?.spawn(async move {
                    let answer = forward(&shared, &asker, Transport::Udp, &asked).await;
                    drop(permit);
                    // Whoever asked waits for it.
                    let _ = tell.send(answer);
                });
                told.recv().ok().map(|answer| (answer, true))
            }
        }
    }

    /// Whom the host asks, and whether he was silent lately.
    pub fn host_resolvers(&self) -> Vec<(SocketAddr, bool)> {
        let now = Instant::now();
        let hosts = self.shared.hosts();
        let health = self.shared.health();
        hosts.into_iter().map(|upstream| (upstream, health.is_suspect(now, upstream))).collect()
    }

    /// How many questions to others are under way.
    pub fn under_way(&self) -> usize {
        self.shared.questions.in_all()
    }

    /// What happened how often.
    pub fn counts(&self) -> Vec<(Count, u64)> {
        Count::ALL.into_iter().map(|count| (count, self.shared.counters.get(count))).collect()
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
