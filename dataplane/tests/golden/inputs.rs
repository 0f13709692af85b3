//! What goes into each case. Unless a case says otherwise endpoint `n` is behind port `n`; [`frames`] has its addresses.

mod bridge;
mod frames;
mod gateway;
mod guard;
mod nat;

use std::collections::BTreeMap;
use std::time::Duration;

use pontoon_dataplane::PortId;

type Case = BTreeMap<PortId, Vec<(Duration, Vec<u8>)>>;

/// When every case starts, since 1970: captures have real times, and the replay must not mind.
const EPOCH: Duration = Duration::from_secs(1_700_000_000);

/// Every case by the name of its directory.
pub(crate) fn all() -> BTreeMap<&'static str, Case> {
    [bridge::cases(), guard::cases(), gateway::cases(), nat::cases()].concat().into_iter().collect()
}

/// Frames a millisecond apart, unless told to wait.
#[derive(Default)]
struct Timeline {
    now: Duration,
    case: Case,
}

impl Timeline {
    fn send(&mut self, port: u16, frame: Vec<u8>) -> &mut Self {
        self.case.entry(PortId(port)).or_default().push((EPOCH + self.now, frame));
        self.now += Duration::from_millis(1);
        self
    }

    fn send_all(&mut self, port: u16, frames: impl IntoIterator<Item = Vec<u8>>) -> &mut Self {
        frames.into_iter().fold(self, |line, frame| line.send(port, frame))
    }

    fn wait(&mut self, duration: Duration) -> &mut Self {
        self.now += duration;
        self
    }

    /// Frames without a story from `src` to `dst`.
    fn talk(&mut self, port: u16, src: u8, dst: u8) -> &mut Self {
        self.send(port, frames::plain(frames::mac(dst), frames::mac(src), 46))
    }

    fn done(&mut self) -> Case {
        std::mem::take(&mut self.case)
    }
}
