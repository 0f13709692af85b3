//! Reassembly of fragmented packets for the gateway (RFC 791, section 3.2), hard to abuse.
//!
//! Which bytes have come is a bitmap of eight-byte units: its size does not depend on order, number or holes of the
//! fragments, and one look tells a new fragment from a repeated and from an overlapping one. A fragment that
//! repeats what is there, byte for byte, is ignored; one that overlaps or contradicts (data behind the end, two
//! ends) takes its packet with it (RFC 5722 asks that of IPv6; nobody honest sends it in IPv4 either).
//!
//! Bound: [`MAX_PACKETS`] packets for each worker, [`PORT_PACKETS`] for each port; a packet has a buffer of 64 KiB and
//! a bitmap of 1 KiB, made when it is first needed and used again, so 4.1 MiB for each worker at the very most, and
//! nothing without fragments. One sender that sends packet after packet in order needs one place;
//! eight leave room for several hosts behind a port, and for loss.
//! Ageing: a packet that is not whole after 30 s (`TIMEOUT`, the kernel's ipfrag_time) is given up.
//! Eviction: a port at its share loses its own oldest packet; when all places are taken, the port that holds the most
//! loses its oldest. So a newcomer always gets a place, no port can take it from one that holds fewer, and lost
//! fragments never shut a port out until they time out.

use core::time::Duration;
use std::net::Ipv4Addr;

use crate::network::{PortId, Snapshot};
use crate::time::Timestamp;
use crate::verdict::DropReason;

/// Packets that one worker waits for at most.
pub(super) const MAX_PACKETS: usize = 64;
/// Packets that one port may have waiting.
pub(super) const PORT_PACKETS: usize = 8;
/// How long the rest of a packet may take, from its first fragment on.
pub(super) const TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes in a unit of the bitmap: fragment offsets count in these.
const UNIT: usize = 8;
/// Longest IPv4 packet in bytes, header included.
const MAX_PACKET_LEN: usize = 65_535;

/// What fragments of one packet have in common (RFC 791), and the port: nobody can add to another port's packets.
/// The destination is the gateway's address and the protocol ICMP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) port: PortId,
    pub(super) src: Ipv4Addr,
    pub(super) ident: u16,
}

/// One fragment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fragment<'a> {
    /// Length in bytes of its IPv4 header.
    pub(super) header_len: usize,
    /// Bytes of the packet's payload before it.
    pub(super) offset: usize,
    /// More fragments follow.
    pub(super) more: bool,
    pub(super) payload: &'a [u8],
}

impl Fragment<'_> {
    fn end(&self) -> usize {
        self.offset + self.payload.len()
    }

    /// All fragments but the last come in whole units, and the packet stays within 65,535 bytes ("ping of death").
    fn is_well_formed(&self) -> bool {
        !self.payload.is_empty()
            && (!self.more || self.payload.len().is_multiple_of(UNIT))
            && self.header_len + self.end() <= MAX_PACKET_LEN
    }
}

/// A packet that is given up: the port it came by, and the bytes of it that had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lost {
    pub(super) port: PortId,
    pub(super) bytes: usize,
}

/// A packet of which something has come, or a free place with its buffers.
#[derive(Debug, Clone)]
struct Packet {
    /// `None`: the place is free.
    key: Option<Key>,
    started: Timestamp,
    /// One bit for each unit that has come.
    seen: Box<[u64]>,
    /// How many bits are set.
    units: usize,
    /// Where the data behind all others ends.
    highest: usize,
    /// Where the packet ends, once its last fragment is there.
    end: Option<usize>,
    bytes: Box<[u8]>,
}

impl Packet {
    fn new() -> Self {
        let units = (MAX_PACKET_LEN + 1) / UNIT;
        Self {
            key: None,
            started: Timestamp::ZERO,
            seen: vec![0; units / 64].into_boxed_slice(),
            units: 0,
            highest: 0,
            end: None,
            bytes: vec![0; MAX_PACKET_LEN + 1].into_boxed_slice(),
        }
    }

    fn start(&mut self, key: Key, now: Timestamp) {
        self.key = Some(key);
        self.started = now;
        self.seen.fill(0);
        (self.units, self.highest, self.end) = (0, 0, None);
    }

    fn give_up(&mut self) -> Option<Lost> {
        let bytes = (self.units * UNIT).min(self.highest);
        self.key.take().map(|key| Lost { port: key.port, bytes })
    }

    fn is_of(&self, port: PortId) -> bool {
        self.key.is_some_and(|key| key.port == port)
    }

    fn due(&self) -> Option<Timestamp> {
        self.key.map(|_| self.started + TIMEOUT)
    }

    /// Adds a well-formed fragment. Returns whether the packet is whole.
    fn add(&mut self, fragment: Fragment<'_>) -> Result<bool, DropReason> {
        let contradicts = match self.end {
            Some(end) if fragment.more => fragment.end() >= end,
            Some(end) => fragment.end() != end,
            None => !fragment.more && self.highest >= fragment.end(),
        };
        if contradicts {
            return Err(DropReason::FragmentOverlap);
        }
        let range = fragment.offset..fragment.end();
        let units = fragment.offset / UNIT..fragment.end().div_ceil(UNIT);
        let seen: usize =
            words(units.clone()).map(|(word, mask)| (self.seen[word] & mask).count_ones() as usize).sum();
        if seen > 0 {
            let repeated = seen == units.len() && self.bytes[range] == *fragment.payload;
            return if repeated { Ok(false) } else { Err(DropReason::FragmentOverlap) };
        }
        self.bytes[range].copy_from_slice(fragment.payload);
        self.units += units.len();
        words(units).for_each(|(word, mask)| self.seen[word] |= mask);
        self.highest = self.highest.max(fragment.end());
        if !fragment.more {
            self.end = Some(fragment.end());
        }
        Ok(self.end.is_some_and(|end| self.units == end.div_ceil(UNIT)))
    }
}

/// The words of the bitmap that `units` touch, each with the bits that belong to them.
fn words(units: core::ops::Range<usize>) -> impl Iterator<Item = (usize, u64)> {
    let below = |bits: usize| if bits >= 64 { u64::MAX } else { (1 << bits) - 1 };
    (units.start / 64..units.end.div_ceil(64)).map(move |word| {
        let base = word * 64;
        (word, below(units.end - base) & !below(units.start.saturating_sub(base)))
    })
}

/// Packets for gateways of which something is still missing.
#[derive(Debug, Clone, Default)]
pub(super) struct Reassembly {
    packets: Vec<Packet>,
}

impl Reassembly {
    /// Adds a fragment. Returns the payload of the packet if that made it whole. A packet that had to make room is
    /// told to `evicted`.
    ///
    /// # Errors
    /// [`DropReason::GatewayMalformed`]; [`DropReason::FragmentOverlap`], and then the packet is given up.
    pub(super) fn add(
        &mut self,
        now: Timestamp,
        key: Key,
        fragment: Fragment<'_>,
        evicted: impl FnOnce(Lost),
    ) -> Result<Option<&[u8]>, DropReason> {
        if !fragment.is_well_formed() {
            return Err(DropReason::GatewayMalformed);
        }
        let place = match self.packets.iter().position(|packet| packet.key == Some(key)) {
            Some(place) => place,
            None => {
                let (place, lost) = self.make_room(key.port);
                if let Some(lost) = lost {
                    evicted(lost);
                }
                self.packets[place].start(key, now);
                place
            }
        };
        let packet = &mut self.packets[place];
        let whole = packet.add(fragment).inspect_err(|_| {
            packet.give_up();
        })?;
        if !whole {
            return Ok(None);
        }
        // The bytes stay where they are until the place is used again.
        packet.key = None;
        Ok(Some(&packet.bytes[..packet.highest]))
    }

    /// A free place for a packet of `port`, and the packet that had to go for it.
    fn make_room(&mut self, port: PortId) -> (usize, Option<Lost>) {
        let own = self.held_by(port);
        let mut victim = port;
        if own < PORT_PACKETS {
            if let Some(free) = self.packets.iter().position(|packet| packet.key.is_none()) {
                return (free, None);
            }
            if self.packets.len() < MAX_PACKETS {
                self.packets.push(Packet::new());
                return (self.packets.len() - 1, None);
            }
            let holders = self.packets.iter().filter_map(|packet| packet.key).map(|key| key.port);
            if let Some(most) = holders.max_by_key(|&port| self.held_by(port))
                && self.held_by(most) > own
            {
                victim = most;
            }
        }
        let of_victim = self.packets.iter().enumerate().filter(|(_, packet)| packet.is_of(victim));
        let oldest = of_victim.min_by_key(|(_, packet)| packet.started).map_or(0, |(place, _)| place);
        (oldest, self.packets[oldest].give_up())
    }

    fn held_by(&self, port: PortId) -> usize {
        self.packets.iter().filter(|packet| packet.is_of(port)).count()
    }

    /// Gives up what waited too long and tells each to `lost`. Returns when the next has waited too long.
    pub(super) fn expire(&mut self, now: Timestamp, mut lost: impl FnMut(Lost)) -> Option<Timestamp> {
        let mut next: Option<Timestamp> = None;
        for packet in &mut self.packets {
            let Some(due) = packet.due() else { continue };
            if due <= now {
                if let Some(packet) = packet.give_up() {
                    lost(packet);
                }
            } else {
                next = Some(next.map_or(due, |next| next.min(due)));
            }
        }
        next
    }

    /// Gives up packets of ports that `snapshot` no longer has.
    pub(super) fn forget_missing_ports(&mut self, snapshot: &Snapshot) {
        for packet in &mut self.packets {
            if packet.key.is_some_and(|key| snapshot.port(key.port).is_none()) {
                packet.key = None;
            }
        }
    }
}
