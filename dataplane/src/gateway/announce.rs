//! Announcements: gateways that come up tell everybody their MAC (RFC 5227, section 2.3).
//!
//! Bound: one entry for each network that announces itself, so `MAX_NETWORKS` at most; announcing again starts the
//! same entry anew. An entry leaves after its last announcement, or when its network is gone.

use core::time::Duration;

use super::arp;
use crate::network::{NetworkId, Snapshot};
use crate::out::Out;
use crate::time::Timestamp;

/// ANNOUNCE_NUM of RFC 5227, section 1.1.
const ANNOUNCE_NUM: u8 = 2;
/// ANNOUNCE_INTERVAL of RFC 5227, section 1.1.
const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(2);

#[derive(Debug, Clone)]
struct Announcement {
    network: NetworkId,
    due: Timestamp,
    left: u8,
}

/// Announcements that are still to be made.
#[derive(Debug, Clone, Default)]
pub(super) struct Announcements {
    pending: Vec<Announcement>,
}

impl Announcements {
    /// The gateway of `network` announces itself with the next tick, and once more later.
    pub(super) fn schedule(&mut self, network: NetworkId, now: Timestamp) {
        self.pending.retain(|announcement| announcement.network != network);
        self.pending.push(Announcement { network, due: now, left: ANNOUNCE_NUM });
    }

    /// Makes what is due. What finds no room in `out` stays due. Returns when the next is due.
    pub(super) fn tick(&mut self, now: Timestamp, snapshot: &Snapshot, out: &mut Out) -> Option<Timestamp> {
        self.pending.retain_mut(|announcement| {
            let Some(network) = snapshot.network(announcement.network) else { return false };
            let Some(gateway) = &network.gateway else { return false };
            if announcement.due <= now && arp::announce(gateway, &network.members, out) {
                announcement.left -= 1;
                announcement.due = now + ANNOUNCE_INTERVAL;
            }
            announcement.left > 0
        });
        self.pending.iter().map(|announcement| announcement.due).min()
    }
}
