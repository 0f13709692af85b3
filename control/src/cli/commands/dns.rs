//! The commands about names.

use super::{Done, Session};
use crate::api::types::{DnsAnswer, DnsName, DnsStats};
use crate::cli::args::DnsCommand;
use crate::cli::client::encode;
use crate::cli::show;

impl Session {
    /// `pontoon dns …`.
    ///
    /// # Errors
    /// See [`Session::network`].
    pub fn dns(&self, command: DnsCommand) -> Done {
        match command {
            DnsCommand::Ls { network, list } => {
                let mut all: Vec<DnsName> = self.client.get("/dns/names")?;
                self.only(network, &mut all, |name| &name.network)?;
                self.out.list(&all, list.quiet, |name| name.name.clone(), show::names)
            }
            DnsCommand::Query { name, network, kind } => {
                let mut target = format!("/dns/query?network={}&name={}", encode(&network), encode(&name));
                if let Some(kind) = kind {
                    target = target + "&type=" + &encode(&kind);
                }
                let answer: DnsAnswer = self.client.get(&target)?;
                self.out.show(&answer, || show::dns_answer(&answer))
            }
            DnsCommand::Stats => {
                let stats: DnsStats = self.client.get("/dns")?;
                self.out.show(&stats, || show::dns_stats(&stats))
            }
        }
    }
}
