//! The commands about the edge: publishing, rules, links, sessions, uplinks.

use std::path::Path;

use hyper::Method;
use pontoon_dataplane::port::pcap;
use pontoon_dataplane::trace::agreed_segment_size;

use super::{Done, Session};
use crate::api::types::{
    Link, NatFlushed, NatSession, NatSessions, NatStats, Network, Publication, PublicationRequest, Rule,
    RuleRequest, Trace, TraceRequest, UplinkState,
};
use crate::cli::args::{
    LinkArgs, LinkCommand, NatCommand, PortsArgs, PublishArgs, RuleCommand, RuleListArgs, TraceArgs,
    UnpublishArgs, UplinkCommand, WhichLink, WhoseArgs,
};
use crate::cli::client::{encode, path};
use crate::cli::show;
use crate::failure::Failure;

impl Session {
    /// `pontoon publish`.
    ///
    /// # Errors
    /// See [`Session::network`].
    pub fn publish(&self, args: PublishArgs) -> Done {
        let target = path(&["networks", &args.network, "publications"]);
        let PublishArgs { endpoint, ports, allow, .. } = args;
        let request = PublicationRequest { endpoint, ports, allow, rules: Vec::new() };
        let made: Publication = self.client.send(Method::POST, &target, &request)?;
        self.out.show(&made, || show::published(&made))
    }

    /// `pontoon unpublish`.
    ///
    /// # Errors
    /// See [`Session::network`].
    pub fn unpublish(&self, args: UnpublishArgs) -> Done {
        let UnpublishArgs { network, endpoint, which } = args;
        let there: Network = self.client.get(&path(&["networks", &network]))?;
        let mut published = there.publications.iter().filter(|it| it.endpoint == endpoint);
        let Some(found) = published.find(|it| which.is(it, there.publish_address)) else {
            let sentence = format!(
                "{network}/{endpoint} does not publish {which}; `pontoon ports` lists what is published"
            );
            return Err(Failure::Sentence(sentence));
        };
        let target = path(&["networks", &network, "publications", &found.id.to_string()]);
        let ports = found.ports.to_string();
        self.remove(&target, &ports, &format!("{network}/{endpoint}: {ports} no longer published"))
    }

    /// `pontoon ports`.
    ///
    /// # Errors
    /// See [`Session::network`].
    pub fn ports(&self, args: PortsArgs) -> Done {
        let mut all: Vec<Publication> = self.client.get("/publications")?;
        self.only(args.network, &mut all, |it| &it.network)?;
        self.out.list(&all, args.quiet, |it| it.id.to_string(), show::publications)
    }

    /// `pontoon rule …`.
    ///
    /// # Errors
    /// See [`Session::network`].
    pub fn rule(&self, command: RuleCommand) -> Done {
        match command {
            RuleCommand::Add(args) => {
                let request = RuleRequest { rule: args.body(), at: args.at };
                let (target, name) = self.rules_of(&args.list, &[])?;
                let made: Rule = self.client.send(Method::POST, &target, &request)?;
                self.out.show(&made, || format!("{name}: rule {}: {}\n", made.number, made.rule))
            }
            RuleCommand::Ls { list } => {
                let (target, _) = self.rules_of(&list, &[])?;
                let all: Vec<Rule> = self.client.get(&target)?;
                if list.publication.is_some() {
                    return self.out.show(&all, || show::rules(&all));
                }
                let network: Network = self.client.get(&path(&["networks", &list.network]))?;
                self.out.show(&all, || show::rules(&all) + &show::rules_of_publications(&network))
            }
            RuleCommand::Rm { list, number } => {
                let number = number.to_string();
                let (target, name) = self.rules_of(&list, &[&number])?;
                self.remove(&target, &number, &format!("{name}: rule {number} removed"))
            }
            RuleCommand::Flush { list } => {
                let (target, name) = self.rules_of(&list, &[])?;
                self.remove(&target, &list.network, &format!("{name}: all rules removed"))
            }
        }
    }

    /// Where a list of rules, or one of them, is to be found, and whose it is.
    fn rules_of(&self, list: &RuleListArgs, rule: &[&str]) -> Result<(String, String), Failure> {
        let RuleListArgs { network, publication } = list;
        let target = path(&[&["networks", network, "rules"], rule].concat());
        let Some(which) = publication else { return Ok((target, network.clone())) };
        let there: Network = self.client.get(&path(&["networks", network]))?;
        let Some(found) = there.publications.iter().find(|it| which.is(it, there.publish_address)) else {
            let sentence =
                format!("{network} does not publish {which}; `pontoon ports` lists what is published");
            return Err(Failure::Sentence(sentence));
        };
        Ok((
            format!("{target}?publication={}", found.id),
            format!("{network}/{} {}", found.endpoint, found.ports),
        ))
    }

    /// `pontoon link …`.
    ///
    /// # Errors
    /// See [`Session::network`].
    pub fn link(&self, args: LinkArgs) -> Done {
        match args {
            LinkArgs { command: Some(LinkCommand::Ls { network }), .. } => {
                let mut all: Vec<Link> = self.client.get("/links")?;
                self.only(network, &mut all, |link| &link.network)?;
                self.out.show(&all, || show::links(&all))
            }
            LinkArgs { link: Some(which), .. } => {
                let target = path(&["networks", &which.network, "links"]);
                let made: Link = self.client.send(Method::POST, &target, &which.body())?;
                let network: Network = self.client.get(&path(&["networks", &which.network]))?;
                self.out.show(&made, || show::linked(&made, &network))
            }
            LinkArgs { command: None, link: None } => Err(Failure::sentence("say which endpoints to link")),
        }
    }

    /// `pontoon unlink`.
    ///
    /// # Errors
    /// See [`Session::network`].
    pub fn unlink(&self, which: &WhichLink) -> Done {
        let link = which.body();
        let mut query = format!("?from={}&to={}", encode(&link.from), encode(&link.to));
        if let (Some(port), Some(protocol)) = (link.port, link.protocol) {
            query += &format!("&port={port}&protocol={protocol}");
        }
        let target = path(&["networks", &which.network, "links"]) + &query;
        let name = link.to_string();
        self.remove(&target, &name, &format!("{}: {name} no longer linked", which.network))
    }

    /// `pontoon nat …`.
    ///
    /// # Errors
    /// See [`Session::network`].
    pub fn nat(&self, command: NatCommand) -> Done {
        match command {
            NatCommand::Ls { whose } => {
                let all = self.sessions(&whose)?;
                self.out.show(&all, || show::sessions(&all))
            }
            NatCommand::Flush { whose } => {
                let target = format!("/nat/sessions?{}", query(&whose));
                let done: NatFlushed = self.client.delete(&target)?;
                self.out.show(&done, || show::flushed(done))
            }
            NatCommand::Stats => {
                let stats: NatStats = self.client.get("/nat/stats")?;
                self.out.show(&stats, || show::nat_stats(&stats))
            }
        }
    }

    /// All pages.
    fn sessions(&self, whose: &WhoseArgs) -> Result<Vec<NatSession>, Failure> {
        let (mut all, mut from) = (Vec::new(), 0);
        loop {
            let target = format!("/nat/sessions?from={from}&{}", query(whose));
            let page: NatSessions = self.client.get(&target)?;
            all.extend(page.sessions);
            match page.next {
                // A daemon that does not get on shall not keep us.
                Some(next) if next > from => from = next,
                _ => return Ok(all),
            }
        }
    }

    /// `pontoon trace`.
    ///
    /// # Errors
    /// See [`Session::network`]; the capture cannot be read.
    pub fn trace(&self, args: TraceArgs) -> Done {
        let TraceArgs { network, from, packet, pcap, frame } = args;
        let captured = pcap.map(|file| captured(&file, frame)).transpose()?;
        let (frame, segment_size) = captured.map_or((None, None), |(frame, size)| (Some(frame), size));
        let request = TraceRequest { network, from, packet, frame, segment_size };
        let trace: Trace = self.client.send(Method::POST, "/trace", &request)?;
        self.out.show(&trace, || show::trace(&trace))
    }

    /// `pontoon uplink …`.
    ///
    /// # Errors
    /// See [`Session::network`].
    pub fn uplink(&self, command: UplinkCommand) -> Done {
        let UplinkCommand::Ls { quiet } = command;
        let all: Vec<UplinkState> = self.client.get("/uplinks")?;
        self.out.list(&all, quiet, |it| it.interface.clone(), show::uplinks)
    }
}

/// A frame of a capture, in hexadecimal, and how large segments of its TCP connection may be, if the capture shows that.
fn captured(file: &Path, number: u32) -> Result<(String, Option<u16>), Failure> {
    let frames = pcap::read(file).map_err(|error| Failure::Sentence(error.to_string()))?;
    let count = frames.len();
    let Some((_, bytes)) = (number as usize).checked_sub(1).and_then(|place| frames.get(place)) else {
        let file = file.display();
        return Err(Failure::Sentence(format!("{file} has no frame {number}; it has {count}")));
    };
    let segment_size = agreed_segment_size(bytes, frames.iter().map(|(_, bytes)| bytes.as_slice()));
    Ok((bytes.iter().map(|byte| format!("{byte:02x}")).collect(), segment_size))
}

fn query(whose: &WhoseArgs) -> String {
    let parts = [("network", &whose.network), ("endpoint", &whose.endpoint)];
    let given = parts.iter().filter_map(|(name, value)| Some(format!("{name}={}", encode(value.as_ref()?))));
    given.collect::<Vec<_>>().join("&")
}
