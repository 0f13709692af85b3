//! What happens to both bridges: frames, and what an administrator does between them.

use std::fmt;
use std::time::Duration;

use pontoon_dataplane::MacAddr;
use pontoon_dataplane::network::PortSettings;
use pontoon_dataplane::offload::Offload;
use pontoon_dataplane::port::memory::OwnedFrame;

/// One thing that happens to both bridges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A station sends a frame into a port.
    Frame {
        /// The port, from 0.
        port: usize,
        /// The frame.
        frame: OwnedFrame,
    },
    /// Something else than a frame; both bridges have delivered every frame before it.
    Change(Change),
}

impl Event {
    /// A frame that leaves nothing undone.
    pub fn plain(port: usize, bytes: Vec<u8>) -> Event {
        Event::Frame { port, frame: OwnedFrame { bytes, offload: Offload::NONE } }
    }
}

/// What an administrator does, or time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// A port gets other settings.
    Settings {
        /// The port.
        port: usize,
        /// Its settings from now on; the guard has no counterpart in the kernel and stays off.
        settings: PortSettings,
    },
    /// What was learned is forgotten, and what is learned from now on lives that long.
    Ageing(Duration),
    /// A static entry that does not follow its station.
    AddStatic {
        /// The station.
        mac: MacAddr,
        /// The port it is behind.
        port: usize,
    },
    /// An entry is removed, static or learned.
    RemoveEntry {
        /// The station.
        mac: MacAddr,
    },
    /// What was learned is forgotten.
    Flush,
    /// The interface of whoever is behind the port goes up or down.
    Link {
        /// The port.
        port: usize,
        /// Where it goes.
        up: bool,
        /// Pontoon looks after its links then, as the daemon does once a second.
        seen: bool,
    },
    /// Time passes.
    Pass(Duration),
}

/// What happens, in order.
pub type Script = Vec<Event>;

/// How many frames a script has.
pub fn frames(script: &[Event]) -> usize {
    script.iter().filter(|event| matches!(event, Event::Frame { .. })).count()
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Settings { port, settings } => {
                write!(f, "set {port}")?;
                let PortSettings { learning, flood, isolated, hairpin, .. } = *settings;
                for (name, on) in
                    [("learning", learning), ("flood", flood), ("isolated", isolated), ("hairpin", hairpin)]
                {
                    write!(f, " {name}={}", if on { "on" } else { "off" })?;
                }
                Ok(())
            }
            Change::Ageing(ageing) => write!(f, "ageing {}", ageing.as_millis()),
            Change::AddStatic { mac, port } => write!(f, "static {mac} {port}"),
            Change::RemoveEntry { mac } => write!(f, "forget {mac}"),
            Change::Flush => f.write_str("flush"),
            Change::Link { port, up, seen } => {
                write!(f, "link {port} {}", if *up { "up" } else { "down" })?;
                f.write_str(if *seen { "" } else { " unseen" })
            }
            Change::Pass(time) => write!(f, "pass {}", time.as_millis()),
        }
    }
}
