//! A machine of its own, as far as its programs can tell: network, mounts, processes and an empty /run, on a kernel without netfilter.
//!
//! It is what a container engine needs to live in beside another one, and it ends as a whole: when it is dropped, or
//! whoever made it ends, every process in it is killed and every mount is gone.

use std::io::{self, BufRead, BufReader};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::thread::{self, JoinHandle};

use pontoon::api::types::SandboxRef;
use pontoon::netns::Netns;
use pontoon::sys;
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

use crate::lab::{LabError, Namespace};
use crate::netfilter;

type Work = Box<dyn FnOnce() + Send>;

/// Programs that nobody in the machine shall find.
const HIDDEN: [&str; 10] = [
    "iptables",
    "ip6tables",
    "iptables-save",
    "iptables-restore",
    "iptables-legacy",
    "iptables-nft",
    "nft",
    "modprobe",
    "ebtables",
    "conntrack",
];
const DIRECTORIES: [&str; 6] =
    ["/usr/sbin", "/usr/bin", "/sbin", "/bin", "/usr/local/sbin", "/usr/local/bin"];

/// What the first process does: it has /proc tell of the machine's processes, and reaps those whose parents have gone.
const INIT: &str = "mount -t proc proc /proc && echo ready && while :; do sleep 1; done";

/// A machine.
#[derive(Debug)]
pub struct Machine {
    /// Sees the machine's files and network.
    inside: Option<Worker>,
    /// Starts the machine's processes. It can start no threads, and netfilter is hidden from it.
    parent: Option<Worker>,
    init: Child,
}

impl Machine {
    /// Makes one that is on the network as `host` is.
    ///
    /// # Errors
    /// No privilege, or no `setpriv` or `sh`.
    pub fn on(host: &Namespace) -> Result<Machine, LabError> {
        let inside = Worker::start()?;
        let netns = SandboxRef::Netns(host.name().to_owned());
        let separated = inside.run(move || -> Result<(), LabError> {
            let netns = Netns::find(&netns)?;
            move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network))?;
            separate_mounts()
        });
        separated??;
        // A thread has the namespaces of the one that starts it.
        let parent = inside.run(Worker::start)??;
        let init = parent.run(start_first_process)??;
        Ok(Machine { inside: Some(inside), parent: Some(parent), init })
    }

    /// Does `work` on a thread to which paths and the network are the machine's.
    ///
    /// # Errors
    /// The work panicked.
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, LabError> {
        self.inside.as_ref().ok_or("the machine has ended")?.run(work)
    }

    /// Starts a process of the machine's.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn(&self, mut command: Command) -> Result<Child, LabError> {
        Ok(self.parent.as_ref().ok_or("the machine has ended")?.run(move || command.spawn())??)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Whoever is the first process of its kind takes all others along.
        let _ = self.init.kill();
        let _ = self.init.wait();
        drop((self.parent.take(), self.inside.take()));
    }
}

/// A thread that does what it is given, one after the other.
#[derive(Debug)]
struct Worker {
    work: Option<Sender<Work>>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    fn start() -> io::Result<Worker> {
        let (work, receiver) = channel::<Work>();
        let thread = thread::Builder::new()
            .name("machine".into())
            .spawn(move || receiver.into_iter().for_each(|work| work()))?;
        Ok(Worker { work: Some(work), thread: Some(thread) })
    }

    fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, LabError> {
        let (told, tell) = channel();
        let boxed: Work = Box::new(move || {
            let _ = told.send(work());
        });
        self.work
            .as_ref()
            .ok_or("the machine has ended")?
            .send(boxed)
            .map_err(|_| "the machine has ended")?;
        Ok(tell.recv().map_err(|_| "the work ended without an answer")?)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.work.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Gives the calling thread mounts of its own, with an empty /run and without the programs that nobody shall find.
fn separate_mounts() -> Result<(), LabError> {
    sys::unshare(UnshareFlags::NEWNS)?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    mount("pontoon", "/run", "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, c"mode=0755")?;
    for directory in DIRECTORIES {
        for program in HIDDEN {
            hide(&format!("{directory}/{program}"))?;
        }
    }
    Ok(())
}

/// Starts the first of the calling thread's processes; all later ones are in its process namespace.
fn start_first_process() -> Result<Child, LabError> {
    netfilter::deny()?;
    sys::unshare(UnshareFlags::NEWPID)?;
    let mut init = Command::new("setpriv");
    init.args(["--pdeathsig", "KILL", "sh", "-c", INIT]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut init = init.spawn()?;
    let mut said = String::new();
    if let Some(output) = init.stdout.take() {
        BufReader::new(output).read_line(&mut said)?;
    }
    if said.trim_end() == "ready" {
        Ok(init)
    } else {
        Err("the machine's first process did not start".into())
    }
}

/// Lays an empty file that cannot be executed over a program, whatever links to it.
fn hide(program: &str) -> Result<(), LabError> {
    match std::fs::canonicalize(program) {
        Ok(program) => Ok(mount_bind("/dev/null", program)?),
        Err(_) => Ok(()),
    }
}
