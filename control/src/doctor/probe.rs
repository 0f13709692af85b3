//! What only trying shows, tried in private namespaces.

use std::io;

use pontoon_dataplane::port::Offloads;
use pontoon_dataplane::port::tap::{Tap, TapError};
use socket2::{Domain, Protocol, Socket, Type};

use super::Check;
use super::host::say;
use crate::link::Links;
use crate::netns::Netns;
use crate::private;

/// The check that a TAP device can be made.
pub(super) const TAP: &str = "TAP devices";

/// `ETH_P_ALL` in network byte order, as packet(7) wants it.
const ALL_PROTOCOLS: i32 = (libc::ETH_P_ALL as u16).to_be() as i32;

pub(super) fn checks() -> Vec<Check> {
    match private::enter() {
        Ok(_) => {
            let (tap, offloads) = tap();
            let mut checks = vec![tap];
            checks.extend(offloads.map(offload_check));
            checks.extend([packet_sockets(), veth()]);
            checks
        }
        Err(error) => vec![Check::warn(
            TAP,
            format!("not tried: {error}"),
            "TAP devices, offloads, packet sockets and veth are unknown; the demo cannot run.",
            "Run the doctor as root.",
        )],
    }
}

fn tap() -> (Check, Option<Offloads>) {
    match Tap::open("pontoon-doctor", Offloads::ALL) {
        Ok(tap) => (Check::ok(TAP, "one was made in a throwaway namespace"), Some(tap.offloads())),
        Err(error) => (refused(&error), None),
    }
}

fn refused(error: &TapError) -> Check {
    const ABOVE: &str = "See the tun device above.";
    let (found, remedy) = match error {
        TapError::DeviceNode(e) => (say(e), ABOVE),
        TapError::WrongDevice => ("/dev/net/tun is not the TUN driver's device".to_owned(), ABOVE),
        TapError::Attach { source, .. } => {
            (say(source), "Check the container's seccomp profile and security modules.")
        }
    };
    let check = Check::lacks(TAP, found, "Endpoints of kind tap and the demo do not work.", remedy);
    match error {
        TapError::DeviceNode(e) if e.kind() == io::ErrorKind::PermissionDenied => check.of_this_user(),
        _ => check,
    }
}

fn offload_check(found: Offloads) -> Check {
    const NAME: &str = "offloads";
    let all = [
        (found.vnet_header, "virtio-net header"),
        (found.checksum, "checksum"),
        (found.tso, "TSO"),
        (found.uso, "USO"),
    ];
    let list = |present| {
        let names = all.iter().filter(|(has, _)| *has == present).map(|(_, name)| *name).collect::<Vec<_>>();
        if names.is_empty() { "none".to_owned() } else { names.join(", ") }
    };
    if !found.tso {
        return Check::warn(
            NAME,
            format!("{}; without {}", list(true), list(false)),
            "TCP goes frame by frame: 6 to 8 times slower.",
            "A kernel whose tun driver has TUN_F_TSO4 and TUN_F_TSO6.",
        );
    }
    if !found.uso {
        return Check::warn(
            NAME,
            format!("{}; without {}", list(true), list(false)),
            "UDP super-frames (QUIC, WireGuard) are cut by the sender's kernel; TCP is not affected.",
            "Linux 6.2 or newer.",
        );
    }
    Check::ok(NAME, list(true))
}

fn packet_sockets() -> Check {
    const NAME: &str = "packet sockets";
    match Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(ALL_PROTOCOLS))) {
        Ok(_) => Check::ok(NAME, "AF_PACKET works"),
        Err(e) => Check::warn(
            NAME,
            format!("AF_PACKET: {}", say(&e)),
            "`pontoon port add` and `attach --kind veth` do not work; TAP endpoints do.",
            "Load the module (`modprobe af_packet`) or build with CONFIG_PACKET=y.",
        ),
    }
}

fn veth() -> Check {
    const NAME: &str = "veth";
    let attempt = || -> Result<(), Box<dyn std::error::Error>> {
        let links = Links::open()?;
        Ok(links.create_veth("pontoon-veth0", "pontoon-veth1", &Netns::current()?)?)
    };
    match attempt() {
        Ok(()) => Check::ok(NAME, "a pair was made in a throwaway namespace"),
        Err(e) => Check::warn(
            NAME,
            e.to_string(),
            "`attach --kind veth` does not work; TAP endpoints need no veth.",
            "Nothing, or `modprobe veth`.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Status;
    use super::*;

    #[test]
    fn a_wrong_device_is_no_matter_of_seccomp() {
        let wrong = refused(&TapError::WrongDevice);
        assert_eq!((wrong.status, wrong.users), (Status::Lacks, false));
        assert_eq!(wrong.remedy.unwrap(), "See the tun device above.");
        assert!(refused(&TapError::DeviceNode(io::ErrorKind::PermissionDenied.into())).users);
    }

    #[test]
    fn lacking_offloads_are_named_with_their_cost() {
        assert_eq!(offload_check(Offloads::ALL).status, Status::Ok);
        let without_uso = offload_check(Offloads { uso: false, ..Offloads::ALL });
        assert_eq!(without_uso.status, Status::Warn);
        assert!(without_uso.found.ends_with("without USO"), "{}", without_uso.found);
        let none = offload_check(Offloads::NONE);
        assert!(none.cost.unwrap().contains("slower"));
        assert!(none.found.starts_with("none; without virtio-net header"), "{}", none.found);
    }
}
