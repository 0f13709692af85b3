//! Uplink ports by themselves: a relay of the test's own carries frames between a TAP, in whose sandbox a kernel speaks, and the
//! uplink, behind which another does.

use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread::JoinHandle;

use pontoon::link::Links;
use pontoon_dataplane::port::buffer::Buffer;
use pontoon_dataplane::port::packet::{Packet, SockFilter};
use pontoon_dataplane::port::tap::Tap;
use pontoon_dataplane::port::{Device, Offloads, Received};
use pontoon_dataplane::segment;
use pontoon_dataplane::{Frame, MacAddr};
use pontoon_tools::lab::Namespace;
use pontoon_tools::netfilter::run_without;
use pontoon_tools::peek::Peek;
use pontoon_tools::tun::TunWire;
use pontoon_tools::{traffic, transfer};
use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fd::OwnedFd;

use crate::daemon::PATIENCE;
use crate::edge::SHORT;
use crate::{Test, test};

const INSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// Who frames from an interface without Ethernet header go to and come from.
const BARE: (MacAddr, MacAddr) = (MacAddr([2, 0, 0, 0, 0, 1]), MacAddr([2, 0, 0, 0, 0, 2]));

const ADMIT_ALL: [SockFilter; 1] = [returns(u32::MAX)];

pub(crate) fn tests() -> Vec<Test> {
    let all = ("all offloads", Offloads::ALL);
    let none = ("none", Offloads::NONE);
    let mut tests = Vec::new();
    for (name, offloads) in [all, none] {
        tests.push(test(format!("uplink/veth, {name}"), move || veth(offloads)));
        tests.push(test(format!("uplink/tun, {name}"), move || tun(offloads)));
    }
    tests.push(test("uplink/hears what its filter admits of what is for the host", hearing));
    tests.push(test("uplink/survives down and up", down_and_up));
    tests.push(test("uplink/loopback is refused", loopback));
    tests
}

const fn returns(bytes: u32) -> SockFilter {
    SockFilter { code: 0x06, jump_true: 0, jump_false: 0, operand: bytes }
}

/// Carries frames between a sandbox's TAP and an uplink.
struct Relay {
    /// The longest frame that went out and came in.
    longest: Arc<[AtomicUsize; 2]>,
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    fn between(tap: Device, uplink: Device) -> Relay {
        let longest = Arc::new([const { AtomicUsize::new(0) }; 2]);
        let stop = Arc::new(eventfd(0, EventfdFlags::empty()).unwrap());
        let (counter, stopped) = (Arc::clone(&longest), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let (mut buffer, mut scratch) = (Buffer::new(), Vec::new());
            loop {
                let devices = [&tap, &uplink].map(|device| PollFd::new(device, PollFlags::IN));
                let [a, b] = devices;
                let mut fds = [a, b, PollFd::from_borrowed_fd(stopped.as_fd(), PollFlags::IN)];
                poll(&mut fds, None).unwrap();
                if !fds[2].revents().is_empty() {
                    return;
                }
                for (number, (from, to)) in [(&tap, &uplink), (&uplink, &tap)].into_iter().enumerate() {
                    let received = from.recv(&mut buffer).unwrap();
                    if received != Received::Frame {
                        continue;
                    }
                    let frame = buffer.frame();
                    if let Some(reply) = arp_reply(frame.bytes) {
                        drop(from.send(&Frame::plain(&reply)));
                        continue;
                    }
                    counter[number].fetch_max(frame.bytes.len(), Relaxed);
                    // What is lost is TCP's business, or fails the test.
                    let send = &mut |frame: &Frame<'_>| drop(to.send(frame));
                    segment::segment(&frame, to.offloads(), &mut scratch, send).unwrap();
                }
            }
        });
        Relay { longest, stop, thread: Some(thread) }
    }

    /// The longest frame that went out, and the longest that came in.
    fn longest(&self) -> [usize; 2] {
        [0, 1].map(|way| self.longest[way].load(Relaxed))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        rustix::io::write(&self.stop, &1u64.to_ne_bytes()).unwrap();
        self.thread.take().unwrap().join().unwrap();
    }
}

/// The answer to a sandbox that looks for the far side of an interface without Ethernet header.
fn arp_reply(frame: &[u8]) -> Option<Vec<u8>> {
    let is_request = frame.get(12..14)? == [0x08, 0x06] && frame.get(6..12)? == BARE.0.0;
    let (sender, target) = (frame.get(22..32)?, frame.get(38..42)?);
    is_request.then(|| {
        let head = [&sender[..6], &BARE.1.0, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 2]].concat();
        [&head[..], &BARE.1.0, target, sender].concat()
    })
}

/// A host with an uplink `up0` to a machine outside, and a sandbox.
struct Site {
    host: Namespace,
    outside: Namespace,
    sandbox: Namespace,
    _wire: Option<TunWire>,
}

impl Site {
    fn with_veth() -> Site {
        let [host, outside, sandbox] = ["host", "outside", "sandbox"].map(|it| Namespace::new(it).unwrap());
        host.run(|| Links::open().unwrap().create_veth("up0", "eth0", outside.netns()).unwrap()).unwrap();
        up(&host, "up0", None);
        up(&outside, "eth0", Some(OUTSIDE));
        Site { host, outside, sandbox, _wire: None }
    }

    fn with_tun() -> Site {
        let [host, outside, sandbox] = ["host", "outside", "sandbox"].map(|it| Namespace::new(it).unwrap());
        let wire = TunWire::with_super_frames(&host, &outside, "up0").unwrap();
        up(&host, "up0", None);
        up(&outside, "up0", Some(OUTSIDE));
        Site { host, outside, sandbox, _wire: Some(wire) }
    }

    /// The sandbox's eth0, with the MAC that frames from outside go to.
    fn tap(&self, mac: MacAddr, offloads: Offloads) -> Device {
        let tap = run_without(&self.sandbox, || Tap::open("eth0", offloads)).unwrap().unwrap();
        let dress = || {
            let links = Links::open().unwrap();
            links.dress(&links.get("eth0").unwrap(), "eth0", mac, 1500).unwrap();
        };
        self.sandbox.run(dress).unwrap();
        up(&self.sandbox, "eth0", Some(INSIDE));
        Device::Tap(tap)
    }

    fn uplink(&self, offloads: Offloads) -> Packet {
        run_without(&self.host, || Packet::open_uplink("up0", offloads)).unwrap().unwrap()
    }

    /// TCP both ways, and UDP.
    fn exchange(&self) {
        for (from, to, address) in
            [(&self.sandbox, &self.outside, OUTSIDE), (&self.outside, &self.sandbox, INSIDE)]
        {
            transfer::tcp(from, to, address, SHORT).unwrap();
            traffic::udp_each(from, to, address, [1, 100, 1472, 5000]).unwrap();
        }
    }
}

fn up(namespace: &Namespace, name: &str, address: Option<Ipv4Addr>) {
    let dress = || {
        let links = Links::open().unwrap();
        let link = links.get(name).unwrap();
        links.set_up(&link, true).unwrap();
        address.into_iter().for_each(|address| links.add_address(&link, address.into(), 24).unwrap());
    };
    namespace.run(dress).unwrap();
}

fn mac_of(namespace: &Namespace, name: &str) -> MacAddr {
    let find = || Links::open().unwrap().get(name).unwrap().mac.unwrap();
    namespace.run(find).unwrap()
}

fn veth(offloads: Offloads) {
    let site = Site::with_veth();
    let tap = site.tap(mac_of(&site.host, "up0"), offloads);
    let uplink = site.uplink(offloads);
    assert!(!uplink.is_bare());
    uplink.set_filter(&ADMIT_ALL).unwrap();
    relay(&site, tap, uplink, offloads);
}

fn tun(offloads: Offloads) {
    let site = Site::with_tun();
    let tap = site.tap(BARE.0, offloads);
    let uplink = site.uplink(offloads);
    assert!(uplink.is_bare());
    uplink.set_filter(&ADMIT_ALL).unwrap();
    relay(&site, tap, uplink, offloads);
}

fn relay(site: &Site, tap: Device, uplink: Packet, offloads: Offloads) {
    let relay = Relay::between(tap, Device::Packet(uplink));
    site.exchange();
    let longest = relay.longest();
    if offloads == Offloads::ALL {
        assert!(longest.iter().all(|&len| len > 5000), "no super-frames both ways: {longest:?}");
    }
}

fn hearing() {
    let site = Site::with_veth();
    let uplink = Device::Packet(site.uplink(Offloads::ALL));
    let outside = Peek::open(&site.outside, "eth0").unwrap();
    let own = mac_of(&site.host, "up0");
    let frame =
        |to: MacAddr, what: &str| [&to.0[..], &[2, 0, 0, 0, 0, 9, 0x88, 0xb5], what.as_bytes()].concat();
    // Of what was sent before the last frame, what the uplink heard.
    let heard = |last: &str| {
        let mut buffer = Buffer::new();
        let mut heard = Vec::new();
        while heard.last().is_none_or(|it| it != last) {
            wait(&uplink);
            if uplink.recv(&mut buffer).unwrap() == Received::Frame {
                heard.push(String::from_utf8(buffer.frame().bytes[14..].to_vec()).unwrap());
            }
        }
        heard
    };
    let set_filter = |program: &[SockFilter]| uplink.set_filter(program).unwrap();

    outside.send(&frame(own, "before the first filter")).unwrap();
    set_filter(&ADMIT_ALL);
    outside.send(&frame(MacAddr([2, 0, 0, 0, 0, 7]), "for another host")).unwrap();
    outside.send(&frame(MacAddr::BROADCAST, "for everybody")).unwrap();
    outside.send(&frame(own, "for us")).unwrap();
    // A router that takes over tells everybody.
    assert_eq!(heard("for us"), ["for everybody", "for us"]);

    // Another host's frames reach an interface that somebody else made promiscuous.
    let _listener = site.host.run(|| Packet::open("up0", Offloads::ALL)).unwrap().unwrap();
    outside.send(&frame(MacAddr([2, 0, 0, 0, 0, 7]), "for another host")).unwrap();
    outside.send(&frame(own, "for us")).unwrap();
    assert_eq!(heard("for us"), ["for us"]);

    // Loads the first byte of the payload: only frames that begin with a digit 7 are admitted.
    let load = SockFilter { code: 0x30, jump_true: 0, jump_false: 0, operand: 14 };
    let equals = SockFilter { code: 0x15, jump_true: 0, jump_false: 1, operand: b'7'.into() };
    set_filter(&[load, equals, returns(u32::MAX), returns(0)]);
    for what in ["6", "7", "8", "7 and the last"] {
        outside.send(&frame(own, what)).unwrap();
    }
    assert_eq!(heard("7 and the last"), ["7", "7 and the last"]);
    // A program that the kernel refuses leaves the old one in place.
    assert!(
        uplink.set_filter(&[SockFilter { code: 0x05, jump_true: 0, jump_false: 0, operand: 9 }]).is_err()
    );
    assert!(uplink.set_filter(&[]).is_err());
    for what in ["8", "7 still"] {
        outside.send(&frame(own, what)).unwrap();
    }
    assert_eq!(heard("7 still"), ["7 still"]);
}

fn wait(device: &Device) {
    let mut fds = [PollFd::new(device, PollFlags::IN)];
    let ready = poll(&mut fds, Some(&PATIENCE.try_into().unwrap())).unwrap();
    assert_eq!(ready, 1, "nothing came");
}

fn down_and_up() {
    for site in [Site::with_veth(), Site::with_tun()] {
        let uplink = site.uplink(Offloads::ALL);
        let mac = if uplink.is_bare() { BARE.0 } else { mac_of(&site.host, "up0") };
        let tap = site.tap(mac, Offloads::ALL);
        uplink.set_filter(&ADMIT_ALL).unwrap();
        let relay = Relay::between(tap, Device::Packet(uplink));
        site.exchange();
        for is_up in [false, true] {
            let set = || {
                let links = Links::open().unwrap();
                links.set_up(&links.get("up0").unwrap(), is_up).unwrap();
            };
            site.host.run(set).unwrap();
        }
        site.exchange();
        drop(relay);
    }
}

fn loopback() {
    let host = Namespace::new("host").unwrap();
    let error = host.run(|| Packet::open_uplink("lo", Offloads::ALL)).unwrap().unwrap_err();
    assert!(error.to_string().contains("loopback"), "{error}");
}
