//! Frames described in words.

use pontoon_dataplane::edge::packet::Packet;
use pontoon_dataplane::frame::EthernetView;
use pontoon_dataplane::trace::Probe;
use pontoon_dataplane::{Frame, MacAddr};

/// Input: a text. What is understood must be a frame that the edge can read, from and to the given addresses; an error
/// must point into the text.
pub fn trace_grammar(data: &[u8]) {
    let Ok(text) = core::str::from_utf8(data) else { return };
    match text.parse::<Probe>() {
        Ok(probe) => {
            let bytes = probe.frame(MacAddr([2, 0, 0, 0, 0, 2]), MacAddr([2, 0, 0, 0, 0, 1]));
            if !probe.is_arp() {
                let view = EthernetView::parse(&bytes).expect("a frame");
                let packet = Packet::parse(&view, &Frame::plain(&bytes)).expect("a packet");
                assert_eq!((packet.src, packet.dst), (probe.source(), probe.destination()));
                assert!(packet.tuple().is_some());
            }
        }
        Err(error) => assert!((1..=text.chars().count() + 1).contains(&error.column)),
    }
}
