//! The sink that a decision is written into: where the ingress frame leaves, and frames made on the way.

use core::ops::Range;

use crate::edge::punt::Request;
use crate::frame::Frame;
use crate::network::{MAX_PORTS, PortId};
use crate::offload::Offload;

/// Bytes of frames that one decision may make: a fragmented echo reply of 64 KiB with all its headers
/// at the smallest MTU of 68 would not fit, one at 576 does.
pub const MAX_MADE_BYTES: usize = 80 * 1024;

/// Longest run of headers that a decision may put in front of a frame's payload: Ethernet, IPv4 and TCP with all their options
/// are 134 bytes, and an ICMP error has an IPv4 header and the start of another packet inside: 14 + 60 + 8 + 60 + 60.
pub const MAX_HEADERS_LEN: usize = 202;

/// Questions that one decision may have for control.
const MAX_REQUESTS: usize = 64;

/// Zero or more (egress, frame, metadata), and questions to control. One `Out` is reused for every frame of a worker.
#[derive(Debug)]
pub struct Out {
    copies: Box<[PortId]>,
    /// So many of them are taken. A vector would ask at each whether it has to grow.
    copied: usize,
    rewritten: Rewritten,
    is_rewritten: bool,
    made: Vec<Made>,
    arena: Vec<u8>,
    requests: Vec<Request>,
}

/// The ingress frame, leaving by one port with other headers: its first `skip` bytes are replaced by `headers`, the rest
/// stays where it is, up to `end`.
#[derive(Debug, Clone, Copy)]
pub struct Rewritten {
    /// Where it leaves.
    pub egress: PortId,
    /// Bytes of the ingress frame that are replaced; never less than there are in `headers`.
    pub skip: usize,
    /// Where the ingress frame's packet ends; bytes from there on are padding and are left out. Never less than `skip`.
    pub end: usize,
    /// What must still be done to the frame as it leaves.
    pub offload: Offload,
    headers: [u8; MAX_HEADERS_LEN],
    len: usize,
}

/// What takes the place of a frame's head, once its bytes are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewHead {
    /// How many bytes were written, at most `skip` and [`MAX_HEADERS_LEN`].
    pub len: usize,
    /// How many bytes of the frame they replace.
    pub skip: usize,
    /// Where the frame's packet ends, not before `skip`.
    pub end: usize,
    /// What must still be done to the frame as it leaves.
    pub offload: Offload,
}

impl Rewritten {
    /// The bytes that take the place of the first `skip`.
    #[inline]
    pub fn headers(&self) -> &[u8] {
        &self.headers[..self.len]
    }

    /// The whole frame, for whoever does not rewrite in place.
    pub fn assemble(&self, ingress: &Frame<'_>) -> Vec<u8> {
        [self.headers(), self.rest(ingress)].concat()
    }

    /// What stays of the ingress frame.
    #[inline]
    pub fn rest<'a>(&self, ingress: &Frame<'a>) -> &'a [u8] {
        ingress.bytes.get(self.skip..self.end.min(ingress.bytes.len())).unwrap_or_default()
    }
}

#[derive(Debug, Clone)]
struct Made {
    egress: PortId,
    range: Range<usize>,
    offload: Offload,
}

/// A moment between two frames that are made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MadeMark {
    frames: usize,
    bytes: usize,
}

impl Out {
    /// An empty sink, with all the room that it will ever have.
    pub fn new() -> Self {
        Self {
            copies: vec![PortId(0); MAX_PORTS].into_boxed_slice(),
            copied: 0,
            rewritten: Rewritten {
                egress: PortId(0),
                skip: 0,
                end: 0,
                offload: Offload::NONE,
                headers: [0; MAX_HEADERS_LEN],
                len: 0,
            },
            is_rewritten: false,
            made: Vec::with_capacity(MAX_PORTS),
            arena: Vec::with_capacity(MAX_MADE_BYTES),
            requests: Vec::with_capacity(MAX_REQUESTS),
        }
    }

    /// Forgets everything.
    #[inline]
    pub fn clear(&mut self) {
        self.copied = 0;
        self.is_rewritten = false;
        self.made.clear();
        self.arena.clear();
        self.requests.clear();
    }

    /// The ingress frame leaves by `egress`. Returns whether there was room.
    #[inline]
    pub fn forward(&mut self, egress: PortId) -> bool {
        let Some(copy) = self.copies.get_mut(self.copied) else { return false };
        *copy = egress;
        self.copied += 1;
        true
    }

    /// The ingress frame leaves by `egress` with its first `skip` bytes replaced by `headers`, which are at most as many.
    /// Returns whether that is possible.
    #[inline]
    pub fn forward_rewritten(
        &mut self,
        egress: PortId,
        skip: usize,
        headers: &[u8],
        offload: Offload,
    ) -> bool {
        let len = headers.len();
        if len > skip || len > MAX_HEADERS_LEN {
            return false;
        }
        let head = NewHead { len, skip, end: usize::MAX, offload };
        let written = self.forward_rewritten_with(egress, |space| {
            space[..len].copy_from_slice(headers);
            Ok::<_, core::convert::Infallible>(head)
        });
        written.is_ok()
    }

    /// As [`Out::forward_rewritten`], for headers that `write` puts where they stay.
    ///
    /// # Errors
    /// Those of `write`; the frame does not leave then.
    #[inline]
    pub fn forward_rewritten_with<E>(
        &mut self,
        egress: PortId,
        write: impl FnOnce(&mut [u8; MAX_HEADERS_LEN]) -> Result<NewHead, E>,
    ) -> Result<(), E> {
        self.is_rewritten = false;
        let NewHead { len, skip, end, offload } = write(&mut self.rewritten.headers)?;
        debug_assert!(len <= skip && len <= MAX_HEADERS_LEN && skip <= end);
        self.rewritten.egress = egress;
        self.rewritten.skip = skip;
        self.rewritten.end = end;
        self.rewritten.offload = offload;
        self.rewritten.len = len;
        self.is_rewritten = true;
        Ok(())
    }

    /// Asks control for something. A question too many is forgotten: whoever needs the answer asks again.
    pub fn ask(&mut self, request: Request) {
        if self.may_ask() {
            self.requests.push(request);
        }
    }

    /// Whether there is room for a question.
    pub fn may_ask(&self) -> bool {
        self.requests.len() < MAX_REQUESTS
    }

    /// Makes a frame of `len` bytes, zeroed, that `fill` writes and that leaves by each of `egresses`.
    /// Returns whether there was room; without room nothing is made.
    pub fn make(&mut self, egresses: &[PortId], len: usize, fill: impl FnOnce(&mut [u8])) -> bool {
        self.make_with(egresses, len, Offload::NONE, fill)
    }

    /// As [`Out::make`], for a frame that leaves work to whoever sends it.
    pub fn make_with(
        &mut self,
        egresses: &[PortId],
        len: usize,
        offload: Offload,
        fill: impl FnOnce(&mut [u8]),
    ) -> bool {
        let start = self.arena.len();
        if start + len > MAX_MADE_BYTES || self.made.len() + egresses.len() > MAX_PORTS {
            return false;
        }
        self.arena.resize(start + len, 0);
        fill(&mut self.arena[start..]);
        self.made.extend(egresses.iter().map(|&egress| Made { egress, range: start..start + len, offload }));
        true
    }

    /// How much has been made, for [`Out::unmake`].
    pub(crate) fn made_mark(&self) -> MadeMark {
        MadeMark { frames: self.made.len(), bytes: self.arena.len() }
    }

    /// Forgets what was made since `mark`: the whole of it did not find room.
    pub(crate) fn unmake(&mut self, mark: MadeMark) {
        self.made.truncate(mark.frames);
        self.arena.truncate(mark.bytes);
    }

    /// Ports by which the ingress frame leaves.
    #[inline]
    pub fn copies(&self) -> &[PortId] {
        &self.copies[..self.copied]
    }

    /// How the ingress frame leaves with other headers, if it does.
    #[inline]
    pub fn rewritten(&self) -> Option<&Rewritten> {
        self.is_rewritten.then_some(&self.rewritten)
    }

    /// The ingress frame does not leave after all: whatever replaces it is made.
    #[inline]
    pub fn take_rewritten(&mut self) -> Option<Rewritten> {
        core::mem::take(&mut self.is_rewritten).then_some(self.rewritten)
    }

    /// What control is asked for.
    #[inline]
    pub fn requests(&self) -> &[Request] {
        &self.requests
    }

    /// Frames made by the core, in order.
    pub fn made(&self) -> impl Iterator<Item = (PortId, Frame<'_>)> {
        self.made.iter().map(|made| {
            let bytes = &self.arena[made.range.clone()];
            (made.egress, Frame { bytes, offload: made.offload })
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
