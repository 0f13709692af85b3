//! The daemon: takes the socket, takes up the state, serves until it is told to end.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, IsTerminal};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Sender, bounded, never, select, tick};
use pontoon_dataplane::engine::{EngineConfig, Event};
use pontoon_dataplane::port::Offloads;
use rustix::fs::{FlockOperation, flock};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::api;
use crate::config::{self, ConfigError};
use crate::error::Error;
use crate::host::Host;
use crate::manager::{Manager, Settings};
use crate::store::Store;

/// How often sandboxes are looked at whose end the kernel cannot report.
const WATCH: Duration = Duration::from_secs(1);

/// How a daemon runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DaemonOptions {
    /// Where it listens.
    pub socket: PathBuf,
    /// Where its state is.
    pub state_dir: PathBuf,
    /// A declaration to bring up at start.
    pub config: Option<PathBuf>,
    /// Remove everything at the end.
    pub ephemeral: bool,
    /// Worker threads; 0: what is sensible for the machine.
    pub workers: usize,
    /// The most that ports leave to the kernel.
    pub offloads: Offloads,
}

/// Why a daemon does not run.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// Another one serves the socket.
    #[error("a daemon is running on {} already; stop it, or give this one another --socket and --state", .0.display())]
    Running(PathBuf),
    /// Something is at the socket's path that is no socket.
    #[error("{} is there and is not a socket; remove it or give another --socket", .0.display())]
    NotASocket(PathBuf),
    /// A file or directory.
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The declaration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The state, the engine or the declared state.
    #[error(transparent)]
    Manager(#[from] Error),
    /// The runtime.
    #[error("cannot {action}: {source}")]
    System {
        /// What was tried.
        action: &'static str,
        /// The system's error.
        source: io::Error,
    },
}

fn file(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DaemonError {
    move |source| DaemonError::File { action, path: path.to_owned(), source }
}

fn system(action: &'static str) -> impl FnOnce(io::Error) -> DaemonError {
    move |source| DaemonError::System { action, source }
}

/// Runs a daemon until SIGTERM or SIGINT.
///
/// # Errors
/// Why it could not start, or what `ephemeral` could not remove.
pub fn run(options: DaemonOptions) -> Result<(), DaemonError> {
    // Before anything else, so that a mistake in it changes nothing.
    let declared = options.config.as_deref().map(config::read).transpose()?;
    make_directory(&options.state_dir, 0o700)?;
    make_directory(options.socket.parent().unwrap_or(Path::new("/")), 0o755)?;
    let _lock = take_socket(&options.socket)?;

    let store = Store::open(&options.state_dir).map_err(Error::from)?;
    let config = EngineConfig { workers: options.workers, ..EngineConfig::default() };
    let world = Arc::new(Host::start(config, options.offloads)?);
    let settings = Settings { state_dir: options.state_dir.clone(), ephemeral: options.ephemeral };
    let manager = Arc::new(Manager::start(world, store, settings)?);
    let watcher = watch(&manager)?;
    if let Some(declared) = &declared {
        for change in manager.up(declared)?.changes {
            tracing::info!("{change}");
        }
    }

    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(system("start the API's runtime"))?;
    let served = runtime.block_on(serve(manager, &options));
    // Whoever follows events must not hold up the end.
    runtime.shutdown_background();
    drop(watcher);
    tracing::info!("ended");
    served
}

/// Sets the process's log up: to standard error, filtered by PONTOON_LOG (`info` when unset).
pub fn log_to_stderr() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("PONTOON_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    // Fails when a log is set up already, which is as good.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        .try_init();
}

fn make_directory(path: &Path, mode: u32) -> Result<(), DaemonError> {
    DirBuilder::new().recursive(true).mode(mode).create(path).map_err(file("create the directory", path))
}

/// The right to serve a socket: a lock on a file beside it, which goes when the right does.
#[derive(Debug)]
struct Lock {
    path: PathBuf,
    _held: File,
}

impl Lock {
    fn take(socket: &Path) -> Result<Lock, DaemonError> {
        let mut path = socket.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        let held = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let held = held.map_err(file("open", &path))?;
        match flock(&held, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(DaemonError::Running(socket.to_owned())),
            Err(error) => return Err(file("lock", &path)(error.into())),
        }
        // A daemon that ended between our two calls took the file along, and another may have made it anew.
        let ours = held.metadata().map_err(file("look at", &path))?.ino();
        match fs::metadata(&path) {
            Ok(there) if there.ino() == ours => Ok(Lock { path, _held: held }),
            _ => Err(DaemonError::Running(socket.to_owned())),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While it is still held: nobody else can have made it.
        let _ = fs::remove_file(&self.path);
    }
}

/// Makes sure that nobody serves the socket, and that nobody else starts to while the lock lives. Removes a socket
/// that a dead daemon left.
fn take_socket(socket: &Path) -> Result<Lock, DaemonError> {
    let lock = Lock::take(socket)?;
    match fs::symlink_metadata(socket) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(lock),
        Err(error) => return Err(file("look at", socket)(error)),
        Ok(there) if !there.file_type().is_socket() => {
            return Err(DaemonError::NotASocket(socket.to_owned()));
        }
        Ok(_) => {}
    }
    // Some other program may listen there that knows nothing of our lock.
    if UnixStream::connect(socket).is_ok() {
        return Err(DaemonError::Running(socket.to_owned()));
    }
    fs::remove_file(socket).map_err(file("remove the stale socket", socket))?;
    Ok(lock)
}

/// Listens with mode 0660 from the first moment: the socket gets its name when it has its mode.
fn listen(socket: &Path) -> Result<UnixListener, DaemonError> {
    let mut unready = socket.as_os_str().to_owned();
    unready.push(".new");
    let unready = PathBuf::from(unready);
    let _ = fs::remove_file(&unready);
    let listener = UnixListener::bind(&unready).map_err(file("listen on", socket))?;
    fs::set_permissions(&unready, Permissions::from_mode(0o660)).map_err(file("set the mode of", socket))?;
    fs::rename(&unready, socket).map_err(file("listen on", socket))?;
    Ok(listener)
}

async fn serve(manager: Arc<Manager>, options: &DaemonOptions) -> Result<(), DaemonError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(system("wait for SIGTERM"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(system("wait for SIGINT"))?;
    let mut told = async || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let listener = listen(&options.socket)?;
    tracing::info!(socket = %options.socket.display(), "ready");
    let (stop, stopped) = oneshot::channel::<()>();
    let server = axum::serve(listener, api::router(Arc::clone(&manager))).with_graceful_shutdown(async {
        let _ = stopped.await;
    });
    let server = tokio::spawn(server.into_future());

    told().await;
    tracing::info!("ending; a second signal ends at once");
    let _ = stop.send(());
    tokio::select! {
        ended = finish(manager, server, options) => ended,
        () = told() => std::process::exit(1),
    }
}

/// Lets requests under way end, and removes what an ephemeral daemon made.
async fn finish<T>(
    manager: Arc<Manager>,
    server: tokio::task::JoinHandle<T>,
    options: &DaemonOptions,
) -> Result<(), DaemonError> {
    // Those that follow events never end by themselves.
    let _ = tokio::time::timeout(GRACE, server).await;
    // Our lock is still held: nobody else's socket can be there.
    let _ = fs::remove_file(&options.socket);
    if !options.ephemeral {
        return Ok(());
    }
    let removed = tokio::task::spawn_blocking(move || manager.remove_everything()).await;
    Ok(removed.unwrap_or_else(|error| Err(Error::Internal(error.to_string())))?)
}

/// How long requests under way may take to end.
const GRACE: Duration = Duration::from_secs(2);

/// Watches the engine and the sandboxes on a thread of its own, until the returned sender is dropped.
fn watch(manager: &Arc<Manager>) -> Result<Sender<()>, DaemonError> {
    let manager = Arc::clone(manager);
    let (alive, ended) = bounded::<()>(0);
    let work = move || {
        let events = manager.world().events();
        let clock = tick(WATCH);
        let mut events = events;
        loop {
            select! {
                recv(events) -> event => match event {
                    Ok(Event::PortLost { port, cause }) => manager.port_lost(port, &cause),
                    Err(_) => events = never(),
                },
                recv(clock) -> _ => manager.drop_orphans(),
                recv(ended) -> _ => return,
            }
        }
    };
    thread::Builder::new().name("watch".into()).spawn(work).map_err(system("start a thread"))?;
    Ok(alive)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_stale_socket_is_taken_over_and_a_living_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("p.sock");
        let living = UnixListener::bind(&socket).unwrap();
        assert!(matches!(take_socket(&socket), Err(DaemonError::Running(_))));
        drop(living);
        assert!(socket.exists());
        let held = take_socket(&socket).unwrap();
        assert!(!socket.exists());
        // Whoever holds the lock has not listened yet.
        assert!(matches!(take_socket(&socket), Err(DaemonError::Running(_))));
        drop(held);
        take_socket(&socket).unwrap();
    }

    #[test]
    fn what_is_no_socket_stays() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("precious");
        fs::write(&socket, "data").unwrap();
        let error = take_socket(&socket).unwrap_err().to_string();
        assert!(error.contains("is not a socket"), "{error}");
        assert_eq!(fs::read_to_string(&socket).unwrap(), "data");
    }

    #[tokio::test]
    async fn the_socket_is_for_its_owner_and_group() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("p.sock");
        let _listener = listen(&socket).unwrap();
        assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o660);
    }
}
