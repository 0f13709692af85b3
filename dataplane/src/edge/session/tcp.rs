//! What a session has seen of its packets, and what follows from it.
//!
//! TCP is followed by flags alone, as RFC 6146 (section 3.5.2) does for NAT64 and RFC 7857 (section 2) for NAT44:
//!
//! * A session is half open until its handshake is complete: whoever began has spoken, the other has answered, and the
//!   first has acknowledged. That holds for a SYN answered by SYN+ACK, for two SYNs that cross (RFC 5382, REQ-2), and for a connection
//!   that was there before us. An answer alone does not complete it, or a flood of SYNs to a willing server would.
//! * A FIN closes one direction; the session is closed when both have been.
//! * A RST closes it, unless whoever sent it goes on speaking: then it was a forged one (RFC 7857, section 2.2). What the
//!   other side still sends says nothing.
//! * A SYN of whoever began opens a closed session anew (RFC 7857, section 2; RFC 1122, section 4.2.2.13).
//!
//! Sequence numbers are not followed: they would have to be told from super-frames and window scales, and what a forged RST can do
//! is to shorten the time that a silent session lives to 4 minutes.

use super::Direction;

/// The flags of a TCP header: its byte 13 (RFC 9293, section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpFlags(pub u8);

impl TcpFlags {
    /// The sender will send no more.
    pub const FIN: TcpFlags = TcpFlags(0x01);
    /// Sequence numbers begin.
    pub const SYN: TcpFlags = TcpFlags(0x02);
    /// The connection is reset.
    pub const RST: TcpFlags = TcpFlags(0x04);
    /// Something is acknowledged.
    pub const ACK: TcpFlags = TcpFlags(0x10);
    /// The answer to a SYN.
    pub const SYN_ACK: TcpFlags = TcpFlags(0x12);

    /// Whether all of `flags` are set.
    #[inline]
    pub fn has(self, flags: TcpFlags) -> bool {
        self.0 & flags.0 == flags.0
    }
}

/// Everything seen so far, in one byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct State(u8);

/// The other side has spoken.
const ANSWERED: u8 = 0x01;
/// Whoever began has acknowledged the answer.
const COMPLETE: u8 = 0x02;
/// FIN and RST of whoever began; those of the other are the next bit to the left.
const FIN: u8 = 0x04;
const RST: u8 = 0x10;
/// The session came by a publication: kept here for it is asked with every packet.
const PUBLISHED: u8 = 0x40;

impl State {
    /// Nothing seen yet.
    pub(crate) fn new(published: bool) -> State {
        State(if published { PUBLISHED } else { 0 })
    }

    /// Whether the session came by a publication.
    #[inline]
    pub(crate) fn is_published(self) -> bool {
        self.0 & PUBLISHED != 0
    }

    /// Whether the other side has spoken.
    #[inline]
    pub(crate) fn is_answered(self) -> bool {
        self.0 & ANSWERED != 0
    }

    /// Whether FINs have passed in both directions, or a RST.
    #[inline]
    pub(crate) fn is_closed(self) -> bool {
        self.0 & (RST | RST << 1) != 0 || self.0 & (FIN | FIN << 1) == FIN | FIN << 1
    }

    /// Whether the handshake is complete. A closed session may be both or neither.
    #[inline]
    pub(crate) fn is_complete(self) -> bool {
        self.0 & COMPLETE != 0
    }

    /// Whether one direction has been closed, or both.
    pub(crate) fn is_closing(self) -> bool {
        self.0 & (FIN | FIN << 1 | RST | RST << 1) != 0
    }

    /// After a packet; `flags` if it is TCP.
    #[inline(always)]
    pub(crate) fn after(self, direction: Direction, flags: Option<TcpFlags>) -> State {
        match flags {
            Some(flags) => self.after_tcp(direction, flags),
            None if direction == Direction::Reply => State(self.0 | ANSWERED),
            None => self,
        }
    }

    #[inline(always)]
    fn after_tcp(self, direction: Direction, flags: TcpFlags) -> State {
        let side = direction as u8;
        if flags.has(TcpFlags::RST) {
            return State(self.0 | RST << side);
        }
        let begins = flags.has(TcpFlags::SYN) && !flags.has(TcpFlags::ACK);
        if begins && direction == Direction::Original && self.is_closed() {
            return State(self.0 & PUBLISHED);
        }
        let mut seen = self.0 & !(RST << side);
        match direction {
            Direction::Reply => seen |= ANSWERED,
            Direction::Original if self.is_answered() && flags.has(TcpFlags::ACK) => seen |= COMPLETE,
            Direction::Original => {}
        }
        if flags.has(TcpFlags::FIN) {
            seen |= FIN << side;
        }
        State(seen)
    }
}
