//! How many questions to others may be under way, for each asker and in all.
//!
//! Bound: [`IN_ALL`], of which one asker may have [`EACH`], and never more than are left. So a few who ask a dead
//! resolver without end leave as much to the next as each of them has, and nobody is shut out. Nothing is evicted: each is over
//! after [`PATIENCE`](super::exchange::PATIENCE).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::netns::NetnsId;

/// Questions of one asker at most.
pub const EACH: usize = 1_000;

/// Questions of all at most. Each holds an open file, and two more while its first upstreams are silent.
pub const IN_ALL: usize = 4_096;

/// Whom questions are counted for: a sandbox, whatever it asks by, or all on a network who are in none that we know.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Holder {
    /// A sandbox.
    Sandbox(NetnsId),
    /// Strangers of a network: who is behind an existing interface may have any number of addresses.
    Strangers(String),
}

/// How many are under way.
#[derive(Debug, Clone, Default)]
pub struct Shares(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    all: usize,
    each: HashMap<Holder, usize>,
}

/// The right to have a question under way. It ends with this.
#[derive(Debug)]
pub struct Permit {
    shares: Shares,
    holder: Holder,
}

impl Shares {
    /// Takes one more; none when the holder has had enough.
    pub fn take(&self, holder: Holder) -> Option<Permit> {
        let mut held = self.lock();
        let own = held.each.get(&holder).copied().unwrap_or(0);
        if own >= EACH.min(IN_ALL.saturating_sub(held.all)) {
            return None;
        }
        held.all += 1;
        held.each.insert(holder.clone(), own + 1);
        Some(Permit { shares: self.clone(), holder })
    }

    /// How many are under way in all.
    pub fn in_all(&self) -> usize {
        self.lock().all
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
        let shares = Shares::default();
        let held: Vec<_> = (0..EACH).map(|_| shares.take(sandbox(1)).unwrap()).collect();
        assert!(shares.take(sandbox(1)).is_none());
        assert!(shares.take(sandbox(2)).is_some());
        assert!(shares.take(Holder::Strangers("blue".into())).is_some());
        drop(held);
        assert!(shares.take(sandbox(1)).is_some());
        assert_eq!(shares.in_all(), 0);
    }

    #[test]
    fn many_who_take_all_they_can_leave_something_to_the_next() {
        let shares = Shares::default();
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
        assert!(held.len() < IN_ALL);
        let newcomer: Vec<_> = std::iter::from_fn(|| shares.take(sandbox(99))).take(EACH).collect();
        assert!(newcomer.len() >= 50, "{}", newcomer.len());
    }
}
