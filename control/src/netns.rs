//! Network namespaces: find, recognise, create, delete, and work inside one.
//!
//! A thread that enters a namespace is never given back to anybody: [`run_in`] makes a thread for the purpose and
//! lets it end, so no other thread of the process ever sees another namespace than the process's own.

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::thread;

use rustix::fs::{Mode, OFlags, fstat, open};
use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_bind_recursive, mount_change, unmount};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};
use serde::{Deserialize, Serialize};

use crate::api::types::SandboxRef;

/// Where named namespaces are, as iproute2 keeps them.
pub const NAMED: &str = "/run/netns";

/// What went wrong with a namespace.
#[derive(Debug, thiserror::Error)]
pub enum NetnsError {
    /// No such name.
    #[error("there is no network namespace {name}: {} does not exist; create it with `ip netns add {name}`", named(name).display())]
    NoSuchName {
        /// The name.
        name: String,
    },
    /// No such path.
    #[error("there is no network namespace at {}: no such file", path.display())]
    NoSuchPath {
        /// The path.
        path: PathBuf,
    },
    /// No such process.
    #[error("there is no process {0} to take the network namespace of")]
    NoSuchProcess(u32),
    /// Something else than a network namespace is there.
    #[error("{} is not a network namespace", path.display())]
    NotANamespace {
        /// The path.
        path: PathBuf,
    },
    /// It is there already.
    #[error("the network namespace {name} exists already")]
    Exists {
        /// The name.
        name: String,
    },
    /// A system call failed.
    #[error("cannot {action}: {source}{}", hint(source))]
    System {
        /// What was tried, with its object.
        action: String,
        /// The system's error.
        source: io::Error,
    },
}

fn hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::PermissionDenied => "; this needs root, or CAP_SYS_ADMIN and CAP_NET_ADMIN",
        _ => "",
    }
}

fn system(action: impl Into<String>, source: impl Into<io::Error>) -> NetnsError {
    NetnsError::System { action: action.into(), source: source.into() }
}

/// What a namespace is recognised by for as long as it lives: the device and inode numbers of its file. The
/// kernel gives an inode number again after the namespace is gone, and the same ones after every boot, so the boot
/// belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NetnsId {
    /// `st_dev`.
    pub dev: u64,
    /// `st_ino`.
    pub ino: u64,
    /// The boot in which the namespace lives, from /proc/sys/kernel/random/boot_id; 0 where that cannot be read.
    pub boot: u64,
}

impl NetnsId {
    /// No namespace at all: it is not known yet, or changes.
    pub const UNKNOWN: NetnsId = NetnsId { dev: 0, ino: 0, boot: 0 };
}

/// An open network namespace. It cannot vanish while this lives, so keep it no longer than the work takes.
#[derive(Debug)]
pub struct Netns {
    fd: OwnedFd,
    id: NetnsId,
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsRawFd for Netns {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// The file of a named namespace.
fn named(name: &str) -> PathBuf {
    Path::new(NAMED).join(name)
}

impl Netns {
    /// The namespace that `sandbox` refers to now.
    ///
    /// # Errors
    /// There is none, it is not a network namespace, or it may not be opened.
    pub fn find(sandbox: &SandboxRef) -> Result<Netns, NetnsError> {
        match sandbox {
            SandboxRef::Pid(pid) => {
                let path = PathBuf::from(format!("/proc/{pid}/ns/net"));
                Netns::open(&path, || NetnsError::NoSuchProcess(*pid))
            }
            SandboxRef::Netns(path) if path.contains('/') => {
                let path = PathBuf::from(path);
                Netns::open(&path, || NetnsError::NoSuchPath { path: path.clone() })
            }
            SandboxRef::Netns(name) => {
                Netns::open(&named(name), || NetnsError::NoSuchName { name: name.clone() })
            }
        }
    }

    /// A new namespace without a name: it lives as long as this does, or a device's descriptor opened in it.
    ///
    /// # Errors
    /// The system refuses.
    pub fn anonymous() -> Result<Netns, NetnsError> {
        on_own_thread(|| {
            new_network_namespace()?;
            Netns::current()
        })
    }

    /// The namespace of the calling thread.
    ///
    /// # Errors
    /// The system's error.
    pub fn current() -> Result<Netns, NetnsError> {
        let path = Path::new("/proc/thread-self/ns/net");
        Netns::open(path, || NetnsError::NoSuchPath { path: path.to_owned() })
    }

    /// The namespace `id`, by the way it was named once, or by any other name or process that it still has.
    /// None when it is gone.
    pub fn recover(sandbox: &SandboxRef, id: NetnsId) -> Option<Netns> {
        let same = |found: &Netns| found.id == id;
        if let Some(found) = Netns::find(sandbox).ok().filter(same) {
            return Some(found);
        }
        let entries = |dir: &str| fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
        let processes = entries("/proc").map(|process| process.join("ns/net"));
        entries(NAMED).chain(processes).find_map(|path| {
            // Look before opening: to hold a descriptor of a namespace, however briefly, keeps it alive.
            let seen = fs::metadata(&path).ok()?;
            (NetnsId::of(&seen) == id).then(|| Netns::open_file(&path).ok())?.filter(same)
        })
    }

    /// Its identity.
    pub fn id(&self) -> NetnsId {
        self.id
    }

    fn open(path: &Path, missing: impl FnOnce() -> NetnsError) -> Result<Netns, NetnsError> {
        let ns = Netns::open_file(path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => missing(),
            // A process that vanishes between two looks.
            _ if source.raw_os_error() == Some(libc::ESRCH) => missing(),
            _ => system(format!("open the network namespace {}", path.display()), source),
        })?;
        let filesystem = rustix::fs::fstatfs(&ns.fd)
            .map_err(|source| system(format!("look at {}", path.display()), source))?
            .f_type;
        // The field's type differs between architectures.
        #[allow(clippy::useless_conversion)]
        if i64::from(filesystem) != NSFS_MAGIC {
            return Err(NetnsError::NotANamespace { path: path.to_owned() });
        }
        Ok(ns)
    }

    fn open_file(path: &Path) -> io::Result<Netns> {
        let fd = open(path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())?;
        let stat = fstat(&fd)?;
        Ok(Netns { fd, id: NetnsId::now(stat.st_dev, stat.st_ino) })
    }
}

/// The file system that namespaces' files live on (linux/magic.h).
const NSFS_MAGIC: i64 = 0x6e73_6673;

impl NetnsId {
    fn of(metadata: &fs::Metadata) -> NetnsId {
        use std::os::unix::fs::MetadataExt;
        NetnsId::now(metadata.dev(), metadata.ino())
    }

    fn now(dev: u64, ino: u64) -> NetnsId {
        static BOOT: LazyLock<u64> = LazyLock::new(|| {
            let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
            let digits: String = id.chars().filter(char::is_ascii_hexdigit).take(16).collect();
            u64::from_str_radix(&digits, 16).unwrap_or_default()
        });
        NetnsId { dev, ino, boot: *BOOT }
    }
}

/// Whether `sandbox` still names the namespace `id`. Opens nothing, so it never keeps a namespace alive.
pub fn still_names(sandbox: &SandboxRef, id: NetnsId) -> bool {
    let path = match sandbox {
        SandboxRef::Pid(pid) => PathBuf::from(format!("/proc/{pid}/ns/net")),
        SandboxRef::Netns(path) if path.contains('/') => PathBuf::from(path),
        SandboxRef::Netns(name) => named(name),
    };
    fs::metadata(path).is_ok_and(|seen| NetnsId::of(&seen) == id)
}

/// The machine's own namespace, which a daemon in a private one must not touch either: that of process 1 or, where that may not
/// be looked at, of whoever started this process. None when neither can be looked at.
pub fn of_the_machine() -> Option<NetnsId> {
    let of = |process: &str| fs::metadata(format!("/proc/{process}/ns/net")).ok();
    let parent = || of(&rustix::process::getppid()?.as_raw_pid().to_string());
    of("1").or_else(parent).map(|seen| NetnsId::of(&seen))
}

/// Every namespace that a process is in or that a mount holds. Opens none of them.
pub fn inhabited() -> HashSet<NetnsId> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let seen = processes.filter_map(|process| fs::metadata(process.path().join("ns/net")).ok());
    let mut inhabited: HashSet<NetnsId> = seen.map(|seen| NetnsId::of(&seen)).collect();
    let Ok(own) = fs::metadata("/proc/self/ns/net").map(|own| NetnsId::of(&own)) else { return inhabited };
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    inhabited.extend(mounts.lines().filter_map(mounted).map(|ino| NetnsId { ino, ..own }));
    inhabited
}

/// The inode number of the network namespace that a line of mountinfo(5) tells of: its fourth field is `net:[NUMBER]`.
fn mounted(line: &str) -> Option<u64> {
    line.split(' ').nth(3)?.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()
}

/// Does `work` inside the namespace, on a thread of its own.
///
/// # Errors
/// The thread cannot be made or may not enter the namespace.
pub fn run_in<T: Send>(ns: &Netns, work: impl FnOnce() -> T + Send) -> Result<T, NetnsError> {
    on_own_thread(|| {
        move_into_link_name_space(ns.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(|source| system("enter the network namespace", source))?;
        Ok(work())
    })
}

fn on_own_thread<T: Send>(work: impl FnOnce() -> Result<T, NetnsError> + Send) -> Result<T, NetnsError> {
    thread::scope(|scope| {
        thread::Builder::new()
            .name("netns".into())
            .spawn_scoped(scope, work)
            .map_err(|source| system("start a thread", source))?
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Creates a named namespace, as `ip netns add` does.
///
/// # Errors
/// The name is taken, or the system refuses.
pub fn create(name: &str) -> Result<NetnsId, NetnsError> {
    let path = named(name);
    share_directory()?;
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o444).open(&path);
    match file.map(drop) {
        Ok(_) => {}
        Err(source) if source.kind() == io::ErrorKind::AlreadyExists => {
            return Err(NetnsError::Exists { name: name.to_owned() });
        }
        Err(source) => return Err(system(format!("create {}", path.display()), source)),
    }
    let made = on_own_thread(|| {
        new_network_namespace()?;
        mount_bind_recursive("/proc/thread-self/ns/net", &path)
            .map_err(|source| system(format!("mount the network namespace at {}", path.display()), source))?;
        Ok(Netns::current()?.id())
    });
    if made.is_err() {
        // The error above is what matters; an empty file that cannot be removed either has the same cause.
        let _ = fs::remove_file(&path);
    }
    made
}

/// Moves the calling thread into a new network namespace.
fn new_network_namespace() -> Result<(), NetnsError> {
    crate::sys::unshare(UnshareFlags::NEWNET).map_err(|source| system("create a network namespace", source))
}

/// Makes /run/netns a shared mount, so that a namespace that is deleted here is gone in other mount namespaces too.
fn share_directory() -> Result<(), NetnsError> {
    fs::create_dir_all(NAMED).map_err(|source| system(format!("create {NAMED}"), source))?;
    let share = || mount_change(NAMED, MountPropagationFlags::SHARED | MountPropagationFlags::REC);
    match share() {
        Ok(()) => Ok(()),
        // Not a mount point yet.
        Err(rustix::io::Errno::INVAL) => {
            mount_bind_recursive(NAMED, NAMED)
                .map_err(|source| system(format!("make {NAMED} a mount point"), source))?;
            share().map_err(|source| system(format!("share the mount {NAMED}"), source))
        }
        Err(source) => Err(system(format!("share the mount {NAMED}"), source)),
    }
}

/// Deletes a named namespace, as `ip netns del` does. Its devices go with it when nothing else holds it.
///
/// # Errors
/// There is none of that name, or the system refuses.
pub fn delete(name: &str) -> Result<(), NetnsError> {
    let path = named(name);
    match unmount(&path, UnmountFlags::DETACH) {
        // An empty file: its creator died between the two steps.
        Ok(()) | Err(rustix::io::Errno::INVAL) => {}
        Err(rustix::io::Errno::NOENT) => return Err(NetnsError::NoSuchName { name: name.to_owned() }),
        Err(source) => return Err(system(format!("unmount {}", path.display()), source)),
    }
    fs::remove_file(&path).map_err(|source| system(format!("remove {}", path.display()), source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_ones_are_named() {
        let message = |sandbox| Netns::find(&sandbox).unwrap_err().to_string();
        let name = message(SandboxRef::Netns("no-such-namespace".into()));
        assert!(name.contains("ip netns add no-such-namespace"), "{name}");
        let path = message(SandboxRef::Netns("/nowhere/ns".into()));
        assert!(path.contains("/nowhere/ns"), "{path}");
        assert!(message(SandboxRef::Pid(u32::MAX)).contains("no process 4294967295"));
        let file = message(SandboxRef::Netns("/proc/self/cmdline".into()));
        assert!(file.contains("is not a network namespace"), "{file}");
    }

    #[test]
    fn own_namespace_is_recognised() {
        let own = Netns::current().unwrap();
        let by_pid = Netns::find(&SandboxRef::Pid(std::process::id())).unwrap();
        assert_eq!(own.id(), by_pid.id());
        assert!(still_names(&SandboxRef::Pid(std::process::id()), own.id()));
        let gone = NetnsId { ino: 1, ..own.id() };
        assert!(Netns::recover(&SandboxRef::Pid(std::process::id()), gone).is_none());
        let gone = NetnsId { boot: own.id().boot.wrapping_add(1), ..own.id() };
        assert!(Netns::recover(&SandboxRef::Pid(std::process::id()), gone).is_none());
        let elsewhere = SandboxRef::Netns("no-such-namespace".into());
        assert_eq!(Netns::recover(&elsewhere, own.id()).unwrap().id(), own.id());
    }
}
