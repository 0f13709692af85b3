//! The network's router address, answered by the core itself.

use crate::frame::{EthernetView, Frame};
use crate::network::{Gateway, Network, NetworkId, Port, Snapshot};
use crate::out::Out;
use crate::time::Timestamp;
use crate::verdict::{DropReason, Taken, Verdict};

/// What one worker remembers for the gateways of all networks.
#[derive(Debug, Default)]
pub struct GatewayState {}

impl GatewayState {
    /// Nothing remembered yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Drops what is remembered of ports that `snapshot` no longer has.
    pub fn forget_missing_ports(&mut self, snapshot: &Snapshot) {
        let _ = snapshot;
    }

    /// A frame whose destination is the gateway's MAC: answers it, keeps it, or names why it is dropped.
    ///
    /// # Errors
    /// The reason for dropping the frame.
    #[allow(clippy::too_many_arguments)]
    pub fn receive(
        &mut self,
        now: Timestamp,
        network: &Network,
        gateway: &Gateway,
        port: &Port,
        view: &EthernetView,
        frame: &Frame<'_>,
        out: &mut Out,
    ) -> Result<Verdict, DropReason> {
        let _ = (now, network, gateway, port, view, frame, out);
        Ok(Verdict::Taken(Taken::NoAnswerDue))
    }

    /// A frame to a group: answers an ARP request for the gateway's address. Returns whether it answered.
    pub fn answer_group(
        &mut self,
        gateway: &Gateway,
        port: &Port,
        view: &EthernetView,
        frame: &Frame<'_>,
        out: &mut Out,
    ) -> bool {
        let _ = (gateway, port, view, frame, out);
        false
    }

    /// Announces gateways that are due, gives up fragments that waited too long (counting them on their port as
    /// worker `worker`). Returns when it wants to be called again.
    pub fn tick(
        &mut self,
        now: Timestamp,
        snapshot: &Snapshot,
        worker: usize,
        out: &mut Out,
    ) -> Option<Timestamp> {
        let _ = (now, snapshot, worker, out);
        None
    }

    /// The gateway of `network` announces itself with the next ticks.
    pub fn announce(&mut self, network: NetworkId, now: Timestamp) {
        let _ = (network, now);
    }
}
