//! The daemon: takes the socket, takes up the state, serves until it is told to end.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, IsTerminal, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use axum::Router;
use crossbeam_channel::{Sender, bounded, never, select, tick};
use pontoon_dataplane::engine::{EngineConfig, Event};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::api;
use crate::config::{self, ConfigError};
use crate::edge::EdgeSettings;
use crate::error::{Error, write_hint};
use crate::failpoint;
use crate::host::Host;
use crate::manager::{Manager, Settings};
use crate::plugin;
use crate::plugin::socket::{self, Socket, SocketError};
use crate::store::{self, Store};

/// How often sandboxes are looked at whose end the kernel cannot report, uplinks for who follows events, and whether publications
/// that are down can come up.
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
    /// How the edge runs, and the most that ports leave to the kernel.
    pub edge: EdgeSettings,
    /// The file that names the host's resolvers.
    pub resolv_conf: PathBuf,
    /// Where it is Docker's driver.
    pub docker_plugin: DockerPlugin,
}

/// Where a daemon is Docker's driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DockerPlugin {
    /// Nowhere.
    Off,
    /// At this socket. It does not start without.
    At(PathBuf),
    /// Where the Engine looks for drivers, if that can be had.
    Usual,
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
    /// A directory is at the socket's path.
    #[error("{path} is a directory, and --socket is the path of the socket itself: {path}/pontoon.sock, say", path = .0.display())]
    SocketIsADirectory(PathBuf),
    /// No socket can have such a long path.
    #[error(
        "the socket's path {} has {} bytes, and at most {MAX_SOCKET_PATH} are possible (107 for any unix socket, of which the daemon needs 4 while it makes it); give a shorter --socket",
        .0.display(), .0.as_os_str().len()
    )]
    SocketPathTooLong(PathBuf),
    /// Something else is where a directory should be.
    #[error("{} is there and is not a directory; give another {option}", path.display())]
    NotADirectory {
        /// What is there.
        path: PathBuf,
        /// The option that names it.
        option: &'static str,
    },
    /// A file or directory.
    #[error("cannot {action} {}: {source}{}", path.display(), write_hint(source))]
    File {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Docker's driver.
    #[error(transparent)]
    Plugin(#[from] SocketError),
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
    if options.socket.as_os_str().len() > MAX_SOCKET_PATH {
        return Err(DaemonError::SocketPathTooLong(options.socket.clone()));
    }
    let mut made = Made::default();
    made.directory(options.socket.parent().unwrap_or(Path::new("/")), 0o755, "--socket")?;
    let _lock = take_socket(&options.socket, PATIENCE)?;
    made.state_directory(&options.state_dir)?;
    let for_docker = listen_to_docker(&options.docker_plugin)?;

    let store = Store::open(&options.state_dir).map_err(Error::from)?;
    let config = EngineConfig { workers: options.workers, ..EngineConfig::default() };
    let world = Arc::new(Host::start(config, options.edge, options.resolv_conf.clone())?);
    let settings = Settings { state_dir: options.state_dir.clone(), ephemeral: options.ephemeral };
    let manager = Arc::new(Manager::start(world, store, settings)?);
    made.keep();
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
    let served = runtime.block_on(serve(manager, for_docker, &options));
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

/// The longest path of a socket in bytes: the kernel's 108 with a closing zero (unix(7)), less [`UNREADY`].
const MAX_SOCKET_PATH: usize = 107 - UNREADY.len();

/// What follows the socket's name until it is ready.
const UNREADY: &str = ".new";

/// What a start has made in the file system. It goes again when the start fails.
#[derive(Debug, Default)]
struct Made(Vec<PathBuf>);

impl Made {
    /// Makes a directory, and those that it is in, if they are missing. `option` named it.
    fn directory(&mut self, path: &Path, mode: u32, option: &'static str) -> Result<(), DaemonError> {
        let up = path.ancestors().take_while(|it| !it.as_os_str().is_empty());
        let missing: Vec<&Path> = up.take_while(|it| !fs::exists(it).unwrap_or(true)).collect();
        self.0.extend(missing.into_iter().rev().map(Path::to_owned));
        DirBuilder::new().recursive(true).mode(mode).create(path).map_err(|source| {
            let in_the_way = path.ancestors().find(|it| it.exists() && !it.is_dir());
            match in_the_way {
                Some(path) => DaemonError::NotADirectory { path: path.to_owned(), option },
                None => file("create the directory", path)(source),
            }
        })
    }

    /// Makes the state's directory if it is missing.
    fn state_directory(&mut self, path: &Path) -> Result<(), DaemonError> {
        self.directory(path, 0o700, "--state")?;
        if self.0.last().is_some_and(|last| last == path) {
            self.0.push(path.join(store::FILE));
        }
        Ok(())
    }

    /// The start went well.
    fn keep(mut self) {
        self.0.clear();
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        for path in self.0.iter().rev() {
            // A directory that has something in it by now stays: it is not ours.
            let _ = if path.is_dir() { fs::remove_dir(path) } else { fs::remove_file(path) };
        }
    }
}

/// How long a daemon that has been killed may take to vanish before the next one gives up.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whether a daemon that lives serves the socket. One that is being killed may still accept, and never answers.
fn answers(socket: &Path) -> bool {
    let ask = || -> io::Result<bool> {
        let mut stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(b"GET /info HTTP/1.1\r\nHost: pontoon\r\nConnection: close\r\n\r\n")?;
        Ok(stream.read(&mut [0u8; 1])? > 0)
    };
    ask().unwrap_or(false)
}

/// The right to serve a socket: a lock on a file beside it, which goes when the right does.
#[derive(Debug)]
struct Lock {
    path: PathBuf,
    _held: File,
}

impl Lock {
    fn take(socket: &Path, patience: Duration) -> Result<Lock, DaemonError> {
        let mut path = socket.as_os_str().to_owned();
        path.push(".lock");
        let path = PathBuf::from(path);
        let start = Instant::now();
        loop {
            let held = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
            let held = held.map_err(file("open", &path))?;
            match flock(&held, FlockOperation::NonBlockingLockExclusive) {
                // The daemon that had it may have taken the file along since we opened it.
                Ok(()) if is_at(&held, &path) => return Ok(Lock { path, _held: held }),
                Ok(()) => {}
                // A killed daemon holds its lock until the kernel has closed its devices one by one.
                Err(Errno::WOULDBLOCK) if start.elapsed() < patience && !answers(socket) => {
                    thread::sleep(Duration::from_millis(20));
                }
                Err(Errno::WOULDBLOCK) => return Err(DaemonError::Running(socket.to_owned())),
                Err(error) => return Err(file("lock", &path)(error.into())),
            }
        }
    }
}

/// Whether the open file is the one at `path`.
fn is_at(held: &File, path: &Path) -> bool {
    let number = |metadata: io::Result<fs::Metadata>| metadata.map(|found| (found.dev(), found.ino())).ok();
    let ours = number(held.metadata());
    ours.is_some() && ours == number(fs::metadata(path))
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While it is still held: nobody else can have made it.
        let _ = fs::remove_file(&self.path);
    }
}

/// Makes sure that nobody serves the socket, and that nobody else starts to while the lock lives. Removes a socket
/// that a dead daemon left.
fn take_socket(socket: &Path, patience: Duration) -> Result<Lock, DaemonError> {
    let lock = Lock::take(socket, patience)?;
    match fs::symlink_metadata(socket) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(lock),
        Err(error) => return Err(file("look at", socket)(error)),
        Ok(there) if there.is_dir() => return Err(DaemonError::SocketIsADirectory(socket.to_owned())),
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
    unready.push(UNREADY);
    let unready = PathBuf::from(unready);
    let _ = fs::remove_file(&unready);
    let listener = UnixListener::bind(&unready).map_err(file("listen on", socket))?;
    fs::set_permissions(&unready, Permissions::from_mode(0o660)).map_err(file("set the mode of", socket))?;
    fs::rename(&unready, socket).map_err(file("listen on", socket))?;
    Ok(listener)
}

/// Docker's socket, if the daemon is its driver.
fn listen_to_docker(plugin: &DockerPlugin) -> Result<Option<Socket>, SocketError> {
    match plugin {
        DockerPlugin::Off => Ok(None),
        DockerPlugin::At(path) => Socket::listen(path).map(Some),
        DockerPlugin::Usual => Ok(Socket::listen(Path::new(socket::DEFAULT))
            .inspect_err(|error| tracing::warn!("Docker cannot use this daemon: {error}"))
            .ok()),
    }
}

async fn serve(
    manager: Arc<Manager>,
    for_docker: Option<Socket>,
    options: &DaemonOptions,
) -> Result<(), DaemonError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(system("wait for SIGTERM"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(system("wait for SIGINT"))?;
    let mut told = async || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let listener = listen(&options.socket)?;
    let mut servers = vec![Server::start(listener, api::router(Arc::clone(&manager)))];
    if let Some(socket) = &for_docker {
        let listener =
            socket.listener().and_then(UnixListener::from_std).map_err(system("listen to Docker"))?;
        servers.push(Server::start(listener, plugin::router(Arc::clone(&manager))));
    }
    failpoint::ready();
    tracing::info!(socket = %options.socket.display(), "ready");

    told().await;
    tracing::info!("ending; a second signal ends at once");
    tokio::select! {
        ended = finish(manager, servers, options) => ended,
        () = told() => std::process::exit(1),
    }
}

/// A server on a socket.
struct Server {
    stop: oneshot::Sender<()>,
    ended: JoinHandle<io::Result<()>>,
}

impl Server {
    fn start(listener: UnixListener, router: Router) -> Server {
        let (stop, stopped) = oneshot::channel::<()>();
        let served = axum::serve(listener, router).with_graceful_shutdown(async {
            let _ = stopped.await;
        });
        Server { stop, ended: tokio::spawn(served.into_future()) }
    }
}

/// Lets requests under way end, and removes what an ephemeral daemon made.
async fn finish(
    manager: Arc<Manager>,
    servers: Vec<Server>,
    options: &DaemonOptions,
) -> Result<(), DaemonError> {
    let ended: Vec<_> = servers
        .into_iter()
        .map(|server| {
            let _ = server.stop.send(());
            server.ended
        })
        .collect();
    // Those that follow events never end by themselves.
    let _ = tokio::time::timeout(GRACE, futures_util::future::join_all(ended)).await;
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
                    Ok(Event::LoopSeen(seen)) => manager.loop_seen(&seen, Instant::now()),
                    Ok(Event::ReadElsewhere { port, reader }) => manager.world().set_reader(port, reader),
                    Ok(Event::WorkerStopped { worker, cause }) => {
                        tracing::error!("worker {worker} has stopped, its ports are dead: {cause}; restart the daemon");
                    }
                    Err(_) => events = never(),
                },
                recv(clock) -> _ => {
                    manager.drop_orphans();
                    manager.world().forget_behind_lost_links();
                    manager.retry_publications(Instant::now());
                    manager.retry_blocked(Instant::now());
                    manager.note_uplinks();
                }
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
    use crate::dns::upstreams::RESOLV_CONF;

    #[test]
    fn a_stale_socket_is_taken_over_and_a_living_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("p.sock");
        let living = UnixListener::bind(&socket).unwrap();
        assert!(matches!(take_socket(&socket, Duration::ZERO), Err(DaemonError::Running(_))));
        drop(living);
        assert!(socket.exists());
        let held = take_socket(&socket, Duration::ZERO).unwrap();
        assert!(!socket.exists());
        // Whoever holds the lock has not listened yet.
        assert!(matches!(take_socket(&socket, Duration::ZERO), Err(DaemonError::Running(_))));
        drop(held);
        take_socket(&socket, Duration::ZERO).unwrap();
    }

    #[test]
    fn a_daemon_that_is_being_killed_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("p.sock");
        let dying = take_socket(&socket, Duration::ZERO).unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        thread::scope(|scope| {
            let next = scope.spawn(|| {
                tell.send(()).unwrap();
                take_socket(&socket, PATIENCE).map(drop)
            });
            told.recv().unwrap();
            drop(dying);
            assert!(next.join().unwrap().is_ok());
        });
    }

    #[test]
    fn what_is_no_socket_stays() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("precious");
        fs::write(&socket, "data").unwrap();
        let error = take_socket(&socket, Duration::ZERO).unwrap_err().to_string();
        assert!(error.contains("is not a socket"), "{error}");
        assert_eq!(fs::read_to_string(&socket).unwrap(), "data");
    }

    /// A start that fails because of `socket` and `state`, below a directory that is as it was afterwards.
    fn refused(socket: &str, state: &str) -> String {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "data").unwrap();
        fs::create_dir(dir.path().join("directory")).unwrap();
        let options = DaemonOptions {
            socket: dir.path().join(socket),
            state_dir: dir.path().join(state),
            config: None,
            ephemeral: false,
            workers: 1,
            edge: EdgeSettings::default(),
            resolv_conf: RESOLV_CONF.into(),
            docker_plugin: DockerPlugin::Off,
        };
        let error = run(options).unwrap_err().to_string();
        let mut left: Vec<_> = fs::read_dir(&dir).unwrap().map(|it| it.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["directory", "file"], "{error}");
        assert_eq!(fs::read_dir(dir.path().join("directory")).unwrap().count(), 0, "{error}");
        error
    }

    #[test]
    fn a_start_that_fails_says_why_and_leaves_nothing() {
        let long = "x".repeat(MAX_SOCKET_PATH);
        for (socket, state, words) in [
            ("directory", "state", "is a directory, and --socket is the path of the socket itself"),
            ("file", "state", "is not a socket"),
            ("file/p.sock", "state", "file is there and is not a directory; give another --socket"),
            ("new/sub/p.sock", "file", "file is there and is not a directory; give another --state"),
            ("new/p.sock", "file/state", "file is there and is not a directory; give another --state"),
            (&long, "state", "at most 103 are possible (107"),
        ] {
            let error = refused(socket, state);
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn what_a_start_made_goes_when_it_fails_and_only_that() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("a/b");
        let mut made = Made::default();
        made.state_directory(&state).unwrap();
        drop(Store::open(&state).unwrap());
        drop(made);
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
        fs::create_dir_all(&state).unwrap();
        drop(Store::open(&state).unwrap());
        let mut made = Made::default();
        made.state_directory(&state).unwrap();
        drop(made);
        assert!(state.join(store::FILE).exists(), "an earlier daemon's state");
    }

    #[tokio::test]
    async fn the_socket_is_for_its_owner_and_group() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("p.sock");
        let _listener = listen(&socket).unwrap();
        assert_eq!(fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o660);
    }
}
