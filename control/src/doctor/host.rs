//! What the host shows without being touched.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use rustix::fs::{Access, access, major, minor};
use rustix::process::{Resource, getrlimit};
use rustix::thread::CapabilitySet;

use super::Check;
use crate::netns::NAMED;
use crate::private::{forbidding_switch, has_capability};

/// The check of this user's capabilities: the one lack that does not matter in a user namespace.
pub(super) const CAPABILITIES: &str = "capabilities";

const TUN: &str = "/dev/net/tun";

/// The oldest kernel served, and the first with UDP super-frames on TAP devices.
const OLDEST: (u32, u32) = (4, 19);

pub(super) fn checks() -> Vec<Check> {
    let release = rustix::system::uname().release().to_string_lossy().into_owned();
    let descriptors = getrlimit(Resource::Nofile);
    vec![
        kernel(&release),
        tun(),
        capability_check(has_capability),
        named_namespaces(),
        user_namespaces(forbidding_switch()),
        open_files(descriptors.maximum),
    ]
}

fn kernel(release: &str) -> Check {
    const NAME: &str = "kernel";
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse::<u32>().unwrap_or(0));
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    let found = format!("Linux {release} (4.19 or newer is served)");
    if version >= OLDEST {
        Check::ok(NAME, found)
    } else {
        Check::lacks(NAME, found, "Nobody has tried pontoon on it.", "Use a newer kernel.")
    }
}

fn tun() -> Check {
    const NAME: &str = "tun device";
    const COST: &str = "No TAP devices: endpoints of kind tap and the demo do not work.";
    let metadata = match std::fs::metadata(TUN) {
        Ok(metadata) => metadata,
        Err(e) => {
            let remedy = "Load the module (`modprobe tun`) or create the node (`mkdir -p /dev/net; mknod \
                          /dev/net/tun c 10 200`); a container gets it with `--device /dev/net/tun`.";
            return Check::lacks(NAME, format!("{TUN}: {}", say(&e)), COST, remedy);
        }
    };
    let device = (major(metadata.rdev()), minor(metadata.rdev()));
    if !metadata.file_type().is_char_device() || device != (10, 200) {
        let found = format!("{TUN} is not character device 10:200");
        return Check::lacks(NAME, found, COST, "Remove it; `mknod /dev/net/tun c 10 200`.");
    }
    match OpenOptions::new().read(true).write(true).open(TUN) {
        Ok(_) => Check::ok(NAME, format!("{TUN} is character device 10:200 and may be opened")),
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            let remedy = "Be root, or `chmod 0666 /dev/net/tun`: that is its usual mode, and harmless, for \
                          making devices takes CAP_NET_ADMIN all the same.";
            let found = format!("{TUN} has mode {:04o}: this user may not open it", metadata.mode() & 0o7777);
            Check::lacks(NAME, found, COST, remedy).of_this_user()
        }
        Err(e) => {
            let remedy = "Load the module: `modprobe tun`; kernels without modules need CONFIG_TUN=y.";
            Check::lacks(NAME, format!("{TUN} cannot be opened: {}", say(&e)), COST, remedy)
        }
    }
}

fn capability_check(has: impl Fn(CapabilitySet) -> bool) -> Check {
    let needed = [
        (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN"),
        (CapabilitySet::SYS_ADMIN, "CAP_SYS_ADMIN"),
        (CapabilitySet::NET_RAW, "CAP_NET_RAW"),
    ];
    let names = |present: bool| {
        let chosen = needed.iter().filter(|(c, _)| has(*c) == present).map(|(_, name)| *name);
        chosen.collect::<Vec<_>>().join(", ")
    };
    let missing = names(false);
    if missing.is_empty() {
        return Check::ok(CAPABILITIES, names(true));
    }
    let cost = "The daemon cannot make devices (NET_ADMIN), enter namespaces (SYS_ADMIN) or open existing \
                interfaces (NET_RAW).";
    let remedy = "Run the daemon as root; in a container: --cap-add NET_ADMIN, SYS_ADMIN, NET_RAW.";
    Check::lacks(CAPABILITIES, format!("without {missing}"), cost, remedy).of_this_user()
}

fn named_namespaces() -> Check {
    const NAME: &str = "named netns";
    let may_write = |path| access(path, Access::WRITE_OK | Access::EXEC_OK).is_ok();
    let exists = std::path::Path::new(NAMED).is_dir();
    match (exists, may_write(if exists { NAMED } else { "/run" })) {
        (true, true) => Check::ok(NAME, format!("{NAMED} is writable")),
        (false, true) => Check::ok(NAME, format!("{NAMED} will be made when it is needed")),
        (_, false) => Check::warn(
            NAME,
            format!("{NAMED} is not writable for this user"),
            "`pontoon up` cannot create namespaces; existing ones can be attached by path or pid.",
            "Run the daemon as root, with a writable /run.",
        ),
    }
}

fn user_namespaces(forbidden: Option<&'static str>) -> Check {
    const NAME: &str = "user namespaces";
    let cost = "Ordinary users cannot run the demo; root is not affected.";
    if !std::path::Path::new("/proc/self/ns/user").exists() {
        return Check::warn(NAME, "the kernel has none", cost, "Build it with CONFIG_USER_NS=y.");
    }
    match forbidden {
        None => Check::ok(NAME, "no switch forbids them"),
        Some(switch) => Check::warn(NAME, switch, cost, "Change it with `sysctl -w`, or be root."),
    }
}

fn open_files(most: Option<u64>) -> Check {
    const NAME: &str = "open files";
    // An endpoint takes one descriptor; some are for the daemon itself.
    const PLENTY: u64 = 4096 + 256;
    match most {
        Some(most) if most < PLENTY => Check::warn(
            NAME,
            format!("at most {most}"),
            &format!("Room for about {} endpoints instead of 4096.", most.saturating_sub(256)),
            "Raise it: `ulimit -Hn 65536`, or LimitNOFILE=65536 in the unit file.",
        ),
        Some(most) => Check::ok(NAME, format!("at most {most}")),
        None => Check::ok(NAME, "no limit"),
    }
}

/// The system's words without the "(os error N)".
pub(super) fn say(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    #[test]
    fn kernels_before_4_19_are_told_apart() {
        for (release, status) in [
            ("6.18.44-fc-v657", Status::Ok),
            ("4.19.0", Status::Ok),
            ("5.4.0-generic", Status::Ok),
            ("4.18.20", Status::Lacks),
            ("3.10.0-1160.el7", Status::Lacks),
            ("nonsense", Status::Lacks),
        ] {
            assert_eq!(kernel(release).status, status, "{release}");
        }
    }

    #[test]
    fn missing_capabilities_are_named() {
        let check = capability_check(|c| c != CapabilitySet::SYS_ADMIN);
        assert_eq!((check.status, check.found.as_str()), (Status::Lacks, "without CAP_SYS_ADMIN"));
        assert_eq!(capability_check(|_| true).status, Status::Ok);
    }

    #[test]
    fn few_descriptors_and_forbidden_namespaces_warn() {
        assert_eq!(open_files(Some(1024)).cost.unwrap(), "Room for about 768 endpoints instead of 4096.");
        assert_eq!(open_files(Some(65536)).status, Status::Ok);
        assert_eq!(open_files(None).status, Status::Ok);
        assert_eq!(user_namespaces(Some("sysctl x is 0")).status, Status::Warn);
    }
}
