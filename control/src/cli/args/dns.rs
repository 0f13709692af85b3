//! Arguments of the commands about names.

use clap::Subcommand;

use super::ListArgs;

/// `pontoon dns`.
#[derive(Debug, Subcommand)]
pub enum DnsCommand {
    /// List the names that can be asked for
    #[command(visible_alias = "list")]
    Ls {
        /// Only those of this network
        #[arg(value_name = "NETWORK")]
        network: Option<String>,
        /// How to list
        #[command(flatten)]
        list: ListArgs,
    },
    /// Ask for a name as an endpoint of a network does
    #[command(after_help = "\
Examples:
  pontoon dns query web --network blue
  pontoon dns query 10.88.0.2 --network blue
  pontoon dns query example.com --network blue --type MX")]
    Query {
        /// A name, or an address whose name is wanted
        #[arg(value_name = "NAME")]
        name: String,
        /// The network
        #[arg(long, value_name = "NETWORK")]
        network: String,
        /// The type of records [default: A, and PTR for an address]
        #[arg(long = "type", value_name = "TYPE")]
        kind: Option<String>,
    },
    /// Show where names can be asked for, whom the host asks, and what became of questions
    Stats,
}
