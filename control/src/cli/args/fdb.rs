//! The FDB.

use clap::Subcommand;

use crate::api::types::Mac;

/// `pontoon fdb`.
#[derive(Debug, Subcommand)]
pub enum FdbCommand {
    /// List entries, as `bridge fdb` does
    #[command(
        visible_alias = "list",
        after_help = "\
KIND is one of
  learned  from a frame; moves to another port when a frame comes in there, and ages
  sticky   learned from a guarded port: no other port can take the address over while it lives
  static   added by hand; neither moves nor ages"
    )]
    Ls {
        /// Only the entries of this network
        #[arg(value_name = "NETWORK")]
        network: Option<String>,
        /// Print MACs only, one a line
        #[arg(short, long)]
        quiet: bool,
    },
    /// Add a static entry, which neither ages nor moves
    #[command(after_help = "Example:\n  pontoon fdb add blue 02:42:0a:58:00:63 eth1")]
    Add {
        /// The network's name
        #[arg(value_name = "NETWORK")]
        network: String,
        /// The station
        #[arg(value_name = "MAC")]
        mac: Mac,
        /// The port that it is behind: NETWORK/ENDPOINT, or the endpoint's or interface's name alone
        #[arg(value_name = "PORT")]
        port: String,
    },
    /// Remove an entry, static or learned
    #[command(visible_alias = "remove")]
    Rm {
        /// The network's name
        #[arg(value_name = "NETWORK")]
        network: String,
        /// The station
        #[arg(value_name = "MAC")]
        mac: Mac,
    },
    /// Forget all learned entries of a network, or of one of its ports
    Flush {
        /// The network's name
        #[arg(value_name = "NETWORK")]
        network: String,
        /// Only the entries of this port
        #[arg(long, value_name = "PORT")]
        port: Option<String>,
    },
}
