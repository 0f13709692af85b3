//! What the host's way to the outside carries: networks are made as wide as it.

use std::net::Ipv4Addr;

use super::kernel::{Kernel, RouteQuery};
use crate::error::Error;

/// Addresses that none but a default route should lead to: of what is reserved for future use (RFC 1112, section 4), and of what is for
/// documentation (RFC 5737). Labs and some providers have one or the other all the same.
const ELSEWHERE: [Ipv4Addr; 4] = [
    Ipv4Addr::new(240, 0, 0, 1),
    Ipv4Addr::new(192, 0, 2, 1),
    Ipv4Addr::new(198, 51, 100, 1),
    Ipv4Addr::new(203, 0, 113, 1),
];

/// The longest prefix of a default route: VPNs have two of half the addresses each, so as to leave the host's own alone.
const HALF: u8 = 1;

/// The MTU in bytes of the interface that the default route leaves by; none without such a route. The kernel is asked as packets
/// would go, for policy rules may put another table's default route in front of the main one's.
///
/// # Errors
/// The kernel cannot be asked.
pub(crate) fn mtu() -> Result<Option<u32>, Error> {
    let cannot = || super::cannot("ask the kernel for the default route");
    let mut kernel = Kernel::open().map_err(cannot())?;
    for destination in ELSEWHERE {
        let query = RouteQuery { destination, source: None, interface: None };
        let route = kernel.route(query).map_err(cannot())?;
        if let Some(route) = route.ok().filter(|route| route.prefix_len <= HALF) {
            let interfaces = kernel.interfaces().map_err(cannot())?;
            return Ok(interfaces.get(&route.interface).map(|interface| u32::from(interface.mtu)));
        }
    }
    Ok(None)
}
