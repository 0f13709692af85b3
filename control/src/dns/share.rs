//! How much one asker may have of what all askers share: questions to others that are under way, TCP connections.
//!
//! Bound: so much in all, of which one holder may have a part, and never more than is left. So a few who ask a dead
//! resolver without end leave as much to the next as each of them has, and nobody is shut out. Nothing is evicted: questions and idle
//! connections are over after a while.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::netns::NetnsId;

/// How much there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// For one holder at most.
    pub each: usize,
    /// In all.
    pub in_all: usize,
}

/// Questions to others that are under way. Each holds an open file, and two more while its first upstreams are silent.
pub const QUESTIONS: Bounds = Bounds { each: 1_000, in_all: 4_096 };

/// TCP connections of askers. Each holds an open file.
pub const CONNECTIONS: Bounds = Bounds { each: 128, in_all: 1_024 };

/// Whom something is counted for: a sandbox, whatever it asks by, or all on a network who are in none that we know.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Holder {
    /// A sandbox.
    Sandbox(NetnsId),
    /// Strangers of a network: who is behind an existing interface may have any number of addresses.
    Strangers(String),
}

/// Who has how much.
#[derive(Debug, Clone)]
pub struct Shares {
    bounds: Bounds,
    held: Arc<Mutex<Held>>,
}

#[derive(Debug, Default)]
struct Held {
    all: usize,
    each: HashMap<Holder, usize>,
}

/// The right to one of them. It ends with this.
#[derive(Debug)]
pub struct Permit {
    shares: Shares,
    holder: Holder,
}

impl Shares {
    /// Nobody has anything yet.
    pub fn new(bounds: Bounds) -> Shares {
        Shares { bounds, held: Arc::default() }
    }

    /// Takes one more; none when the holder has had enough.
    pub fn take(&self, holder: Holder) -> Option<Permit> {
        let mut held = self.lock();
        let own = held.each.get(&holder).copied().unwrap_or(0);
        if own >= self.bounds.each.min(self.bounds.in_all.saturating_sub(held.all)) {
            return None;
        }
        held.all += 1;
        held.each.insert(holder.clone(), own + 1);
        Some(Permit { shares: self.clone(), holder })
    }

    /// How many are taken in all.
    pub fn in_all(&self) -> usize {
        self.lock().all
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut held = self.shares.lock();
        held.all = held.all.saturating_sub(1);
        match held.each.get_mut(&self.holder) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(held.each.remove(&self.holder)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sandbox(ino: u64) -> Holder {
        Holder::Sandbox(NetnsId { dev: 4, ino, boot: 1 })
    }

    #[test]
    fn one_asker_has_a_thousand_and_gives_them_back() {
        let shares = Shares::new(QUESTIONS);
        let held: Vec<_> = (0..QUESTIONS.each).map(|_| shares.take(sandbox(1)).unwrap()).collect();
        assert!(shares.take(sandbox(1)).is_none());
        assert!(shares.take(sandbox(2)).is_some());
        assert!(shares.take(Holder::Strangers("blue".into())).is_some());
        drop(held);
        assert!(shares.take(sandbox(1)).is_some());
        assert_eq!(shares.in_all(), 0);
    }

    #[test]
    fn many_who_take_all_they_can_leave_something_to_the_next() {
        let shares = Shares::new(QUESTIONS);
        let mut held = Vec::new();
        let mut any = true;
        while any {
            any = false;
            for ino in 0..20 {
                if let Some(permit) = shares.take(sandbox(ino)) {
                    held.push(permit);
                    any = true;
                }
            }
        }
        assert!(held.len() < QUESTIONS.in_all);
        let newcomer: Vec<_> = std::iter::from_fn(|| shares.take(sandbox(99))).take(1_000).collect();
        assert!(newcomer.len() >= 50, "{}", newcomer.len());
    }
}
