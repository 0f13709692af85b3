//! Death at a chosen instant, for tests: a daemon with `PONTOON_KILL` in its environment kills itself, as SIGKILL from outside would, before it
//! takes a step of a plan. Between two writes to the store lie only steps, so every write is among the instants.
//!
//! * `PONTOON_KILL=start:N` before the N-th step since it was started, while it takes up what an earlier one left;
//! * `PONTOON_KILL=run:N` before the N-th step since it was ready.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use rustix::process::{Signal, getpid, kill_process};

/// When to die: counted from the start or from when the daemon was ready, and before which step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Death {
    once_ready: bool,
    before: u64,
}

impl Death {
    fn parse(text: &str) -> Option<Death> {
        let (from, before) = text.split_once(':')?;
        let once_ready = match from {
            "start" => false,
            "run" => true,
            _ => return None,
        };
        Some(Death { once_ready, before: before.parse().ok()? })
    }
}

static DEATH: LazyLock<Option<Death>> =
    LazyLock::new(|| std::env::var("PONTOON_KILL").ok().and_then(|text| Death::parse(&text)));
static READY: AtomicBool = AtomicBool::new(false);
static STEPS: AtomicU64 = AtomicU64::new(0);

/// From here on the daemon is ready.
pub(crate) fn ready() {
    READY.store(true, Relaxed);
}

/// A step is about to be taken.
pub(crate) fn step() {
    let Some(death) = *DEATH else { return };
    if death.once_ready && !READY.load(Relaxed) {
        return;
    }
    if STEPS.fetch_add(1, Relaxed) + 1 == death.before {
        // It cannot fail, and if it does the test does too.
        let _ = kill_process(getpid(), Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_written_in_one_way() {
        assert_eq!(Death::parse("start:3"), Some(Death { once_ready: false, before: 3 }));
        assert_eq!(Death::parse("run:1"), Some(Death { once_ready: true, before: 1 }));
        for nonsense in ["", "3", "run", "run:", "run:x", "end:1"] {
            assert_eq!(Death::parse(nonsense), None, "{nonsense}");
        }
    }
}
