//! What leaves translated is answered, and the answer is one to what was sent.

use pontoon_dataplane::edge::tuple::Tuple;
use pontoon_dataplane::network::Place;
use pontoon_dataplane::{DropReason, Frame, MacAddr, PortId, Verdict};

use super::packets::{ETHERNET, addresses, between, flow, ipv4, message};
use super::{ADDRESSES, World};

const ACK: u8 = 0x10;

impl World {
    /// A packet comes in, and if it leaves translated whoever gets it answers at once.
    pub(super) fn receive_and_answer(&mut self, port: u16, bytes: &[u8]) {
        let frame = Frame::plain(bytes);
        self.receive(port, &frame, true);
        let is_whole = bytes[ETHERNET + 6] & 0x3f == 0 && bytes[ETHERNET + 7] == 0;
        let Some(rewritten) = self.out.rewritten().filter(|_| is_whole) else { return };
        let (egress, left) = (rewritten.egress, rewritten.assemble(&frame));
        // Of errors there are none.
        if let (Some(sent), Some(arrived)) = (flow(&bytes[ETHERNET..]), flow(&left[ETHERNET..])) {
            self.answer_to(port, &sent, (egress, &left[..ETHERNET]), &arrived);
        }
    }

    /// `sent` by `ingress` has `arrived` behind `egress` in a frame that begins so.
    fn answer_to(&mut self, ingress: u16, sent: &Tuple, (egress, begin): (PortId, &[u8]), arrived: &Tuple) {
        let answer = arrived.inverted();
        let [src, dst] = addresses(&answer);
        let packet = ipv4(answer.protocol as u8, src, dst, (64, 0), 9, &message(&answer, ACK, b"!"));
        let [own, ours] = [0, 6].map(|at| MacAddr::from_prefix(&begin[at..]));
        let (bytes, before) = (between(ours, own, &packet), self.stats().opened);
        let verdict = self.receive(egress.0, &Frame::plain(&bytes), true);
        // To the outside the way may have changed: it is not known yet, there is none, or it begins at another address.
        let is_inside = self.core.snapshot().port(egress).is_some_and(|port| port.place != Place::Uplink);
        let has_no_way = matches!(
            verdict,
            Verdict::Wait(_) | Verdict::Drop(DropReason::NoRoute | DropReason::NeighbourTimeout)
        );
        if is_inside && (has_no_way || self.stats().opened != before) {
            return;
        }
        // Port 4 is not guarded. Who speaks in the name of another there may find that answers go to that one.
        if ingress == 4 && addresses(sent)[0] != ADDRESSES[2] {
            return;
        }
        let left = self.left(&Frame::plain(&bytes));
        let back: Vec<_> = left.iter().map(|(port, packet)| (*port, flow(packet))).collect();
        assert_eq!(back, [(ingress, Some(sent.inverted()))], "{answer}: {verdict}");
    }
}
