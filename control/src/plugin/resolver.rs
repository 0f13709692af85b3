//! The Engine's name server, brought to where its sandboxes look for it.
//!
//! In each sandbox the Engine serves names on random ports of 127.0.0.11, writes `nameserver 127.0.0.11` into resolv.conf, and has the kernel's NAT
//! lead port 53 there. On a kernel without NAT nobody answers on port 53, so pontoon does: it holds 127.0.0.11:53 in the sandbox, over UDP and TCP, and
//! passes every query on to the Engine's ports and every answer back. The Engine stays the one that knows names. Where NAT works it takes effect
//! before our sockets, which then stay idle.
//!
//! The sandbox does not exist yet when an endpoint joins: the container's runtime makes it. So sandboxes are waited for, and looked at often while the
//! container starts, for its program may ask for a name with its first breath.
//!
//! Engines from version 24 on do not start their name server when they cannot set NAT up: their ports are there and nobody reads them. That is seen by what
//! stays unread, said once in the log, and answered with SERVFAIL at once, so that nobody waits for it.

mod relay;
mod sockets;

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use crate::api::types::SandboxRef;
use crate::error::{Error, describe};
use crate::netns::{Netns, run_in};
use sockets::{Looker, RESOLVER};

/// How often a sandbox that is about to be made is looked for: a container's runtime takes some 100 ms from there to the program.
const LOOK: Duration = Duration::from_millis(5);
/// How often it is looked for once its container has taken unusually long.
const LATER_LOOK: Duration = Duration::from_millis(250);
/// When that is.
const USUAL: Duration = Duration::from_secs(30);

/// Relays in sandboxes, on one thread of their own.
#[derive(Debug)]
pub struct Resolvers {
    runtime: Handle,
    /// Each ends when its sender is dropped.
    serving: Mutex<HashMap<SandboxRef, oneshot::Sender<()>>>,
    /// Ends the thread when it is dropped.
    _alive: oneshot::Sender<()>,
}

impl Resolvers {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system's error.
    pub fn start() -> Result<Resolvers, Error> {
        let cannot = |source| Error::Kernel { action: "start the thread for Docker's name servers", source };
        let runtime = Builder::new_current_thread().enable_all().build().map_err(cannot)?;
        let handle = runtime.handle().clone();
        let (alive, ended) = oneshot::channel::<()>();
        thread::Builder::new()
            .name("resolver".into())
            .spawn(move || runtime.block_on(ended).unwrap_or_default())
            .map_err(cannot)?;
        Ok(Resolvers { runtime: handle, serving: Mutex::default(), _alive: alive })
    }

    /// Serves port 53 in the sandbox at that path, from when it is there on. Once for each sandbox, however often it is asked for.
    pub fn serve(&self, sandbox: &SandboxRef) {
        let mut serving = self.serving.lock().unwrap_or_else(PoisonError::into_inner);
        if serving.contains_key(sandbox) {
            return;
        }
        let (alive, ended) = oneshot::channel();
        serving.insert(sandbox.clone(), alive);
        let sandbox = sandbox.clone();
        self.runtime.spawn(async move {
            tokio::select! {
                () = serve(sandbox) => {}
                _ = ended => {}
            }
        });
    }

    /// Ends what [`Resolvers::serve`] began: our sockets would keep the sandbox alive.
    pub fn end(&self, sandbox: &SandboxRef) {
        self.serving.lock().unwrap_or_else(PoisonError::into_inner).remove(sandbox);
    }
}

async fn serve(sandbox: SandboxRef) {
    let name = describe(&sandbox);
    let start = Instant::now();
    let mut told = false;
    let sockets = loop {
        // Opening it keeps a sandbox alive for as long as that takes, and no longer.
        let opened = Netns::find(&sandbox).ok().map(|netns| run_in(&netns, Sockets::open));
        match opened {
            Some(Ok(Ok(sockets))) => break sockets,
            // Without `lo` the address is not there yet, and without a mount neither is the sandbox.
            Some(Ok(Err(error))) if error.kind() == io::ErrorKind::AddrNotAvailable => {}
            Some(Ok(Err(error))) if error.kind() == io::ErrorKind::AddrInUse => {
                told = told || tell_of_holder(&name)
            }
            None => {}
            Some(Ok(Err(error))) => {
                return tracing::error!("cannot serve names on {RESOLVER}:53 in {name}: {error}");
            }
            Some(Err(error)) => return tracing::error!("cannot serve names in {name}: {error}"),
        }
        sleep(if start.elapsed() < USUAL { LOOK } else { LATER_LOOK }).await;
    };
    let Sockets { udp, tcp, upstream, looker } = sockets;
    let place = Arc::new(Place { sandbox, looker });
    if let Err(error) = relay::run(place, udp, tcp, upstream).await {
        tracing::error!("names in {name} are not served any more: {error}");
    }
}

/// Says once that somebody else serves names in a sandbox.
fn tell_of_holder(sandbox: &str) -> bool {
    tracing::warn!(
        "somebody else has {RESOLVER}:53 in {sandbox}; the Engine's names are served there once it is free"
    );
    true
}

/// What is opened inside a sandbox.
struct Sockets {
    /// Where clients ask.
    udp: std::net::UdpSocket,
    tcp: std::net::TcpListener,
    /// What the Engine is asked with.
    upstream: std::net::UdpSocket,
    looker: Looker,
}

impl Sockets {
    /// Opens them in the calling thread's namespace.
    fn open() -> io::Result<Sockets> {
        let udp = std::net::UdpSocket::bind((RESOLVER, sockets::DNS_PORT))?;
        let tcp = std::net::TcpListener::bind((RESOLVER, sockets::DNS_PORT))?;
        let upstream = std::net::UdpSocket::bind((std::net::Ipv4Addr::LOCALHOST, 0))?;
        udp.set_nonblocking(true)?;
        tcp.set_nonblocking(true)?;
        upstream.set_nonblocking(true)?;
        Ok(Sockets { udp, tcp, upstream, looker: Looker::open(RESOLVER) })
    }
}

/// A sandbox, to look for the Engine's sockets in and to open further ones.
#[derive(Debug)]
struct Place {
    sandbox: SandboxRef,
    looker: Looker,
}
