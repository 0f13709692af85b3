//! Reading an input from its front.

use pontoon_dataplane::offload::{Offload, VNET_HEADER_LEN};

/// What is left of an input.
pub(crate) struct Input<'a>(pub(crate) &'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (front, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*front)
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn word(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    /// At most `len` bytes: fewer when the input ends.
    pub(crate) fn bytes(&mut self, len: usize) -> &'a [u8] {
        let (front, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        front
    }

    /// A virtio-net header; one that no port would let in counts as empty.
    pub(crate) fn offload(&mut self) -> Option<Offload> {
        let header: [u8; VNET_HEADER_LEN] = self.array()?;
        Some(Offload::parse(&header).unwrap_or(Offload::NONE))
    }
}
