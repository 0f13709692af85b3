//! What the host's way to the outside carries: networks are made as wide as it.

use std::net::Ipv4Addr;

use super::kernel::{Kernel, RouteQuery};
use crate::error::Error;

/// An address that only a default route leads to (RFC 5737: for documentation, on no network).
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

/// The MTU in bytes of the interface that the default route leaves by; none without such a route.
///
/// # Errors
/// The kernel cannot be asked.
pub(crate) fn mtu() -> Result<Option<u32>, Error> {
    let cannot = || super::cannot("ask the kernel for the default route");
    let mut kernel = Kernel::open().map_err(cannot())?;
    let query = RouteQuery { destination: ELSEWHERE, source: None, interface: None };
    let Ok(route) = kernel.route(query).map_err(cannot())? else { return Ok(None) };
    let interfaces = kernel.interfaces().map_err(cannot())?;
    Ok(interfaces.get(&route.interface).map(|interface| u32::from(interface.mtu)))
}
