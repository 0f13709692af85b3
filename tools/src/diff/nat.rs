//! NAT beside the kernel's: flows through MASQUERADE and DNAT, and through pontoon's edge, compared packet by packet.
//!
//! Each side chooses ports of its own, so what goes in from outside differs where it names them, and what comes out is compared as if
//! both had chosen the same. Checksums are checked on either side before that, and fragments put together. Everything else must be equal to
//! the byte: who gets a packet, MACs, addresses, TTL, DSCP, identification, payload, and what ICMP errors quote. Of a damaged packet it is
//! the same to a receiver whether it is dropped on the way or comes with its damage.

pub mod flows;
pub mod ip;
pub mod labs;
pub mod meant;
pub mod travels;

use std::fmt::Write as _;
use std::net::Ipv4Addr;

use pontoon_dataplane::frame::ETHERNET_HEADER_LEN;
use pontoon_dataplane::trace::describe;
use pontoon_dataplane::{Frame, MacAddr};

use self::flows::{Complaint, Flow, Sent, Step};
use self::labs::{
    GATEWAY, HOST, HOST_MAC, KernelRouter, OUTSIDE, PontoonRouter, ROUTER_MAC, Router, endpoint,
};
use super::shrink::shrink;
use crate::lab::LabError;

/// Flows that go on at a time, a packet each in turn.
const AT_A_TIME: usize = 128;
/// Flows for which there is one pair of labs: the kernel tracks 262,144 connections, and for minutes.
const ROUND: usize = 8192;
/// What stands for a chosen port when packets are compared.
const CHOSEN: u16 = 0xc05e;
/// Parts of a flow that are tried to make it shorter.
const TRIALS: usize = 100;

/// What a comparison has seen.
#[derive(Debug, Default)]
pub struct Seen {
    /// Flows that were compared.
    pub flows: usize,
    /// Packets that went in.
    pub packets: usize,
    /// Of these, in fragments.
    pub fragmented: usize,
    /// Of these, damaged.
    pub damaged: usize,
    /// Packets that came out of both.
    pub came_out: usize,
    /// Differences, told.
    pub differences: Vec<String>,
}

/// One flow as one side has seen it.
#[derive(Debug, Clone, Default)]
struct View {
    /// The port (or identifier) that stands for the endpoint's outside.
    chosen: Option<u16>,
    /// The last packet that left for the outside.
    outside: Option<Vec<u8>>,
    /// The last packet that the endpoint got.
    inside: Option<Vec<u8>>,
}

/// What came out of a side, fit for comparison.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Came {
    end: usize,
    frame: Vec<u8>,
    sound: bool,
}

/// Compares `count` flows of a seed, up to the first difference.
///
/// # Errors
/// A lab fails.
pub fn compare(seed: u64, count: usize) -> Result<Seen, LabError> {
    let mut seen = Seen::default();
    let mut first = 0;
    while first < count && seen.differences.is_empty() {
        let round = (count - first).min(ROUND);
        let mut pair = Pair::new(false)?;
        let flows = (0..round).map(|number| flows::flow(seed, number as u16, (first + number) as u64));
        let flows: Vec<Flow> = flows.collect();
        for batch in flows.chunks(AT_A_TIME) {
            if let Some((flow, told)) = pair.play(batch, &mut seen)? {
                seen.differences.push(shortened(&flow, told)?);
                break;
            }
        }
        seen.flows += round;
        first += round;
    }
    Ok(seen)
}

/// Plays one flow, with nothing left out. Returns how the two differ, if they do. `plain`: with nothing done to make them alike.
///
/// # Errors
/// A lab fails.
pub fn play_one(flow: &Flow, plain: bool) -> Result<Option<String>, LabError> {
    Ok(Pair::new(plain)?.play(std::slice::from_ref(flow), &mut Seen::default())?.map(|(_, told)| told))
}

/// The shortest part of a flow that differs by itself, told with how.
fn shortened(flow: &Flow, told: String) -> Result<String, LabError> {
    let with = |steps: &[Sent]| Flow { steps: steps.to_vec(), ..flow.clone() };
    if play_one(flow, false)?.is_none() {
        return Ok(format!("{told}, among other flows and not alone\n{}", tell(flow)));
    }
    let steps =
        shrink(&flow.steps, TRIALS, |steps| Ok::<_, LabError>(play_one(&with(steps), false)?.is_some()))?;
    let shortest = with(&steps);
    Ok(format!("{}\n{}", play_one(&shortest, false)?.unwrap_or(told), tell(&shortest)))
}

/// Both sides.
struct Pair {
    kernel: KernelRouter,
    pontoon: PontoonRouter,
    plain: bool,
}

impl Pair {
    /// `plain`: with nothing done to make the two alike.
    fn new(plain: bool) -> Result<Pair, LabError> {
        Ok(Pair { kernel: KernelRouter::new(0, plain)?, pontoon: PontoonRouter::new(), plain })
    }

    /// Plays flows beside one another, up to the first difference: the flow, and what differs.
    fn play(&mut self, flows: &[Flow], seen: &mut Seen) -> Result<Option<(Flow, String)>, LabError> {
        let mut views: [Vec<View>; 2] = [0, 1].map(|_| vec![View::default(); flows.len()]);
        let longest = flows.iter().map(|flow| flow.steps.len()).max().unwrap_or(0);
        for place in 0..longest {
            let mut came = [Vec::new(), Vec::new()];
            for (side, views) in views.iter_mut().enumerate() {
                let mut frames = Vec::new();
                for (flow, view) in flows.iter().zip(&*views) {
                    let Some(Sent { step, travels }) = flow.steps.get(place) else { continue };
                    let Some((end, packet)) = packet(flow, step, view) else { continue };
                    if side == 0 {
                        seen.packets += 1;
                        seen.fragmented += usize::from(!travels.fragments.is_empty());
                        seen.damaged += usize::from(travels.damage.is_some());
                    }
                    let sent = travels.sent(packet);
                    frames.extend(sent.iter().map(|packet| (end, ethernet(flow, end, packet))));
                }
                let router: &mut dyn Router = if side == 0 { &mut self.kernel } else { &mut self.pontoon };
                came[side] = sorted(flows, place, views, router.pass(&frames)?, self.plain)?;
            }
            let [kernel, pontoon] = &came;
            if let Some(which) = kernel.iter().zip(pontoon).position(|(kernel, pontoon)| kernel != pontoon) {
                let told = differ(place, &kernel[which], &pontoon[which]);
                return Ok(Some((flows[which].clone(), told)));
            }
            seen.came_out += kernel.iter().map(Vec::len).sum::<usize>();
        }
        Ok(None)
    }
}

/// The packet that a step is, on a side whose view of the flow that is, and where it goes in. None: the step needs something that has not
/// happened.
fn packet(flow: &Flow, step: &Step, view: &View) -> Option<(usize, Vec<u8>)> {
    let from_outside = |packet: Vec<u8>| (OUTSIDE, packet);
    let from_inside = |packet: Vec<u8>| (flow.inside, packet);
    let about = |complaint: &Complaint, from: Ipv4Addr, packet: &Option<Vec<u8>>| {
        flows::complain(complaint, from, packet.as_ref()?)
    };
    match step {
        Step::Out(packet) => Some(from_inside(packet.clone())),
        Step::Reply(packet) => view.inside.is_some().then(|| from_inside(packet.clone())),
        Step::In(packet) => Some(from_outside(packet.clone())),
        Step::Back(packet) => {
            let mut packet = packet.clone();
            let place = port_place(&packet, Towards::Host)?;
            ip::set_word(&mut packet, place, view.chosen?);
            ip::finish(&mut packet);
            Some(from_outside(packet))
        }
        Step::ErrorBack(complaint) => {
            about(complaint, flows::router(flow.number), &view.outside).map(from_outside)
        }
        Step::Forged(complaint) => {
            let mut packet = view.outside.clone()?;
            let place = port_place(&packet, Towards::Remote)?;
            let other = ip::word(&packet, place)? ^ 0x0101;
            ip::set_word(&mut packet, place, other);
            flows::complain(complaint, flows::router(flow.number), &packet).map(from_outside)
        }
        Step::ErrorOut(complaint) => about(complaint, endpoint(flow.inside), &view.inside).map(from_inside),
    }
}

/// The frame by which a packet of the flow goes in, padded as a card does.
fn ethernet(flow: &Flow, end: usize, packet: &[u8]) -> Vec<u8> {
    let (dst, src) = match end {
        OUTSIDE => (HOST_MAC, ROUTER_MAC),
        _ => (MacAddr::from_ipv4(GATEWAY), MacAddr::from_ipv4(endpoint(flow.inside))),
    };
    let mut bytes = [&dst.0[..], &src.0, &[0x08, 0x00], packet].concat();
    bytes.resize(bytes.len().max(60), 0);
    bytes
}

/// Which of a packet's ends a port is the host's at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Towards {
    Host,
    Remote,
}

/// Where the host's port stands in a packet outside; for echo that is the identifier.
fn port_place(packet: &[u8], towards: Towards) -> Option<usize> {
    let at = ip::header_len(packet)?;
    match *packet.get(9)? {
        ip::ICMP => matches!(packet.get(at), Some(0 | 8)).then_some(at + 4),
        ip::TCP | ip::UDP => Some(if towards == Towards::Host { at + 2 } else { at }),
        _ => None,
    }
}

/// What receivers make of what came out at step `place`, by flow, each as if the flow's port had been [`CHOSEN`].
fn sorted(
    flows: &[Flow],
    place: usize,
    views: &mut [View],
    arrived: Vec<Vec<Vec<u8>>>,
    plain: bool,
) -> Result<Vec<Vec<Came>>, LabError> {
    let mut came = vec![Vec::new(); flows.len()];
    let received = |frames| if plain { frames } else { travels::received(frames) };
    let ends = arrived.into_iter().map(received).enumerate();
    for (end, mut bytes) in ends.flat_map(|(end, all)| all.into_iter().map(move |it| (end, it))) {
        let packet = bytes.get_mut(ETHERNET_HEADER_LEN..).unwrap_or_default();
        let number = flows::number_of(packet).ok_or_else(|| format!("what is this? {bytes:02x?}"))?;
        let Some(which) = flows.iter().position(|flow| flow.number == number) else { continue };
        let packet = &mut bytes[ETHERNET_HEADER_LEN..];
        let (view, sound) = (&mut views[which], ip::is_sound(packet));
        if let Some(Sent { travels, .. }) = flows[which].steps.get(place).filter(|_| !plain) {
            // What was wrong may be passed on as long as it stays wrong: no receiver takes it.
            if travels.damage.is_some() && !sound {
                continue;
            }
            if !travels.fragments.is_empty() && sound {
                ip::allow_fragments(packet);
            }
        }
        if end == OUTSIDE {
            if ip::quote(packet).is_none() {
                view.outside = Some(packet.to_vec());
            }
            if !flows[which].published {
                hide_chosen(packet, view);
            }
        } else if ip::quote(packet).is_none() {
            view.inside = Some(packet.to_vec());
            hide_other_far(packet, flows[which].far);
        }
        if !plain {
            hide_own(packet);
        }
        came[which].push(Came { end, frame: bytes, sound });
    }
    Ok(came)
}

/// A remote who comes to a published port while the endpoint speaks to him by the same ports of its own accord is given another port,
/// or the endpoint could not tell the two apart. Which one is chosen as well.
fn hide_other_far(packet: &mut [u8], far: u16) {
    let Some(at) = ip::header_len(packet) else { return };
    if matches!(packet[9], ip::TCP | ip::UDP) && ip::word(packet, at).is_some_and(|port| port != far) {
        ip::set_word(packet, at, CHOSEN);
        hide_checksum(packet);
    }
}

/// Takes out what depends on a port that was chosen. UDP may have no checksum at all, and that is told.
fn hide_checksum(packet: &mut [u8]) {
    if let Some(place) = ip::checksum_place(packet) {
        let is_none = packet[9] == ip::UDP && ip::word(packet, place) == Some(0);
        ip::set_word(packet, place, u16::from(!is_none));
    }
}

/// Puts [`CHOSEN`] in the place of the port that stands for the flow's endpoint, and takes checksums out that depend on it.
fn hide_chosen(packet: &mut [u8], view: &mut View) {
    let (start, towards) = match ip::quote(packet) {
        Some(start) => (start, Towards::Host),
        None => (0, Towards::Remote),
    };
    let Some(place) = packet.get(start..).and_then(|it| port_place(it, towards)).map(|place| start + place)
    else {
        return;
    };
    let Some(port) = ip::word(packet, place) else { return };
    if start == 0 {
        view.chosen = Some(port);
    }
    ip::set_word(packet, place, CHOSEN);
    for start in [start, 0] {
        hide_checksum(&mut packet[start..]);
    }
}

/// Whoever makes an error itself numbers and marks it as it likes.
fn hide_own(packet: &mut [u8]) {
    let is_own =
        ip::quote(packet).is_some() && ip::src(packet).is_some_and(|src| src == GATEWAY || src == HOST);
    if is_own {
        packet[1] = 0;
        ip::set_word(packet, 4, 0);
        ip::set_word(packet, 10, 0);
    }
}

fn differ(place: usize, kernel: &[Came], pontoon: &[Came]) -> String {
    let mut told = format!("after step {} of the flow", place + 1);
    for (who, came) in [("the kernel", kernel), ("pontoon", pontoon)] {
        // Writing to a string cannot fail.
        let _ = write!(told, "\n  {who} delivers");
        if came.is_empty() {
            told.push_str(" nothing");
        }
        for Came { end, frame, sound } in came {
            let whom = if *end == OUTSIDE { "outside".to_owned() } else { format!("endpoint {end}") };
            let fault = if *sound { "" } else { ", with a wrong checksum or length" };
            let _ =
                write!(told, "\n    {whom}: {}{fault}\n      {}", describe(&Frame::plain(frame)), hex(frame));
        }
    }
    told
}

/// A flow in words.
fn tell(flow: &Flow) -> String {
    let mut told = format!("flow {} of endpoint {}:", flow.number, flow.inside);
    for (number, Sent { step, travels }) in flow.steps.iter().enumerate() {
        let packet = |packet: &[u8]| describe(&Frame::plain(&ethernet(flow, OUTSIDE, packet)));
        let words = match step {
            Step::Out(bytes) | Step::Reply(bytes) => format!("from inside {}", packet(bytes)),
            Step::Back(bytes) => format!("from outside, to the port chosen, {}", packet(bytes)),
            Step::In(bytes) => format!("from outside {}", packet(bytes)),
            Step::ErrorBack(it) => format!("from outside an ICMP error, {it:?}"),
            Step::Forged(it) => format!("from outside a forged ICMP error, {it:?}"),
            Step::ErrorOut(it) => format!("from inside an ICMP error, {it:?}"),
        };
        let _ = write!(told, "\n  {}: {words}", number + 1);
        if let Some(damage) = travels.damage {
            let _ = write!(told, ", with wrong {damage:?}");
        }
        if !travels.fragments.is_empty() {
            let _ = write!(told, ", in fragments {:?}", travels.fragments);
        }
    }
    told
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes.iter().take(96) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
