//! What happens, from a seed: stations that speak, move and fall silent, strangers, damaged frames, and an administrator who
//! changes his mind.

use std::time::Duration;

use pontoon_dataplane::MacAddr;
use pontoon_dataplane::network::{PortSettings, StormLimits};
use pontoon_dataplane::offload::Offload;
use pontoon_dataplane::port::memory::OwnedFrame;

use super::frames::{self, Station};
use super::script::{Change, Event, Script};
use super::wires::mtu;
use crate::random::Random;

/// What ports have before anything is changed: no limit, for the kernel's have none.
pub const PLAIN: PortSettings = PortSettings {
    learning: true,
    flood: true,
    isolated: false,
    hairpin: false,
    guard: false,
    storm: StormLimits::NONE,
    loop_guard: false,
};

/// How long learned addresses live while that is looked at.
const SHORT_AGEING: Duration = Duration::from_secs(3);

/// A script of `frames` frames for `ports` ports. The same numbers give the same script.
pub fn script(seed: u64, round: u64, frames: usize, ports: usize) -> Script {
    let mut generator = Generator::new(Random::stream(seed, round), ports);
    while generator.frames < frames {
        generator.something_happens();
    }
    generator.script
}

/// A script that looks at ageing: who was heard again, who was not, and all of them silent. It takes eight seconds.
pub fn ageing(seed: u64, ports: usize) -> Script {
    let mut generator = Generator::new(Random::stream(seed, u64::MAX), ports);
    let stations = generator.stations.clone();
    let speak = |generator: &mut Generator, who: &dyn Fn(usize) -> bool| {
        for (_, station) in stations.iter().enumerate().filter(|(number, _)| who(*number)) {
            generator.say(station.port, station.mac, MacAddr::BROADCAST);
        }
    };
    let ask = |generator: &mut Generator| {
        for (number, station) in stations.iter().enumerate() {
            let asker = Station::new(1000 + number as u16, (station.port + 1) % ports);
            generator.say(asker.port, asker.mac, station.mac);
        }
    };
    generator.change(Change::Ageing(SHORT_AGEING));
    speak(&mut generator, &|_| true);
    ask(&mut generator);
    generator.change(Change::Pass(SHORT_AGEING / 2));
    speak(&mut generator, &|number| number % 2 == 0);
    generator.change(Change::Pass(SHORT_AGEING * 3 / 4));
    ask(&mut generator);
    generator.change(Change::Pass(SHORT_AGEING * 5 / 4));
    ask(&mut generator);
    generator.change(Change::Ageing(Duration::ZERO));
    speak(&mut generator, &|_| true);
    ask(&mut generator);
    generator.script
}

struct Generator {
    random: Random,
    ports: usize,
    stations: Vec<Station>,
    statics: Vec<MacAddr>,
    down: Vec<bool>,
    /// The last few frames, to come again.
    recent: Vec<OwnedFrame>,
    script: Script,
    frames: usize,
}

impl Generator {
    fn new(mut random: Random, ports: usize) -> Generator {
        let count = random.between(ports, 8 * ports);
        let stations =
            (0..count).map(|number| Station::new(number as u16 + 2, random.below(ports))).collect();
        Generator {
            random,
            ports,
            stations,
            statics: Vec::new(),
            down: vec![false; ports],
            recent: Vec::new(),
            script: Vec::new(),
            frames: 0,
        }
    }

    fn something_happens(&mut self) {
        match self.random.below(200) {
            0..3 => self.administrate(),
            3..5 => self.move_station(),
            5 => self.pull_or_plug(),
            6..9 => self.repeat(),
            9..12 => self.hostile(),
            12..17 => self.undone(),
            _ => self.talk(),
        }
    }

    fn change(&mut self, change: Change) {
        self.script.push(Event::Change(change));
    }

    fn send(&mut self, port: usize, frame: OwnedFrame) {
        if self.recent.len() < 8 {
            self.recent.push(frame.clone());
        } else {
            let place = self.random.below(8);
            self.recent[place] = frame.clone();
        }
        self.frames += 1;
        self.script.push(Event::Frame { port, frame });
    }

    fn send_plain(&mut self, port: usize, bytes: Vec<u8>) {
        self.send(port, OwnedFrame { bytes, offload: Offload::NONE });
    }

    /// A small frame of no known protocol.
    fn say(&mut self, port: usize, src: MacAddr, dst: MacAddr) {
        let content = frames::Content { ethertype: 0x88b6, payload: vec![0x55; 46], group: None };
        self.send_plain(port, frames::ethernet(dst, src, &[], &content));
    }

    /// One station sends a few frames, as many as a queue might hold.
    fn talk(&mut self) {
        let from = *self.random.pick(&self.stations);
        for _ in 0..self.random.between(1, 8) {
            let to = *self.random.pick(&self.stations);
            let most = usize::from(mtu(from.port));
            let mut content = frames::content(&mut self.random, &from, &to, most);
            if self.random.chance(1, 100) {
                // A byte or two too many, here or there.
                content.payload.resize(most - 2 + self.random.below(12), 0);
            }
            let tags = self.tags();
            let dst = content.group.unwrap_or_else(|| self.destination(&to));
            self.send_plain(from.port, frames::ethernet(dst, from.mac, &tags, &content));
        }
    }

    fn destination(&mut self, to: &Station) -> MacAddr {
        match self.random.below(60) {
            0 => MacAddr::BROADCAST,
            // Nobody.
            1..4 => Station::new(0x0f00 + self.random.below(64) as u16, 0).mac,
            4 => MacAddr([0x03, 0, 0, 0, 0, self.random.below(256) as u8]),
            5 if !self.statics.is_empty() => *self.random.pick(&self.statics),
            _ => to.mac,
        }
    }

    fn tags(&mut self) -> Vec<(u16, u16)> {
        let count = match self.random.below(20) {
            0..16 => 0,
            16..19 => 1,
            _ => self.random.between(2, 4),
        };
        let mut tag = || {
            let tpid = if self.random.chance(3, 4) { 0x8100 } else { 0x88a8 };
            // Priority alone, the smallest and largest identifiers, and others.
            let id = *self.random.pick(&[0u16, 0, 1, 7, 100, 4094, 4095]);
            (tpid, id | (self.random.below(8) as u16) << 13)
        };
        (0..count).map(|_| tag()).collect()
    }

    fn undone(&mut self) {
        let (from, to) = (*self.random.pick(&self.stations), *self.random.pick(&self.stations));
        if let Some(frame) = frames::left_undone(&mut self.random, &from, &to) {
            self.send(from.port, frame);
        }
    }

    /// A frame that was there before, by any port: a duplicate, or a station in two places.
    fn repeat(&mut self) {
        if self.recent.is_empty() {
            return;
        }
        let frame = self.random.pick(&self.recent).clone();
        let port = self.random.below(self.ports);
        for _ in 0..self.random.between(1, 3) {
            self.send(port, frame.clone());
        }
    }

    fn move_station(&mut self) {
        let (who, to) = (self.random.below(self.stations.len()), self.random.below(self.ports));
        self.stations[who].port = to;
    }

    /// Frames that nobody sends who means well.
    fn hostile(&mut self) {
        let from = *self.random.pick(&self.stations);
        let to = *self.random.pick(&self.stations);
        let port = self.random.below(self.ports);
        match self.random.below(6) {
            0 => self.say(port, MacAddr::BROADCAST, to.mac),
            1 => self.say(port, MacAddr([0x01, 0, 0x5e, 1, 2, 3]), to.mac),
            2 => self.say(port, MacAddr::ZERO, to.mac),
            3 => self.say(port, from.mac, MacAddr::ZERO),
            4 => self.say(port, from.mac, from.mac),
            _ => {
                let mut bytes = vec![0; self.random.below(24)];
                self.random.fill(&mut bytes);
                // Not into the tags' country: how short a tagged frame may be is the devices' business.
                if let Some(place) = bytes.get_mut(12..14) {
                    place.copy_from_slice(&[0x88, 0xb7]);
                }
                self.send_plain(port, bytes);
            }
        }
    }

    fn administrate(&mut self) {
        match self.random.below(10) {
            0..6 => {
                let mut on = |chances| self.random.chance(chances, 4);
                let settings =
                    PortSettings { learning: on(3), flood: on(3), isolated: on(1), hairpin: on(1), ..PLAIN };
                let port = self.random.below(self.ports);
                self.change(Change::Settings { port, settings });
            }
            6..8 => {
                let mac = match self.random.chance(1, 2) {
                    true => self.random.pick(&self.stations).mac,
                    false => Station::new(0x0f00 + self.random.below(64) as u16, 0).mac,
                };
                let port = self.random.below(self.ports);
                self.statics.push(mac);
                self.change(Change::RemoveEntry { mac });
                self.change(Change::AddStatic { mac, port });
            }
            8 => {
                let known = self.statics.pop();
                let mac = known.unwrap_or_else(|| self.random.pick(&self.stations).mac);
                self.change(Change::RemoveEntry { mac });
            }
            _ => self.change(Change::Flush),
        }
    }

    fn pull_or_plug(&mut self) {
        let port = self.random.below(self.ports);
        self.down[port] = !self.down[port];
        self.change(Change::Link { port, up: !self.down[port], seen: true });
    }
}
