//! Arguments of `pontoon link` and `unlink`.

use clap::{Args, Subcommand};

use crate::api::types::{LinkBody, PortRange, Protocol};

/// `pontoon link`.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    after_help = "\
On a network with --icc=false endpoints and existing interfaces talk only to the gateway's side. A
link lets the endpoint A begin with B, and B answer; B may begin nothing. Interfaces cannot be
linked, for there may be anybody behind them.

Examples:
  pontoon link blue web db:5432
  pontoon link blue web dns:53/udp
  pontoon link blue admin web
  pontoon link ls"
)]
pub struct LinkArgs {
    /// List links instead
    #[command(subcommand)]
    pub command: Option<LinkCommand>,
    /// Which link
    #[command(flatten)]
    pub link: Option<WhichLink>,
}

/// What else `pontoon link` does.
#[derive(Debug, Subcommand)]
pub enum LinkCommand {
    /// List links
    #[command(visible_alias = "list")]
    Ls {
        /// Only the links of this network
        #[arg(value_name = "NETWORK")]
        network: Option<String>,
    },
}

/// A link: for `pontoon link` and `pontoon unlink`.
#[derive(Debug, Args)]
pub struct WhichLink {
    /// The network's name
    #[arg(value_name = "NETWORK")]
    pub network: String,
    /// The endpoint that may begin
    #[arg(value_name = "A")]
    pub from: String,
    /// The endpoint that may be spoken to, and what of it: everything when no port is given
    #[arg(value_name = "B[:PORT[/tcp|udp]]", value_parser = parse_target)]
    pub to: Target,
}

impl WhichLink {
    /// The link as the API names it.
    pub fn body(&self) -> LinkBody {
        let Target { endpoint, service } = self.to.clone();
        let (port, protocol) = service.unzip();
        LinkBody { from: self.from.clone(), to: endpoint, port, protocol }
    }
}

/// Whom a link is to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The endpoint.
    pub endpoint: String,
    /// What of it; none: everything.
    pub service: Option<(u16, Protocol)>,
}

pub(in crate::cli::args) fn parse_target(text: &str) -> Result<Target, String> {
    let Some((endpoint, service)) = text.split_once(':') else {
        return Ok(Target { endpoint: text.to_owned(), service: None });
    };
    let (port, protocol) = match service.split_once('/') {
        None | Some((_, "tcp")) => (service.trim_end_matches("/tcp"), Protocol::Tcp),
        Some((port, "udp")) => (port, Protocol::Udp),
        Some((_, other)) => return Err(format!("\"{other}\" is no protocol of ports; write /tcp or /udp")),
    };
    let ports: PortRange = port.parse().map_err(|error: crate::api::types::PortsError| error.to_string())?;
    if ports.len() > 1 {
        return Err("a link is to one port; make one for each".to_owned());
    }
    Ok(Target { endpoint: endpoint.to_owned(), service: Some((ports.first, protocol)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        let target = |text: &str| parse_target(text).map(|it| (it.endpoint, it.service));
        assert_eq!(target("db"), Ok(("db".into(), None)));
        assert_eq!(target("db:5432"), Ok(("db".into(), Some((5432, Protocol::Tcp)))));
        assert_eq!(target("db:5432/tcp"), Ok(("db".into(), Some((5432, Protocol::Tcp)))));
        assert_eq!(target("db:53/udp"), Ok(("db".into(), Some((53, Protocol::Udp)))));
        for (bad, words) in [
            ("db:", "\"\" is no port"),
            ("db:0", "\"0\" is no port"),
            ("db:1-2", "one port"),
            ("db:1/icmp", "\"icmp\" is no protocol"),
            ("db:1/", "\"\" is no protocol"),
        ] {
            assert!(target(bad).unwrap_err().contains(words), "{bad}");
        }
    }
}
