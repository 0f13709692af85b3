//! Next hops on Ethernet uplinks: who has which MAC, asked by ARP of our own (RFC 826, RFC 4861 section 7.3 for the states).
//!
//! | state | a packet | each second |
//! |---|---|---|
//! | unknown | becomes *asked* | |
//! | asked | waits | broadcast request, three in all, then *failed* |
//! | reachable | goes; after 30 s, or when routes or links change, it becomes *probed* | |
//! | probed | goes | request, the first one by unicast, three in all, then *failed* |
//! | failed | is refused | unknown again after one second |
//!
//! What the kernel has learned is a hint: it is used, and probed at once. What the kernel itself asks nobody about ([`Neighbour::Fixed`])
//! is believed, and remembered nowhere here.
//!
//! Bound: 1024 next hops, as the kernel's neighbour table (gc_thresh3), half of every eight for one uplink at most where others
//! want them ([`Cache`]). Nothing is learned from who was not asked about.

use core::time::Duration;
use std::net::Ipv4Addr;

use super::cache::{Cache, Key};
use super::config::{EdgeConfig, Uplink};
use super::punt::Neighbour;
use crate::addr::MacAddr;
use crate::gateway::arp;
use crate::network::PortId;
use crate::out::Out;
use crate::time::Timestamp;

/// Next hops that are remembered at most.
const CAPACITY: usize = 1024;
/// A MAC is believed for this long after it was last heard (RFC 4861: REACHABLE_TIME).
const REACHABLE: Duration = Duration::from_secs(30);
/// Time between two requests (RFC 4861: RETRANS_TIMER).
const RETRY: Duration = Duration::from_secs(1);
/// Requests before giving up (RFC 4861: MAX_MULTICAST_SOLICIT).
const TRIES: u8 = 3;
/// How long a packet waits: for all requests, and a little more.
pub(super) const PATIENCE: Duration = Duration::from_secs(4);

/// What a next hop is remembered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct NeighbourKey {
    pub(super) uplink: PortId,
    pub(super) address: Ipv4Addr,
}

impl Key for NeighbourKey {
    fn owner(&self) -> u16 {
        self.uplink.0
    }
}

/// What is known of a next hop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resolved {
    /// Its MAC.
    Mac(MacAddr),
    /// It has been asked.
    Asked,
    /// It does not answer.
    Failed,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Requests were sent; the next one, or giving up, is due.
    Asked {
        tries: u8,
        due: Timestamp,
    },
    Reachable {
        mac: MacAddr,
        heard: Timestamp,
    },
    Probed {
        mac: MacAddr,
        tries: u8,
        due: Timestamp,
    },
    Failed {
        until: Timestamp,
    },
}

/// What became of next hops.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Change {
    /// Packets that wait for one may go on (or learn that it failed).
    pub(super) resolved: bool,
    /// Whoever remembers a MAC must ask again.
    pub(super) stale: bool,
}

/// The memory of next hops.
#[derive(Debug)]
pub(super) struct Neighbours {
    cache: Cache<NeighbourKey, State>,
    due: Option<Timestamp>,
}

impl Neighbours {
    pub(super) fn new(seed: u64) -> Self {
        Self { cache: Cache::new(CAPACITY, seed), due: None }
    }

    /// The MAC of `address` behind `uplink`; asks on the link where needed, about who is unknown only if the packet `may_wait` for
    /// the answer. `told` is what the kernel's table says.
    pub(super) fn resolve(
        &mut self,
        now: Timestamp,
        uplink: &Uplink,
        (address, told): (Ipv4Addr, Option<Neighbour>),
        may_wait: bool,
        out: &mut Out,
    ) -> Resolved {
        let key = NeighbourKey { uplink: uplink.port, address };
        let (resolved, question) = judge(self.cache.get(&key, now).copied(), told, now, may_wait);
        let Some(to) = question else { return resolved };
        ask(uplink, address, to, out);
        let (tries, due) = (1, now + RETRY);
        let state = match resolved {
            Resolved::Mac(mac) => State::Probed { mac, tries, due },
            Resolved::Asked | Resolved::Failed => State::Asked { tries, due },
        };
        self.cache.insert(key, now, state);
        self.due = Some(self.due.map_or(due, |earlier| earlier.min(due)));
        resolved
    }

    /// What [`Neighbours::resolve`] would say, and whom it would [`ask`], without a change.
    pub(super) fn rehearse(
        &self,
        now: Timestamp,
        key: NeighbourKey,
        told: Option<Neighbour>,
        may_wait: bool,
    ) -> (Resolved, Option<MacAddr>) {
        judge(self.cache.peek(&key).copied(), told, now, may_wait)
    }

    /// A neighbour has said its MAC.
    pub(super) fn hear(&mut self, now: Timestamp, key: NeighbourKey, mac: MacAddr) -> Change {
        let Some(state) = self.cache.get(&key, now) else { return Change::default() };
        let change = match *state {
            State::Asked { .. } | State::Failed { .. } => Change { resolved: true, stale: false },
            State::Reachable { mac: old, .. } | State::Probed { mac: old, .. } => {
                Change { resolved: false, stale: old != mac }
            }
        };
        *state = State::Reachable { mac, heard: now };
        change
    }

    /// Something has changed about links or routes: whoever is in use is probed with the next tick. Another machine may stand
    /// where one stood, and the kernel forgets its neighbours as well when a link loses its carrier.
    pub(super) fn distrust(&mut self, now: Timestamp) {
        let due = &mut self.due;
        self.cache.retain(|_, state| {
            if let State::Reachable { mac, heard } = *state
                && now.since(heard) < REACHABLE
            {
                *state = State::Probed { mac, tries: 0, due: now };
                *due = Some(now);
            }
            true
        });
    }

    /// Forgets what is behind uplinks that there are no more.
    pub(super) fn adopt(&mut self, config: &EdgeConfig) {
        self.cache.retain(|key, _| config.uplink(key.uplink).is_some());
    }

    /// Asks again and gives up what is due; `failed` is told whom. Returns when it wants to be called again.
    pub(super) fn tick(
        &mut self,
        now: Timestamp,
        config: &EdgeConfig,
        out: &mut Out,
        mut failed: impl FnMut(NeighbourKey),
    ) -> Option<Timestamp> {
        if self.due.is_none_or(|due| now < due) {
            return self.due;
        }
        let mut next: Option<Timestamp> = None;
        self.cache.retain(|key, state| {
            let (to, tries, due) = match state {
                State::Probed { mac, tries, due } if *tries == 0 => (*mac, tries, due),
                State::Asked { tries, due } | State::Probed { tries, due, .. } => {
                    (MacAddr::BROADCAST, tries, due)
                }
                State::Reachable { .. } => return true,
                State::Failed { until } => return now < *until,
            };
            if now >= *due {
                if *tries == TRIES {
                    *state = State::Failed { until: now + RETRY };
                    failed(*key);
                    return true;
                }
                if let Some(uplink) = config.uplink(key.uplink) {
                    ask(uplink, key.address, to, out);
                }
                (*tries, *due) = (*tries + 1, now + RETRY);
            }
            next = Some(next.map_or(*due, |next| next.min(*due)));
            true
        });
        self.due = next;
        next
    }
}

/// What is known of a next hop by its state and by what the kernel's table says, and who is to be asked on the link now, if anybody.
fn judge(
    state: Option<State>,
    told: Option<Neighbour>,
    now: Timestamp,
    may_wait: bool,
) -> (Resolved, Option<MacAddr>) {
    let hint = match told {
        Some(Neighbour::Fixed(mac)) => return (Resolved::Mac(mac), None),
        Some(Neighbour::Learned(mac)) => Some(mac),
        None => None,
    };
    match (state, hint) {
        (Some(State::Asked { .. }), _) => (Resolved::Asked, None),
        (Some(State::Probed { mac, .. }), _) => (Resolved::Mac(mac), None),
        (Some(State::Reachable { mac, heard }), _) if now.since(heard) < REACHABLE => {
            (Resolved::Mac(mac), None)
        }
        (Some(State::Failed { until }), _) if now < until => (Resolved::Failed, None),
        (Some(State::Reachable { mac, .. }), _) | (None, Some(mac)) => (Resolved::Mac(mac), Some(mac)),
        (Some(State::Failed { .. }) | None, _) => (Resolved::Asked, may_wait.then_some(MacAddr::BROADCAST)),
    }
}

/// Asks `to` for the MAC of `address`, from the uplink's own MAC and its address on that link.
pub(super) fn ask(uplink: &Uplink, address: Ipv4Addr, to: MacAddr, out: &mut Out) {
    let (Some(mac), Some(source)) = (uplink.mac, uplink.address_towards(address)) else { return };
    arp::ask((mac, source), (to, address), uplink.port, out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::EthernetView;

    const HOP: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
    const MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 7]);
    const KEY: NeighbourKey = NeighbourKey { uplink: PortId(9), address: HOP };

    fn uplink() -> Uplink {
        Uplink {
            port: PortId(9),
            interface_index: 2,
            name: "eth0".into(),
            mac: Some(MacAddr([2, 0, 0, 0, 0, 9])),
            addresses: vec![(Ipv4Addr::new(203, 0, 113, 5), 24), (Ipv4Addr::new(198, 51, 100, 2), 24)],
            mtu: 1500,
        }
    }

    fn config() -> EdgeConfig {
        EdgeConfig { uplinks: vec![uplink()], ..EdgeConfig::default() }
    }

    /// Whom requests in `out` went to.
    fn asked(out: &Out) -> Vec<MacAddr> {
        out.made().map(|(_, frame)| EthernetView::parse(frame.bytes).unwrap().dst).collect()
    }

    fn resolve(neighbours: &mut Neighbours, secs: u64, hint: Option<MacAddr>) -> (Resolved, Vec<MacAddr>) {
        resolve_told(neighbours, secs, hint.map(Neighbour::Learned))
    }

    fn resolve_told(
        neighbours: &mut Neighbours,
        secs: u64,
        told: Option<Neighbour>,
    ) -> (Resolved, Vec<MacAddr>) {
        let mut out = Out::new();
        let resolved = neighbours.resolve(Timestamp::from_secs(secs), &uplink(), (HOP, told), true, &mut out);
        (resolved, asked(&out))
    }

    /// Lets time pass second by second: who was asked, and whether it failed.
    fn pass(neighbours: &mut Neighbours, secs: core::ops::RangeInclusive<u64>) -> (Vec<MacAddr>, bool) {
        let (mut all, mut given_up) = (Vec::new(), false);
        for second in secs {
            let mut out = Out::new();
            neighbours.tick(Timestamp::from_secs(second), &config(), &mut out, |_| given_up = true);
            all.extend(asked(&out));
        }
        (all, given_up)
    }

    #[test]
    fn a_request_names_the_uplinks_mac_and_its_address_on_the_link() {
        let mut out = Out::new();
        Neighbours::new(7).resolve(Timestamp::ZERO, &uplink(), (HOP, None), true, &mut out);
        let (egress, frame) = out.made().next().unwrap();
        assert_eq!(egress, PortId(9));
        let expected = [
            &[0xff; 6][..],
            &[2, 0, 0, 0, 0, 9, 0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1],
            &[2, 0, 0, 0, 0, 9, 198, 51, 100, 2, 0, 0, 0, 0, 0, 0, 198, 51, 100, 1],
        ];
        assert_eq!(frame.bytes, expected.concat());
    }

    #[test]
    fn three_requests_then_failed_for_a_second() {
        let mut neighbours = Neighbours::new(7);
        assert_eq!(resolve(&mut neighbours, 0, None), (Resolved::Asked, vec![MacAddr::BROADCAST]));
        assert_eq!(resolve(&mut neighbours, 0, None), (Resolved::Asked, vec![]));
        assert_eq!(pass(&mut neighbours, 1..=2), (vec![MacAddr::BROADCAST; 2], false));
        assert_eq!(pass(&mut neighbours, 3..=3), (vec![], true));
        assert_eq!(resolve(&mut neighbours, 3, None), (Resolved::Failed, vec![]));
        assert_eq!(resolve(&mut neighbours, 4, None), (Resolved::Asked, vec![MacAddr::BROADCAST]));
    }

    #[test]
    fn an_answer_serves_for_thirty_seconds_and_is_probed_while_it_is_used() {
        let mut neighbours = Neighbours::new(7);
        resolve(&mut neighbours, 0, None);
        let change = neighbours.hear(Timestamp::from_secs(1), KEY, MAC);
        assert_eq!(change, Change { resolved: true, stale: false });
        assert_eq!(resolve(&mut neighbours, 30, None), (Resolved::Mac(MAC), vec![]));
        assert_eq!(resolve(&mut neighbours, 31, None), (Resolved::Mac(MAC), vec![MAC]), "unicast first");
        assert_eq!(pass(&mut neighbours, 32..=33), (vec![MacAddr::BROADCAST; 2], false));
        assert_eq!(resolve(&mut neighbours, 33, None), (Resolved::Mac(MAC), vec![]));
        let moved = MacAddr([2, 0, 0, 0, 0, 8]);
        let change = neighbours.hear(Timestamp::from_secs(33), KEY, moved);
        assert_eq!(change, Change { resolved: false, stale: true });
        assert_eq!(resolve(&mut neighbours, 34, None), (Resolved::Mac(moved), vec![]));
    }

    #[test]
    fn the_kernels_hint_is_used_and_probed() {
        let mut neighbours = Neighbours::new(7);
        assert_eq!(resolve(&mut neighbours, 0, Some(MAC)), (Resolved::Mac(MAC), vec![MAC]));
        assert_eq!(pass(&mut neighbours, 1..=3), (vec![MacAddr::BROADCAST; 2], true));
        assert_eq!(resolve(&mut neighbours, 3, Some(MAC)), (Resolved::Failed, vec![]));
    }

    #[test]
    fn whom_the_kernel_does_not_ask_is_never_asked() {
        let mut neighbours = Neighbours::new(7);
        // Not even if he was before, and failed.
        resolve(&mut neighbours, 0, Some(MAC));
        pass(&mut neighbours, 1..=3);
        let fixed = MacAddr([2, 0, 0, 0, 0, 8]);
        for second in [3, 4, 100] {
            let told = Some(Neighbour::Fixed(fixed));
            let rehearsed = neighbours.rehearse(Timestamp::from_secs(second), KEY, told, true);
            assert_eq!(rehearsed, (Resolved::Mac(fixed), None));
            assert_eq!(resolve_told(&mut neighbours, second, told), (Resolved::Mac(fixed), vec![]));
        }
        assert_eq!(pass(&mut neighbours, 5..=10), (vec![], false));
    }

    #[test]
    fn who_is_in_use_is_probed_after_a_change() {
        let mut neighbours = Neighbours::new(7);
        resolve(&mut neighbours, 0, None);
        neighbours.hear(Timestamp::from_secs(0), KEY, MAC);
        neighbours.distrust(Timestamp::from_secs(1));
        // It serves meanwhile, is asked by unicast and then by broadcast.
        assert_eq!(resolve(&mut neighbours, 1, None), (Resolved::Mac(MAC), vec![]));
        assert_eq!(pass(&mut neighbours, 1..=2), (vec![MAC, MacAddr::BROADCAST], false));
        let other = MacAddr([2, 0, 0, 0, 0, 8]);
        assert!(neighbours.hear(Timestamp::from_secs(2), KEY, other).stale);
        // Who has not been used for long is asked when he is.
        neighbours.distrust(Timestamp::from_secs(100));
        assert_eq!(pass(&mut neighbours, 100..=101), (vec![], false));
    }

    #[test]
    fn who_was_not_asked_about_is_not_learned() {
        let mut neighbours = Neighbours::new(7);
        neighbours.hear(Timestamp::ZERO, KEY, MAC);
        assert_eq!(resolve(&mut neighbours, 0, None).0, Resolved::Asked);
        neighbours.hear(Timestamp::ZERO, KEY, MAC);
        neighbours.adopt(&EdgeConfig::default());
        assert_eq!(resolve(&mut neighbours, 0, None).0, Resolved::Asked, "its uplink has gone meanwhile");
    }
}
