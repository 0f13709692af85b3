//! Ports and their settings.

use std::str::FromStr;

use clap::{Subcommand, ValueEnum};

use super::ListArgs;
use crate::api::types::PortPatch;

/// `pontoon port`.
#[derive(Debug, Subcommand)]
pub enum PortCommand {
    /// Put an existing interface on a network
    #[command(after_help = "\
While it is a port the host itself neither hears nor speaks by it, whatever addresses it has there:
do not give away the interface that you reach this machine by. `port rm` gives it back as it was.

Example:
  pontoon port add blue --interface eth1")]
    Add {
        /// The network's name
        #[arg(value_name = "NETWORK")]
        network: String,
        /// The interface's name
        #[arg(long, value_name = "IFACE")]
        interface: String,
    },
    /// Take an existing interface off its network and give it back as it was
    #[command(
        after_help = "Examples:\n  pontoon port rm blue --interface eth1\n  pontoon port rm blue/eth1",
        visible_alias = "remove"
    )]
    Rm {
        /// The port (NETWORK/IFACE), or with --interface the network's name
        #[arg(value_name = "PORT")]
        port: String,
        /// The interface's name
        #[arg(long, value_name = "IFACE")]
        interface: Option<String>,
    },
    /// List ports: endpoints and existing interfaces
    #[command(visible_alias = "list")]
    Ls {
        /// Only the ports of this network
        #[arg(value_name = "NETWORK")]
        network: Option<String>,
        /// How to list
        #[command(flatten)]
        list: ListArgs,
    },
    /// Change what a port may do
    #[command(
        after_help = "Examples:\n  pontoon port set blue/web isolated on\n  pontoon port set blue/eth1 learning off\n  pontoon port set blue/eth1 broadcast-limit 500"
    )]
    Set {
        /// The port: NETWORK/ENDPOINT or NETWORK/IFACE
        #[arg(value_name = "PORT")]
        port: String,
        /// What to change
        #[arg(value_enum)]
        flag: Flag,
        /// Whether it may; for limits how many frames a second, or off
        #[arg(value_name = "on|off|FRAMES")]
        value: FlagValue,
    },
}

/// A port's flags.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Flag {
    /// Source addresses go into the FDB
    Learning,
    /// Frames to unknown stations leave by it
    Flood,
    /// No frame passes between two isolated ports
    Isolated,
    /// A frame may leave by the port that it came from
    Hairpin,
    /// Frames must carry the endpoint's own addresses
    Guard,
    /// Broadcasts a second that are taken from it
    BroadcastLimit,
    /// Frames to groups a second that are taken from it
    MulticastLimit,
    /// Frames to unknown stations a second that are taken from it
    UnknownLimit,
    /// It is blocked for a while when it is in a loop
    LoopGuard,
}

impl Flag {
    /// The change that sets this flag and leaves the others.
    ///
    /// # Errors
    /// A switch is no number, and a limit not merely on.
    pub fn patch(self, value: FlagValue) -> Result<PortPatch, String> {
        let mut patch = PortPatch::default();
        let switch = match self {
            Flag::Learning => &mut patch.learning,
            Flag::Flood => &mut patch.flood,
            Flag::Isolated => &mut patch.isolated,
            Flag::Hairpin => &mut patch.hairpin,
            Flag::Guard => &mut patch.guard,
            Flag::LoopGuard => &mut patch.loop_guard,
            Flag::BroadcastLimit => return value.limit(&mut patch.broadcast_limit).map(|()| patch),
            Flag::MulticastLimit => return value.limit(&mut patch.multicast_limit).map(|()| patch),
            Flag::UnknownLimit => return value.limit(&mut patch.unknown_limit).map(|()| patch),
        };
        *switch = match value {
            FlagValue::On => Some(true),
            FlagValue::Off => Some(false),
            FlagValue::Frames(_) => return Err("this flag is on or off, not a number".to_owned()),
        };
        Ok(patch)
    }
}

/// What a port's flag is set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlagValue {
    /// It may.
    On,
    /// It may not; of limits: there is none.
    Off,
    /// So many frames a second.
    Frames(u32),
}

impl FlagValue {
    fn limit(self, limit: &mut Option<u32>) -> Result<(), String> {
        *limit = Some(match self {
            FlagValue::Frames(frames) => frames,
            FlagValue::Off => 0,
            FlagValue::On => return Err("a limit is a number of frames a second, or off".to_owned()),
        });
        Ok(())
    }
}

impl FromStr for FlagValue {
    type Err = String;

    fn from_str(text: &str) -> Result<FlagValue, String> {
        match text {
            "on" => Ok(FlagValue::On),
            "off" => Ok(FlagValue::Off),
            number => {
                number.parse().map(FlagValue::Frames).map_err(|_| "write on, off or a number".to_owned())
            }
        }
    }
}
