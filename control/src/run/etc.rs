//! Files of a sandbox's own over those of the host, for its mount namespace alone: nothing is written to the host's disc.
//!
//! The files are in a tmpfs that nobody can reach by a path, for it is mounted below the sandbox's /proc, and are bound over /etc/hosts
//! and its like. When the host replaces such a file (rename(2)), the kernel takes what is bound over it away; then it is bound again.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open};
use rustix::mount::{
    MountFlags, MountPropagationFlags, mount, mount_bind, mount_bind_recursive, mount_change,
};

use super::files::Files;

/// Where the tmpfs is made; the sandbox's own /proc covers it afterwards.
const UNDER: &str = "/proc";

const QUIET: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

/// What failed, in words, and why.
fn step<T>(action: &str, result: Result<T, impl Into<io::Error>>) -> io::Result<T> {
    result.map_err(|source| io::Error::other(format!("cannot {action}: {}", source.into())))
}

/// What is bound where.
#[derive(Debug)]
pub(super) struct Etc {
    /// The tmpfs.
    directory: OwnedFd,
    bound: Vec<Bound>,
}

#[derive(Debug)]
struct Bound {
    name: &'static str,
    /// Device and inode number.
    file: (u64, u64),
}

fn target(name: &str) -> PathBuf {
    Path::new("/etc").join(name)
}

/// Cuts the mounts of this mount namespace off from those of the host: what the host mounts comes here, and nothing goes back.
pub(super) fn separate() -> io::Result<()> {
    let down = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    step("separate the mounts", mount_change("/", down))
}

/// Puts the files in place, and a /proc and what /sys says of interfaces for the namespaces that this process is in.
pub(super) fn furnish(files: &Files) -> io::Result<Etc> {
    step("mount a tmpfs", mount("pontoon", UNDER, "tmpfs", QUIET, c"mode=0755,size=4m"))?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = step("open the tmpfs", open(UNDER, flags, Mode::empty()))?;
    let hostname = format!("{}\n", files.hostname);
    let texts = [("hosts", &files.hosts), ("resolv.conf", &files.resolv_conf), ("hostname", &hostname)];
    for (name, text) in &texts {
        step(&format!("write {name}"), write(&Path::new(UNDER).join(name), text))?;
    }
    // Where there is none nobody reads it: the kernel says the name.
    let wanted =
        texts.iter().map(|(name, _)| *name).filter(|name| *name != "hostname" || target(name).exists());
    let wanted: Vec<&'static str> = wanted.collect();
    let bound = if wanted.iter().all(|name| target(name).exists()) {
        wanted.into_iter().map(bind).collect::<io::Result<_>>()?
    } else {
        replace_etc()?;
        Vec::new()
    };
    show_interfaces();
    step("mount /proc", mount("proc", "/proc", "proc", QUIET, None))?;
    Ok(Etc { directory, bound })
}

/// A file that everybody may read, whatever the umask.
fn write(path: &Path, text: &str) -> io::Result<()> {
    fs::write(path, text)?;
    fs::set_permissions(path, Permissions::from_mode(0o644))
}

fn bind(name: &'static str) -> io::Result<Bound> {
    let source = Path::new(UNDER).join(name);
    // Through symbolic links, as systemd-resolved and others make of /etc/resolv.conf.
    step(&format!("mount /etc/{name}"), mount_bind(&source, target(name)))?;
    let file = step(&format!("look at {name}"), fs::metadata(&source))?;
    Ok(Bound { name, file: (file.dev(), file.ino()) })
}

/// Where the host has no such file there is nothing to bind over. So /etc becomes a directory of our own, with all that the host's has
/// bound into it: what is written into those files and directories is written to the host's, as elsewhere.
fn replace_etc() -> io::Result<()> {
    let own = Path::new(UNDER).join("etc");
    step("make a directory", fs::create_dir(&own))?;
    for entry in step("read /etc", fs::read_dir("/etc"))? {
        let entry = step("read /etc", entry)?;
        let (there, here) = (entry.path(), own.join(entry.file_name()));
        let kind = step("look into /etc", entry.file_type())?;
        let made = if kind.is_symlink() {
            fs::read_link(&there).and_then(|to| symlink(to, &here))
        } else if kind.is_dir() {
            fs::create_dir(&here).and_then(|()| Ok(mount_bind_recursive(&there, &here)?))
        } else {
            File::create(&here).and_then(|_| Ok(mount_bind(&there, &here)?))
        };
        step(&format!("mount {}", there.display()), made)?;
    }
    for name in ["hosts", "resolv.conf", "hostname"] {
        let (file, place) = (Path::new(UNDER).join(name), own.join(name));
        // A symbolic link that leads nowhere.
        if place.is_symlink() {
            step(&format!("replace {name}"), fs::remove_file(&place))?;
        }
        let made = File::options().write(true).create(true).truncate(false).open(&place);
        step(&format!("mount /etc/{name}"), made.and_then(|_| Ok(mount_bind(&file, &place)?)))?;
    }
    step("mount /etc", mount_bind_recursive(&own, "/etc"))
}

/// /sys shows the interfaces of whose namespace it was mounted in; so a new one is bound over where it does. A machine without it has
/// nothing to show.
fn show_interfaces() {
    let fresh = Path::new(UNDER).join("sys");
    if fs::create_dir(&fresh).is_err()
        || mount("sysfs", &fresh, "sysfs", QUIET | MountFlags::RDONLY, None).is_err()
    {
        return;
    }
    for part in ["class/net", "devices/virtual/net"] {
        let _ = mount_bind(fresh.join(part), Path::new("/sys").join(part));
    }
}

impl Etc {
    /// Binds what the host has replaced meanwhile again. Returns whether all is in place: while the host is about to replace a file, or
    /// between two files, there is nothing to bind over, and nothing that tells when there will be.
    pub(super) fn repair(&self) -> bool {
        let in_place = |Bound { name, file }: &Bound| {
            let is_ours = fs::metadata(target(name)).is_ok_and(|it| (it.dev(), it.ino()) == *file);
            let source = format!("/proc/self/fd/{}/{name}", self.directory.as_raw_fd());
            is_ours || mount_bind(source, target(name)).is_ok()
        };
        // Each of them, whatever became of those before.
        self.bound.iter().filter(|it| !in_place(it)).count() == 0
    }
}
