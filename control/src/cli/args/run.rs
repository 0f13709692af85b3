//! Arguments of `pontoon run`.

use std::ffi::OsString;
use std::net::IpAddr;

use clap::Args;

use super::edge::{Target, parse_target};
use super::parse_address;
use crate::api::types::{LinkTarget, Mac, Membership, WantedPorts};

/// `pontoon run`.
#[derive(Debug, Args)]
#[command(after_help = "\
The command gets network, mount, PID and UTS namespaces of its own, with an interface on each
network (eth0, eth1, ...) and /etc/hosts, /etc/hostname and /etc/resolv.conf of its own. The rest
of the file system, the working directory and the environment are yours. When it ends, by itself
or by a signal, everything that was started in there ends too, and interfaces, addresses, names
and ports are given back. Signals that `pontoon run` gets are passed on to it.

Without --network it is on the network called default, which is created when it is missing.
--network none gives it its loopback alone, --network host no namespace at all; neither needs a
daemon. --network-alias, --ip and --mac-address are about the first network. Those of any network
can be written behind its name: name=NET,alias=NAME,ip=IP,mac-address=MAC.

Exit status: the command's own; 128 and the signal's number when a signal ended it; 125 when
pontoon failed, 126 when the command cannot be executed, 127 when there is none of that name.

Examples:
  pontoon run --network blue -- bash
  pontoon run --network blue --name web -p 8080:80 -- python3 -m http.server 80
  pontoon run --network blue --link db:5432 -- psql -h db
  pontoon run --network front --network name=back,ip=10.89.0.9 --hostname gw -- ip addr
  pontoon run --network none -- make test")]
pub struct RunArgs {
    /// The name of its endpoints, which others find it by [default: a random one]
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// A network that it is on, or none, or host; may be given several times [default: the network called default]
    #[arg(long = "network", visible_alias = "net", value_name = "NET|none|host", value_parser = parse_membership)]
    pub networks: Vec<Membership>,
    /// A further name for it, on the first network only; may be given several times
    #[arg(long = "network-alias", value_name = "NAME")]
    pub aliases: Vec<String>,
    /// Its address on the first network [default: the next one that is free]
    #[arg(long, value_name = "IP", value_parser = parse_address)]
    pub ip: Option<IpAddr>,
    /// Its MAC on the first network [default: 02:42 and the address's four bytes]
    #[arg(long, value_name = "MAC")]
    pub mac_address: Option<Mac>,
    /// Ports of the host that lead to it: [[HOSTIP:][HOSTPORT[-END]]:]PORT[-END][/tcp|udp], without HOSTPORT any that are free (`pontoon
    /// ports` tells which); may be given several times
    #[arg(short, long, value_name = "PORTS", allow_hyphen_values = true)]
    pub publish: Vec<WantedPorts>,
    /// What it calls its host [default: its name]
    #[arg(long, value_name = "NAME")]
    pub hostname: Option<String>,
    /// Whom to ask for names of the outside instead of its network's resolvers; may be given several times
    #[arg(long, value_name = "IP,...", value_delimiter = ',', value_parser = parse_address)]
    pub dns: Vec<IpAddr>,
    /// An endpoint that it may speak to where the network has --icc=false, and what of it; may be given several times
    #[arg(long = "link", value_name = "A[:PORT[/tcp|udp]]", value_parser = parse_target)]
    pub links: Vec<Target>,
    /// The command and its arguments
    #[arg(value_name = "CMD", required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<OsString>,
}

/// Which networks a command is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Networks {
    /// The host's: no namespace at all.
    Host,
    /// None: its loopback alone.
    None,
    /// These; the one called `default` when there are none.
    These(Vec<Membership>),
}

impl RunArgs {
    /// Which networks it shall be on.
    ///
    /// # Errors
    /// One sentence: what contradicts what.
    pub fn memberships(&self) -> Result<Networks, String> {
        let alone =
            self.networks.iter().map(|it| it.network.as_str()).find(|it| matches!(*it, "none" | "host"));
        let Some(alone) = alone else { return Ok(Networks::These(self.with_first())) };
        if self.networks.len() > 1 {
            return Err(format!(
                "--network {alone} and another network contradict each other; leave one out"
            ));
        }
        let Membership { aliases, ip, mac, .. } = &self.networks[0];
        let host = alone == "host";
        let given = [
            ("--network-alias", !self.aliases.is_empty() || !aliases.is_empty()),
            ("--ip", self.ip.or(*ip).is_some()),
            ("--mac-address", self.mac_address.or(*mac).is_some()),
            ("--publish", !self.publish.is_empty()),
            ("--link", !self.links.is_empty()),
            ("--hostname", host && self.hostname.is_some()),
            ("--dns", host && !self.dns.is_empty()),
            ("--name", host && self.name.is_some()),
        ];
        match given.iter().find(|(_, is_given)| *is_given) {
            Some((option, _)) => Err(format!("{option} has no effect with --network {alone}; leave it out")),
            None if host => Ok(Networks::Host),
            None => Ok(Networks::None),
        }
    }

    /// The networks, the first of them with what was said of it apart.
    fn with_first(&self) -> Vec<Membership> {
        let mut all = self.networks.clone();
        let says = !self.aliases.is_empty() || self.ip.is_some() || self.mac_address.is_some();
        if all.is_empty() && says {
            all.push(Membership {
                network: crate::manager::DEFAULT_NETWORK.to_owned(),
                ..Membership::default()
            });
        }
        if let Some(first) = all.first_mut() {
            first.aliases.extend(self.aliases.iter().cloned());
            first.ip = self.ip.or(first.ip);
            first.mac = self.mac_address.or(first.mac);
        }
        all
    }

    /// Whom it may speak to.
    pub fn link_targets(&self) -> Vec<LinkTarget> {
        let target = |it: &Target| {
            let (port, protocol) = it.service.unzip();
            LinkTarget { to: it.endpoint.clone(), port, protocol }
        };
        self.links.iter().map(target).collect()
    }
}

/// A network's name alone, or docker's longer way: `name=NET,alias=NAME,ip=IP,mac-address=MAC`.
fn parse_membership(text: &str) -> Result<Membership, String> {
    let mut made = Membership::default();
    if !text.contains('=') {
        made.network = text.to_owned();
        return Ok(made);
    }
    for part in text.split(',') {
        match part.split_once('=') {
            Some(("name", name)) => made.network = name.to_owned(),
            Some(("alias", alias)) => made.aliases.push(alias.to_owned()),
            Some(("ip", ip)) => made.ip = Some(parse_address(ip)?),
            Some(("mac-address", mac)) => made.mac = Some(mac.parse().map_err(|error| format!("{error}"))?),
            _ => {
                return Err(format!(
                    "\"{part}\" says nothing about a network; write name=NET and alias=NAME, ip=IP, mac-address=MAC, with commas between"
                ));
            }
        }
    }
    if made.network.is_empty() { Err("say which network: name=NET".to_owned()) } else { Ok(made) }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::args::{Cli, Command};

    fn parse(line: &str) -> RunArgs {
        match Cli::try_parse_from(line.split_whitespace())
            .unwrap_or_else(|error| panic!("{line}: {error}"))
            .command
        {
            Command::Run(args) => *args,
            other => panic!("{other:?}"),
        }
    }

    fn networks(options: &str) -> Result<Networks, String> {
        parse(&format!("pontoon run {options} -- true")).memberships()
    }

    #[test]
    fn what_is_said_apart_is_about_the_first_network() {
        let red = Membership {
            network: "red".into(),
            aliases: vec!["www".into()],
            ip: Some("10.1.0.9".parse().unwrap()),
            mac: Some("02:00:00:00:00:09".parse().unwrap()),
        };
        let blue = Membership { network: "blue".into(), ..Membership::default() };
        let both = Networks::These(vec![red.clone(), blue.clone()]);
        for options in [
            "--network red --network blue --network-alias www --ip 10.1.0.9 --mac-address 02:00:00:00:00:09",
            "--network name=red,alias=www,ip=10.1.0.9,mac-address=02:00:00:00:00:09 --net blue",
        ] {
            assert_eq!(networks(options), Ok(both.clone()), "{options}");
        }
        assert_eq!(networks(""), Ok(Networks::These(vec![])));
        let usual = Membership { network: "default".into(), ip: red.ip, ..Membership::default() };
        assert_eq!(networks("--ip 10.1.0.9"), Ok(Networks::These(vec![usual])));
    }

    #[test]
    fn none_and_host_stand_alone_and_nothing_is_ignored() {
        assert_eq!(networks("--network none --hostname h --dns 192.0.2.1 --name n"), Ok(Networks::None));
        assert_eq!(networks("--network host"), Ok(Networks::Host));
        for options in [
            "--network none --network red",
            "--network red --network host",
            "--network none -p 80:80",
            "--network none --link db",
            "--network name=none,ip=10.1.0.9",
            "--network host --hostname h",
            "--network host --dns 192.0.2.1",
            "--network host --name n",
            "--network host --mac-address 02:00:00:00:00:09",
        ] {
            assert!(networks(options).is_err(), "{options}");
        }
    }

    #[test]
    fn whatever_follows_the_command_is_its_own() {
        let args = parse("pontoon run --network red sh -c --network blue");
        assert_eq!(args.command, ["sh", "-c", "--network", "blue"]);
        assert_eq!(args.networks.len(), 1);
        assert_eq!(parse("pontoon run -- -odd --name x").command, ["-odd", "--name", "x"]);
    }
}
