//! Ports that are in a loop: blocked, and tried again after a while.
//!
//! Of the ports of a loop one is blocked, and the others go on. After ten seconds it takes part again; if the loop is still there it is
//! blocked within a few frames, each time for twice as long, up to five minutes.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use pontoon_dataplane::storm::Loop;

use super::Manager;
use crate::state::PortName;

/// How long a port is blocked first.
const FIRST: Duration = Duration::from_secs(10);
/// And how long at most.
const LONGEST: Duration = Duration::from_secs(300);

/// When ports were blocked last.
#[derive(Debug, Default)]
pub(super) struct Blocks(Mutex<BTreeMap<PortName, Block>>);

#[derive(Debug, Clone, Copy)]
struct Block {
    since: Instant,
    length: Duration,
}

impl Blocks {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<PortName, Block>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The port is blocked from `now` on; for how long.
    fn begin(&self, port: &PortName, now: Instant) -> Duration {
        let mut blocks = self.lock();
        // One that was over a little while ago was too short.
        blocks.retain(|_, block| now < block.since + 3 * block.length);
        let length = blocks.get(port).map_or(FIRST, |block| LONGEST.min(2 * block.length));
        blocks.insert(port.clone(), Block { since: now, length });
        length
    }

    /// Ports that have been blocked for as long as they were to be.
    fn over(&self, now: Instant) -> Vec<PortName> {
        let is_over = |block: &Block| now >= block.since + block.length;
        self.lock().iter().filter(|(_, block)| is_over(block)).map(|(port, _)| port.clone()).collect()
    }
}

impl Manager {
    /// The engine has seen a loop: blocks the port that flooded frames come back by. Where the other one is blocked already, that is over.
    pub fn loop_seen(&self, seen: &Loop, now: Instant) {
        let _turn = self.turn();
        let Some(name) = self.world.name_of(seen.port) else { return };
        let other = self.world.name_of(seen.other);
        if self.world.is_blocked(&name) || other.as_ref().is_some_and(|other| self.world.is_blocked(other)) {
            return;
        }
        let blocked = self.world.set_blocked(&name, true);
        self.log_failure(&blocked, &format!("block the port {name}, which is in a loop"));
        if blocked.is_ok() {
            let length = self.blocks.begin(&name, now).as_secs();
            let other = other.map(|other| format!(" and {other}")).unwrap_or_default();
            let cause = format!(
                "what is flooded comes back by it{other}, last from {}; it is blocked for {length} s",
                seen.station
            );
            self.journal.note("port-blocked", &name.to_string(), &cause);
        }
    }

    /// Lets ports take part again that have been blocked for long enough.
    pub fn retry_blocked(&self, now: Instant) {
        for name in self.blocks.over(now).iter().filter(|name| self.world.is_blocked(name)) {
            let _turn = self.turn();
            self.unblock(name);
        }
    }

    /// Lets a port take part again, if it was blocked.
    pub(super) fn unblock(&self, name: &PortName) {
        if !self.world.is_blocked(name) {
            return;
        }
        let unblocked = self.world.set_blocked(name, false);
        self.log_failure(&unblocked, &format!("let the port {name} take part again"));
        if unblocked.is_ok() {
            self.journal.note("port-unblocked", &name.to_string(), "");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::types::PortPatch;
    use crate::testing::Lab;
    use pontoon_dataplane::{MacAddr, PortId};

    #[test]
    fn of_two_ports_of_a_loop_one_is_blocked_and_tried_again() {
        let lab = Lab::new(&["a", "b"]);
        lab.create("red", "10.1.0.0/24");
        lab.attach("red", "a", "eth0").unwrap();
        lab.attach("red", "b", "eth0").unwrap();
        let (a, b) = (PortId(0), PortId(1));
        let seen = |port, other| Loop { port, other, station: MacAddr([2, 0, 0, 0, 0, 9]) };
        let is_blocked = |name| lab.manager.port("red", name).unwrap().blocked;
        let now = Instant::now();
        lab.manager.loop_seen(&seen(b, a), now);
        lab.manager.loop_seen(&seen(a, b), now);
        assert!(is_blocked("b") && !is_blocked("a"), "one of them is enough");
        lab.manager.retry_blocked(now + FIRST - Duration::from_secs(1));
        assert!(is_blocked("b"));
        lab.manager.retry_blocked(now + FIRST);
        assert!(!is_blocked("b"));
        // It is there still.
        let later = now + FIRST + Duration::from_secs(1);
        lab.manager.loop_seen(&seen(b, a), later);
        lab.manager.retry_blocked(later + FIRST);
        assert!(is_blocked("b"), "twice as long now");
        let off = PortPatch { loop_guard: Some(false), ..PortPatch::default() };
        lab.manager.set_port("red", "b", &off).unwrap();
        assert!(!is_blocked("b"), "nobody looks for loops there any more");
        let told = lab.manager.events().into_iter().map(|it| it.event).filter(|it| it.contains("blocked"));
        let expected = ["port-blocked", "port-unblocked", "port-blocked", "port-unblocked"];
        assert_eq!(told.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_loop_that_stays_is_blocked_for_longer_and_longer() {
        let (blocks, port) = (Blocks::default(), PortName::new("blue", "eth1"));
        let mut now = Instant::now();
        let mut lengths = Vec::new();
        for _ in 0..7 {
            let length = blocks.begin(&port, now);
            lengths.push(length.as_secs());
            assert_eq!(blocks.over(now + length / 2), []);
            assert_eq!(blocks.over(now + length), std::slice::from_ref(&port));
            now += length + Duration::from_secs(1);
        }
        assert_eq!(lengths, [10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(blocks.begin(&port, now + 2 * LONGEST), FIRST, "it has been quiet for long");
    }
}
