//! The thread that answers the engine's questions: a packet waits for each of them.

use std::net::Ipv4Addr;
use std::sync::Arc;

use crossbeam_channel::{Receiver, never, select};
use pontoon_dataplane::NetworkId;
use pontoon_dataplane::edge::config::{Uplink, UplinkChoice};
use pontoon_dataplane::edge::punt::{Answer, Neighbour, Request, Route};
use pontoon_dataplane::engine::EngineError;

use super::kernel::{Kernel, KernelRoute, RouteQuery};
use super::state::{Shared, Ways};

/// Questions about ports that are answered together, so that uplinks' filters are changed once for all of them.
const AT_ONCE: usize = 64;

/// Answers until `stop` is closed.
pub(super) fn run(shared: &Arc<Shared>, kernel: Kernel, stop: &Receiver<()>) {
    let mut answers = Answers { shared, kernel };
    let mut requests = shared.engine.requests();
    loop {
        select! {
            recv(requests) -> first => match first {
                Ok(first) => {
                    let more = requests.try_iter().take(AT_ONCE - 1);
                    let batch: Vec<Request> = std::iter::once(first).chain(more).collect();
                    if let Err(error) = answers.serve(&batch) {
                        tracing::error!("the edge's questions cannot be answered: {error}");
                    }
                }
                // The engine has ended.
                Err(_) => requests = never(),
            },
            recv(stop) -> _ => return,
        }
    }
}

struct Answers<'a> {
    shared: &'a Shared,
    kernel: Kernel,
}

impl Answers<'_> {
    /// Routes first: they take microseconds.
    fn serve(&mut self, batch: &[Request]) -> Result<(), EngineError> {
        let engine = &self.shared.engine;
        for request in batch {
            if let &Request::Route { network, destination } = request {
                let ask = || {
                    let route = route(&mut self.kernel, &self.shared.ways(), network, destination);
                    Answer::Route { network, destination, route }
                };
                self.shared.route_changes.answer(ask, |answer| engine.answer(answer))?;
            }
        }
        let (mut answers, mut changed) = (Vec::new(), false);
        for request in batch {
            changed |= self.ask_leases(request, &mut answers);
        }
        if changed {
            // Before the answer: with it packets leave, and what comes back must be heard.
            self.shared.follow_leases(&self.shared.lock())?;
        }
        answers.into_iter().try_for_each(|answer| self.tell(answer))
    }

    /// Tells the engine about a port. One that is kept may have been published meanwhile, and the news of that have overtaken this.
    fn tell(&self, answer: Answer) -> Result<(), EngineError> {
        let Shared { engine, leases, .. } = self.shared;
        let kept = match answer {
            Answer::PortKept { protocol, port } => Some((protocol, port)),
            _ => None,
        };
        engine.answer(answer)?;
        match kept {
            Some((protocol, port)) if !leases.is_held(protocol, port) => {
                engine.answer(Answer::PortsLost { protocol, ports: vec![port] })
            }
            _ => Ok(()),
        }
    }

    /// Returns whether uplinks must hear other ports from now on.
    fn ask_leases(&self, request: &Request, answers: &mut Vec<Answer>) -> bool {
        let leases = &self.shared.leases;
        match *request {
            Request::Route { .. } => false,
            Request::KeepPort { protocol, port } => match leases.keep(protocol, port) {
                Ok(()) => {
                    answers.push(Answer::PortKept { protocol, port });
                    true
                }
                Err(error) => {
                    tracing::debug!("a source port is not kept: {error}");
                    answers.push(Answer::PortRefused { protocol, port });
                    false
                }
            },
            Request::ReleasePort { protocol, port } => {
                leases.release(protocol, port);
                true
            }
            // The whole pool is heard from the start.
            Request::MorePorts { protocol } => {
                let ports = leases.more(protocol);
                if ports.is_empty() {
                    tracing::debug!(%protocol, "no more ports of the pool are to be had");
                }
                answers.push(Answer::PortsHeld { protocol, ports });
                false
            }
        }
    }
}

/// The kernel's way, if it is one by an uplink.
pub(super) fn route(
    kernel: &mut Kernel,
    ways: &Ways,
    network: NetworkId,
    destination: Ipv4Addr,
) -> Option<Route> {
    let connection = ways.networks.get(&network)?;
    let interface = match connection.choice {
        UplinkChoice::Auto => None,
        UplinkChoice::Only(0) | UplinkChoice::None => return None,
        UplinkChoice::Only(index) => Some(index),
    };
    // Policy rules about the subnet hold for its gateway's address, if the host has it.
    let is_own = ways.host_addresses.binary_search(&connection.gateway).is_ok();
    let source = is_own.then_some(connection.gateway);
    let found = match kernel.route(RouteQuery { destination, source, interface }) {
        Ok(Ok(found)) => found,
        Ok(Err(why)) => {
            tracing::debug!(%destination, "no route: {why}");
            return None;
        }
        Err(error) => {
            tracing::warn!(%destination, "cannot ask the kernel for a route: {error}");
            return None;
        }
    };
    let Some(uplink) = ways.uplinks.iter().find(|it| it.interface_index == found.interface) else {
        tracing::debug!(%destination, "no route: the interface {} is no uplink", found.interface);
        return None;
    };
    by_uplink(kernel, ways, uplink, found, destination)
}

fn by_uplink(
    kernel: &mut Kernel,
    ways: &Ways,
    uplink: &Uplink,
    found: KernelRoute,
    destination: Ipv4Addr,
) -> Option<Route> {
    let next_hop = found.gateway.unwrap_or(destination);
    let source = found.source.or_else(|| source_towards(&uplink.addresses, next_hop))?;
    let neighbour = match uplink.mac {
        Some(own) => {
            let told = kernel.neighbour(uplink.interface_index, next_hop).unwrap_or_default();
            // As the kernel does (net/ipv4/arp.c, arp_constructor).
            let none = ways.without_arp.contains(&uplink.interface_index).then_some(Neighbour::Fixed(own));
            told.or(none)
        }
        None => None,
    };
    let mtu = found.mtu.map_or(uplink.mtu, |mtu| uplink.mtu.min(u16::try_from(mtu).unwrap_or(u16::MAX)));
    Some(Route { uplink: uplink.port, next_hop, source, mtu, neighbour })
}

/// The address in the next hop's subnet, else the first, as the kernel's masquerading chooses.
fn source_towards(addresses: &[(Ipv4Addr, u8)], next_hop: Ipv4Addr) -> Option<Ipv4Addr> {
    let near = |&&(address, prefix_len): &&(Ipv4Addr, u8)| {
        ipnet::Ipv4Net::new(address, prefix_len).is_ok_and(|net| net.contains(&next_hop))
    };
    addresses.iter().find(near).or(addresses.first()).map(|&(address, _)| address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_is_near_the_next_hop() {
        let addresses = [([192, 0, 2, 1].into(), 24), ([198, 51, 100, 1].into(), 24)];
        let towards = |next_hop: [u8; 4]| source_towards(&addresses, next_hop.into());
        assert_eq!(towards([198, 51, 100, 254]), Some([198, 51, 100, 1].into()));
        assert_eq!(towards([192, 0, 2, 254]), Some([192, 0, 2, 1].into()));
        assert_eq!(towards([203, 0, 113, 1]), Some([192, 0, 2, 1].into()));
        assert_eq!(source_towards(&[], [203, 0, 113, 1].into()), None);
    }
}
