//! Datagrams that were read and wait for their turn.
//!
//! All who ask at a gateway do so by one socket, and what the kernel keeps of it goes to whoever sends most. So it is emptied faster than
//! questions are answered, and whoever has many waiting loses the next of his own: the askers take turns, a question each.
//!
//! Bound: [`EACH`] of one address, [`IN_ALL`] of all; what does not fit is dropped, and asked again.

use std::collections::{HashMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddrV4};

/// Datagrams of one address.
const EACH: usize = 64;

/// Datagrams of all: of a /24 that does nothing but ask. Of the last ones nobody gets more than are left, so that some are for somebody new.
const IN_ALL: usize = 16_384;

/// The queues.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    of: HashMap<Ipv4Addr, VecDeque<(u16, Vec<u8>)>>,
    /// Everybody who has some, in the order of their turns.
    turns: VecDeque<Ipv4Addr>,
    all: usize,
}

impl Waiting {
    /// Puts one behind the others of its sender. Returns whether there was room.
    pub(super) fn push(&mut self, from: SocketAddrV4, message: &[u8]) -> bool {
        let own = self.of.get(from.ip()).map_or(0, VecDeque::len);
        if own >= EACH.min(IN_ALL - self.all) {
            return false;
        }
        if own == 0 {
            self.turns.push_back(*from.ip());
        }
        self.of.entry(*from.ip()).or_default().push_back((from.port(), message.to_vec()));
        self.all += 1;
        true
    }

    /// The next one.
    pub(super) fn pop(&mut self) -> Option<(SocketAddrV4, Vec<u8>)> {
        let address = self.turns.pop_front()?;
        let queue = self.of.get_mut(&address)?;
        let (port, message) = queue.pop_front()?;
        if queue.is_empty() {
            self.of.remove(&address);
        } else {
            self.turns.push_back(address);
        }
        self.all -= 1;
        Some((SocketAddrV4::new(address, port), message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(last: u16) -> SocketAddrV4 {
        let [high, low] = last.to_be_bytes();
        SocketAddrV4::new([10, 0, high, low].into(), 4000)
    }

    #[test]
    fn whoever_has_many_waiting_waits_behind_himself() {
        let mut waiting = Waiting::default();
        for number in 0..50 {
            assert!(waiting.push(from(2), &[number]));
        }
        assert!(waiting.push(from(3), b"one"));
        let first: Vec<_> = std::iter::from_fn(|| waiting.pop()).take(3).collect();
        assert_eq!(first, [(from(2), vec![0]), (from(3), b"one".to_vec()), (from(2), vec![1])]);
        assert_eq!(std::iter::from_fn(|| waiting.pop()).count(), 48);
        assert!(waiting.of.is_empty() && waiting.turns.is_empty() && waiting.all == 0);
    }

    #[test]
    fn nobody_fills_it_for_the_others() {
        let mut waiting = Waiting::default();
        let fill = |waiting: &mut Waiting, who| {
            std::iter::repeat_with(|| waiting.push(who, b"x")).take_while(|&it| it).count()
        };
        assert_eq!(fill(&mut waiting, from(2)), EACH);
        for who in 3..260 {
            assert!(fill(&mut waiting, from(who)) > 0, "{who}");
        }
        assert!(waiting.all <= IN_ALL);
    }
}
