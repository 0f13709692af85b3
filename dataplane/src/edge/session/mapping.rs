//! Endpoint-independent mappings (RFC 4787, REQ-1): one external address and port for each internal one, whoever it speaks to.
//!
//! # Bounds
//!
//! A mapping lives as long as sessions use it, and has its external port for itself: there are never more mappings
//! than sessions, nor than held ports for each of the host's addresses.

use std::collections::HashMap;
use std::net::Ipv6Addr;

use crate::edge::tuple::Protocol;

/// An address (IPv4 ones as `::ffff:a.b.c.d`) and a port, or an ICMP identifier.
pub type Transport = (Ipv6Addr, u16);

/// All mappings, by either side.
#[derive(Debug, Default)]
pub(super) struct Mappings {
    /// External side, and how many sessions use it.
    by_internal: HashMap<(Protocol, Transport), (Transport, u32)>,
    by_external: HashMap<(Protocol, Transport), Transport>,
}

impl Mappings {
    /// How `internal` looks from outside.
    pub(super) fn external(&self, protocol: Protocol, internal: Transport) -> Option<Transport> {
        self.by_internal.get(&(protocol, internal)).map(|&(external, _)| external)
    }

    /// Who is behind `external`.
    pub(super) fn internal(&self, protocol: Protocol, external: Transport) -> Option<Transport> {
        self.by_external.get(&(protocol, external)).copied()
    }

    /// How many sessions use the mapping of `internal`.
    pub(super) fn sessions(&self, protocol: Protocol, internal: Transport) -> u32 {
        self.by_internal.get(&(protocol, internal)).map_or(0, |&(_, sessions)| sessions)
    }

    /// Whether a session could use this mapping: it is there, or neither side is mapped otherwise.
    pub(super) fn admits(&self, protocol: Protocol, internal: Transport, external: Transport) -> bool {
        match (self.external(protocol, internal), self.internal(protocol, external)) {
            (None, None) => true,
            (Some(its_external), Some(its_internal)) => its_external == external && its_internal == internal,
            _ => false,
        }
    }

    /// One more session uses the mapping, which [`Mappings::admits`] it. Whether it is the first.
    pub(super) fn attach(&mut self, protocol: Protocol, internal: Transport, external: Transport) -> bool {
        let sessions = &mut self.by_internal.entry((protocol, internal)).or_insert((external, 0)).1;
        *sessions += 1;
        let is_first = *sessions == 1;
        self.by_external.insert((protocol, external), internal);
        is_first
    }

    /// One session less uses the mapping; with the last one it ends. Whether it was the last.
    pub(super) fn detach(&mut self, protocol: Protocol, internal: Transport) -> bool {
        let Some((external, sessions)) = self.by_internal.get_mut(&(protocol, internal)) else {
            return false;
        };
        *sessions -= 1;
        let is_last = *sessions == 0;
        if is_last {
            let external = *external;
            self.by_internal.remove(&(protocol, internal));
            self.by_external.remove(&(protocol, external));
        }
        is_last
    }
}
