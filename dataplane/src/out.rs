//! The sink that a decision is written into: where the ingress frame leaves, and frames made on the way.

use core::ops::Range;

use crate::frame::Frame;
use crate::network::{MAX_PORTS, PortId};
use crate::offload::Offload;

/// Bytes of frames that one decision may make: a fragmented echo reply of 64 KiB with all its headers
/// at the smallest MTU of 68 would not fit, one at 576 does.
pub const MAX_MADE_BYTES: usize = 80 * 1024;

/// Zero or more (egress, frame, metadata). One `Out` is reused for every frame of a worker.
#[derive(Debug)]
pub struct Out {
    copies: Vec<PortId>,
    made: Vec<Made>,
    arena: Vec<u8>,
}

#[derive(Debug, Clone)]
struct Made {
    egress: PortId,
    range: Range<usize>,
}

impl Out {
    /// An empty sink, with all the room that it will ever have.
    pub fn new() -> Self {
        Self {
            copies: Vec::with_capacity(MAX_PORTS),
            made: Vec::with_capacity(MAX_PORTS),
            arena: Vec::with_capacity(MAX_MADE_BYTES),
        }
    }

    /// Forgets everything.
    #[inline]
    pub fn clear(&mut self) {
        self.copies.clear();
        self.made.clear();
        self.arena.clear();
    }

    /// The ingress frame leaves by `egress`. Returns whether there was room.
    #[inline]
    pub fn forward(&mut self, egress: PortId) -> bool {
        let room = self.copies.len() < MAX_PORTS;
        if room {
            self.copies.push(egress);
        }
        room
    }

    /// Makes a frame of `len` bytes, zeroed, that `fill` writes and that leaves by each of `egresses`.
    /// Returns whether there was room; without room nothing is made.
    pub fn make(&mut self, egresses: &[PortId], len: usize, fill: impl FnOnce(&mut [u8])) -> bool {
        let start = self.arena.len();
        if start + len > MAX_MADE_BYTES || self.made.len() + egresses.len() > MAX_PORTS {
            return false;
        }
        self.arena.resize(start + len, 0);
        fill(&mut self.arena[start..]);
        self.made.extend(egresses.iter().map(|&egress| Made { egress, range: start..start + len }));
        true
    }

    /// Ports by which the ingress frame leaves.
    #[inline]
    pub fn copies(&self) -> &[PortId] {
        &self.copies
    }

    /// Frames made by the core, in order. They need no offload.
    pub fn made(&self) -> impl Iterator<Item = (PortId, Frame<'_>)> {
        self.made.iter().map(|made| {
            let bytes = &self.arena[made.range.clone()];
            (made.egress, Frame { bytes, offload: Offload::NONE })
        })
    }

    /// Whether the core made any frame.
    #[inline]
    pub fn has_made(&self) -> bool {
        !self.made.is_empty()
    }
}

impl Default for Out {
    fn default() -> Self {
        Self::new()
    }
}
