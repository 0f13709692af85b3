//! What /etc/hosts, /etc/hostname and /etc/resolv.conf say in a sandbox: what docker's say in a container.

use std::fmt::Write;
use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use crate::dns::place::LOCAL_ADDRESS;
use crate::dns::upstreams::RESOLV_CONF;

/// More than this of the host's resolv.conf is not read, in bytes.
pub(super) const LARGEST: usize = 16 << 10;

/// The files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Files {
    /// What the kernel and /etc/hostname say.
    pub(super) hostname: String,
    /// /etc/hosts.
    pub(super) hosts: String,
    /// /etc/resolv.conf.
    pub(super) resolv_conf: String,
}

impl Files {
    /// Those of a sandbox with these addresses; `dns` are resolvers that were asked for, `served` says whether names are at 127.0.0.11.
    pub(super) fn of(
        hostname: &str,
        name: &str,
        addresses: &[Ipv4Addr],
        dns: &[IpAddr],
        served: bool,
    ) -> Files {
        let mut host = String::new();
        // Without it there is nothing to carry over.
        let _ = File::open(RESOLV_CONF).and_then(|file| file.take(LARGEST as u64).read_to_string(&mut host));
        let servers = if served { vec![LOCAL_ADDRESS.to_string()] } else { reachable(&host, dns) };
        Files {
            hostname: hostname.to_owned(),
            hosts: hosts(hostname, name, addresses),
            resolv_conf: resolv_conf(&host, &servers, served),
        }
    }
}

fn hosts(hostname: &str, name: &str, addresses: &[Ipv4Addr]) -> String {
    let mut text = "\
127.0.0.1\tlocalhost
::1\tlocalhost ip6-localhost ip6-loopback
fe00::\tip6-localnet
ff00::\tip6-mcastprefix
ff02::1\tip6-allnodes
ff02::2\tip6-allrouters
"
    .to_owned();
    let mut names = vec![hostname];
    names.extend(hostname.split_once('.').map(|(first, _)| first));
    if !names.contains(&name) {
        names.push(name);
    }
    for address in addresses {
        // Writing into a string cannot fail.
        let _ = writeln!(text, "{address}\t{}", names.join(" "));
    }
    text
}

/// The lines of a resolv.conf(5) with this keyword, without it.
fn lines<'a>(host: &'a str, keyword: &str) -> impl Iterator<Item = &'a str> {
    host.lines().filter_map(move |line| {
        let rest = line.trim_start().strip_prefix(keyword)?;
        rest.starts_with([' ', '\t']).then(|| rest.trim())
    })
}

/// Whom a sandbox without a resolver of ours shall ask: `dns`, or whom the host asks, but for those that only the host itself has.
fn reachable(host: &str, dns: &[IpAddr]) -> Vec<String> {
    if !dns.is_empty() {
        return dns.iter().map(ToString::to_string).collect();
    }
    let is_own = |it: &&str| it.parse::<IpAddr>().is_ok_and(|it| it.to_canonical().is_loopback());
    lines(host, "nameserver").filter(|it| !is_own(it)).map(str::to_owned).collect()
}

/// The servers, with what the host's file says of searching and options.
fn resolv_conf(host: &str, servers: &[String], served: bool) -> String {
    let mut text: String = servers.iter().map(|it| format!("nameserver {it}\n")).collect();
    // Of domain and search the last one counts (resolv.conf(5)).
    let search =
        host.lines().rev().find_map(|line| lines(line, "search").chain(lines(line, "domain")).next());
    text.extend(search.map(|it| format!("search {it}\n")));
    let mut options: Vec<&str> = lines(host, "options").flat_map(str::split_ascii_whitespace).collect();
    // So that the C library asks for a name as it is before it searches: `db` is the sandbox next door, not db.example.com.
    if served && !options.iter().any(|it| it.starts_with("ndots:")) {
        options.push("ndots:0");
    }
    if !options.is_empty() {
        text += &format!("options {}\n", options.join(" "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "\
# made by hand
domain old.example
nameserver 127.0.0.53
nameserver 192.0.2.53
nameserver ::1
search a.example b.example
options edns0 trust-ad
options timeout:3
sortlist 10.0.0.0
";

    #[test]
    fn hosts_has_localhost_and_every_address_with_its_names() {
        let addresses = [Ipv4Addr::new(10, 88, 0, 2), Ipv4Addr::new(10, 89, 0, 2)];
        let own = |hostname, name| {
            let text = hosts(hostname, name, &addresses);
            assert!(
                text.starts_with("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"),
                "{text}"
            );
            text.lines().skip(6).map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(own("web", "web"), ["10.88.0.2\tweb", "10.89.0.2\tweb"]);
        assert_eq!(own("h", "web"), ["10.88.0.2\th web", "10.89.0.2\th web"]);
        assert_eq!(own("web.example.com", "web")[0], "10.88.0.2\tweb.example.com web");
        assert_eq!(hosts("h", "web", &[]).lines().count(), 6);
    }

    #[test]
    fn searching_and_options_are_carried_over() {
        let ours = ["127.0.0.11".to_owned()];
        let expected =
            "nameserver 127.0.0.11\nsearch a.example b.example\noptions edns0 trust-ad timeout:3 ndots:0\n";
        assert_eq!(resolv_conf(HOST, &ours, true), expected);
        assert_eq!(resolv_conf("", &ours, true), "nameserver 127.0.0.11\noptions ndots:0\n");
        let own = "options ndots:2\nsearch x.example\n domain y.example\n";
        assert_eq!(
            resolv_conf(own, &ours, true),
            "nameserver 127.0.0.11\nsearch y.example\noptions ndots:2\n"
        );
    }

    #[test]
    fn without_a_resolver_of_ours_those_that_only_the_host_has_are_left_out() {
        let asked: IpAddr = "192.0.2.1".parse().unwrap();
        assert_eq!(reachable(HOST, &[]), ["192.0.2.53"]);
        assert_eq!(reachable(HOST, &[asked]), ["192.0.2.1"]);
        let text = resolv_conf(HOST, &reachable(HOST, &[]), false);
        assert!(text.starts_with("nameserver 192.0.2.53\nsearch ") && !text.contains("ndots"), "{text}");
    }
}
