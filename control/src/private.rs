//! Private namespaces for the whole process: what it does to networks and mounts in there, the host never sees, and
//! the kernel clears it all away when the process ends, however it ends.

use std::fmt::Display;
use std::io;

use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::thread::{CapabilitySet, UnshareFlags, capabilities};
use serde::Serialize;

use crate::sys;

/// How the process came by its private namespaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Way {
    /// By its own privilege.
    Root,
    /// Through a user namespace, in which an ordinary user is root.
    User,
}

/// Private namespaces were not to be had.
#[derive(Debug, thiserror::Error)]
pub enum PrivateError {
    /// An ordinary user, and the kernel permits no user namespace.
    #[error(
        "this user may not make a private network namespace: {}; run it as root, or permit user namespaces",
        obstacle(source)
    )]
    NotPermitted {
        /// The system's error.
        source: io::Error,
    },
    /// A step after the namespaces were made failed.
    #[error("cannot {action} in a private namespace: {source}")]
    Step {
        /// What was tried.
        action: &'static str,
        /// The system's error.
        source: io::Error,
    },
}

/// Moves the process into network and mount namespaces of its own, with an empty /run.
///
/// Call it before any thread is started: threads that exist already would stay outside, and the kernel
/// refuses user namespaces to processes with several threads.
///
/// # Errors
/// [`PrivateError`]; the process may be half moved then and should end.
pub fn enter() -> Result<Way, PrivateError> {
    let private = UnshareFlags::NEWNET | UnshareFlags::NEWNS;
    let way = match has_capability(CapabilitySet::SYS_ADMIN).then(|| sys::unshare(private)) {
        Some(Ok(())) => Way::Root,
        // Containers may have the capability and forbid the call all the same.
        Some(Err(_)) | None => {
            become_root_of_a_user_namespace(private)?;
            Way::User
        }
    };
    let step = |action, result: rustix::io::Result<()>| {
        result.map_err(|source| PrivateError::Step { action, source: source.into() })
    };
    let alone = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    step("separate the mounts", mount_change("/", alone))?;
    let quiet = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    step("mount an empty /run", mount("pontoon", "/run", "tmpfs", quiet, c"mode=0755"))?;
    Ok(way)
}

/// Whether the process has the capability now.
pub fn has_capability(capability: CapabilitySet) -> bool {
    capabilities(None).is_ok_and(|sets| sets.effective.contains(capability))
}

fn become_root_of_a_user_namespace(others: UnshareFlags) -> Result<(), PrivateError> {
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    sys::unshare(others | UnshareFlags::NEWUSER).map_err(|source| PrivateError::NotPermitted { source })?;
    // user_namespaces(7): gid_map may be written without privilege only after setgroups(2) is given up.
    write_map("setgroups", "deny")?;
    write_map("uid_map", format_args!("0 {uid} 1"))?;
    write_map("gid_map", format_args!("0 {gid} 1"))
}

fn write_map(file: &str, text: impl Display) -> Result<(), PrivateError> {
    // AppArmor lets the namespace be made and refuses here.
    std::fs::write(format!("/proc/self/{file}"), text.to_string())
        .map_err(|source| PrivateError::NotPermitted { source })
}

/// The switch that forbids user namespaces to ordinary users, if one that we know does.
pub fn forbidding_switch() -> Option<&'static str> {
    let reads = |name: &str, value: &str| {
        std::fs::read_to_string(format!("/proc/sys/{}", name.replace('.', "/")))
            .is_ok_and(|text| text.trim() == value)
    };
    [
        ("user.max_user_namespaces", "0", "sysctl user.max_user_namespaces is 0"),
        ("kernel.unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone is 0"),
        (
            "kernel.apparmor_restrict_unprivileged_userns",
            "1",
            "sysctl kernel.apparmor_restrict_unprivileged_userns is 1",
        ),
    ]
    .into_iter()
    .find(|(name, value, _)| reads(name, value))
    .map(|(_, _, sentence)| sentence)
}

/// The switch says more than the error that it causes, such as "no space left on device".
fn obstacle(source: &io::Error) -> String {
    forbidding_switch().map_or_else(|| source.to_string(), str::to_owned)
}
