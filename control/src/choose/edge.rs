//! How networks are connected, publications, rules and links.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::api::types::{
    Connection, LinkBody, NetworkPatch, Protocol, PublicationRequest, PublishedPorts, RuleBody, SnatIp,
    Uplink,
};
use crate::error::Error;
use crate::names;
use crate::state::{NetworkState, State};
use crate::store::{LinkRecord, PublicationRecord, RuleRecord};

fn refuse(sentence: impl Into<String>) -> Error {
    Error::Declaration(sentence.into())
}

/// How the network `name` is connected once `is` has been changed by `patch`.
///
/// # Errors
/// What is given contradicts itself, or what is there.
pub fn connection(name: &str, is: &Connection, patch: &NetworkPatch) -> Result<Connection, Error> {
    let internal = patch.internal.unwrap_or(is.internal);
    let wants_out =
        patch.host_access == Some(true) || patch.uplink.as_ref().is_some_and(|it| *it != Uplink::None);
    if internal && wants_out {
        return Err(refuse(match patch.internal {
            Some(_) => format!(
                "the network {name} cannot be internal and have host access or an uplink: an internal network reaches neither host nor outside"
            ),
            None => format!(
                "the network {name} is internal, which reaches neither host nor outside; make it not so first: `pontoon network set {name} --internal=false`"
            ),
        }));
    }
    if let Some(Uplink::Interface(interface)) = &patch.uplink {
        names::check_interface(interface)?;
    }
    if let Some(SnatIp::Address(address)) = patch.snat_ip
        && (address.is_unspecified()
            || address.is_loopback()
            || address.is_multicast()
            || address.is_broadcast())
    {
        return Err(refuse(format!("nothing can leave the host with the source address {address}")));
    }
    Ok(Connection {
        host_access: patch.host_access.unwrap_or(is.host_access),
        uplink: patch.uplink.clone().unwrap_or_else(|| is.uplink.clone()),
        internal,
        icc: patch.icc.unwrap_or(is.icc),
        snat_ip: patch.snat_ip.unwrap_or(is.snat_ip),
        nat_mapping: patch.nat_mapping.unwrap_or(is.nat_mapping),
        resolver: patch.resolver.unwrap_or(is.resolver),
        dns: patch.dns.as_deref().map_or_else(|| Ok(is.dns.clone()), super::dns::upstreams)?,
    })
}

/// IPv4 only, cut to its prefix: 10.0.0.7/24 is 10.0.0.0/24, as with iptables.
fn subnet(net: IpNet) -> Result<IpNet, Error> {
    match net {
        IpNet::V4(_) => Ok(net.trunc()),
        IpNet::V6(_) => {
            Err(refuse(format!("{net} is IPv6, which the edge does not route yet; give an IPv4 subnet")))
        }
    }
}

/// The publication that is asked for on these ports, with the number `id`, made `now`. One of that number that is there already may be
/// replaced by it.
///
/// # Errors
/// There is no such endpoint, its network is internal, or another publication stands on one of the ports ([`Error::PortsTaken`]).
pub fn publication(
    state: &State,
    network: &str,
    request: &PublicationRequest,
    ports: PublishedPorts,
    id: u32,
    now: String,
) -> Result<PublicationRecord, Error> {
    let endpoint = state.endpoint(network, &request.endpoint)?;
    if state.network(network)?.record.connection.internal {
        return Err(Error::Conflict(format!(
            "the network {network} is internal, so nobody would reach what is published; `pontoon network set {network} --internal=false` connects it"
        )));
    }
    if let Some(other) = state.publications().find(|it| it.ports.collides(&ports) && it.id != id) {
        return Err(Error::PortsTaken(format!(
            "{} is taken by {}/{}, which publishes {}; `pontoon unpublish {} {} {}` frees it",
            ports.host_side(),
            other.network,
            other.endpoint,
            other.ports,
            other.network,
            other.endpoint,
            other.ports
        )));
    }
    let there = state.publications().find(|it| it.id == id).map(|it| it.rules.clone());
    Ok(PublicationRecord {
        id,
        network: network.to_owned(),
        endpoint: endpoint.name.clone(),
        ports,
        rules: numbered(there.unwrap_or_default(), &publication_rules(request, Some(&ports))?),
        created: now,
    })
}

/// The rules of a publication as they are kept; of what is published as these ports, where that is known already.
///
/// # Errors
/// They are given in two ways, or one says something that no packet to these ports can be.
pub fn publication_rules(
    request: &PublicationRequest,
    ports: Option<&PublishedPorts>,
) -> Result<Vec<RuleBody>, Error> {
    let PublicationRequest { allow, rules, ports: wanted, .. } = request;
    if !allow.is_empty() && !rules.is_empty() {
        return Err(refuse(format!(
            "{wanted} has both allow and rules; give one of them, for allow is short for rules"
        )));
    }
    let asked = if rules.is_empty() { &RuleBody::admission(allow) } else { rules };
    asked.iter().map(|body| rule(body, ports)).collect()
}

/// Rules with numbers of their own; those that are there already keep theirs, and with them their hits.
pub fn numbered(mut there: Vec<RuleRecord>, rules: &[RuleBody]) -> Vec<RuleRecord> {
    let mut next = next_number(&there);
    let number = |rule: &RuleBody| match there.iter().position(|it| it.rule == *rule) {
        Some(place) => there.remove(place),
        None => {
            next += 1;
            RuleRecord { id: next - 1, rule: rule.clone() }
        }
    };
    rules.iter().map(number).collect()
}

/// A number that none of these rules has.
pub fn next_number(rules: &[RuleRecord]) -> u32 {
    rules.iter().map(|it| it.id).max().unwrap_or(0) + 1
}

/// The rule as it is kept, of a network or of what is published as these ports.
///
/// # Errors
/// It says something that no packet can be.
pub fn rule(body: &RuleBody, published: Option<&PublishedPorts>) -> Result<RuleBody, Error> {
    if body.port.is_some() && body.protocol == Some(Protocol::Icmp) {
        return Err(refuse("ICMP has no ports; leave out the port, or give tcp or udp"));
    }
    let (from, to) = (body.from.map(subnet).transpose()?, body.to.map(subnet).transpose()?);
    if let Some(ports) = published
        && !may_match(body, to, ports)
    {
        return Err(refuse(format!(
            "no packet to {} is what \"{body}\" is about; a rule of a publication sees packets as they come to the host, before they are led to the endpoint",
            ports.host_side()
        )));
    }
    Ok(RuleBody { from, to, ..body.clone() })
}

/// Whether a packet to published ports can be one that the rule is about.
fn may_match(body: &RuleBody, to: Option<IpNet>, ports: &PublishedPorts) -> bool {
    body.protocol.is_none_or(|it| it == ports.protocol)
        && body.port.is_none_or(|it| it.overlaps(ports.host))
        && to.zip(ports.address).is_none_or(|(net, address)| net.contains(&IpAddr::V4(address)))
}

/// The link as it is kept.
///
/// # Errors
/// There is no such endpoint, both are the same, or the service cannot be.
pub fn link(network: &NetworkState, body: &LinkBody) -> Result<LinkRecord, Error> {
    let name = &network.record.name;
    for endpoint in [&body.from, &body.to] {
        if network.interfaces.contains_key(endpoint) {
            return Err(refuse(format!(
                "{name}/{endpoint} is an existing interface; only endpoints can be linked, for there may be anybody behind an interface"
            )));
        }
        if !network.endpoints.contains_key(endpoint) {
            let name = format!("{name}/{endpoint}");
            return Err(Error::Missing { what: "endpoint", name, list: "network show" });
        }
    }
    link_alone(name, body)
}

/// Checks a link whatever endpoints there are.
fn link_alone(network: &str, body: &LinkBody) -> Result<LinkRecord, Error> {
    if body.from == body.to {
        return Err(refuse(format!("{} needs no link to itself", body.from)));
    }
    let protocol = match (body.port, body.protocol) {
        (None, None) => None,
        (None, Some(_)) => return Err(refuse("a link to a protocol needs a port, such as db:5432/tcp")),
        (Some(0), _) => return Err(refuse("0 is no port; ports are 1 to 65535")),
        (Some(_), Some(Protocol::Icmp)) => {
            return Err(refuse("ICMP has no ports; link to a port of tcp or udp, or to the whole endpoint"));
        }
        (Some(_), protocol) => Some(protocol.unwrap_or(Protocol::Tcp)),
    };
    Ok(LinkRecord { network: network.to_owned(), link: LinkBody { protocol, ..body.clone() } })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connect(is: &Connection, patch: NetworkPatch) -> Result<Connection, String> {
        connection("red", is, &patch).map_err(|error| error.to_string())
    }

    #[test]
    fn internal_and_a_way_out_contradict_each_other() {
        let usual = Connection::default();
        let internal = NetworkPatch { internal: Some(true), ..NetworkPatch::default() };
        let made = connect(&usual, internal.clone()).unwrap();
        assert!(!made.has_host_port() && made.way_out() == Uplink::None);
        for patch in [
            NetworkPatch { host_access: Some(true), ..internal.clone() },
            NetworkPatch { uplink: Some(Uplink::Auto), ..internal.clone() },
            NetworkPatch { uplink: Some(Uplink::Interface("eth0".into())), ..internal.clone() },
        ] {
            assert!(connect(&usual, patch.clone()).unwrap_err().contains("cannot be internal and have"));
            let later = NetworkPatch { internal: None, ..patch };
            assert!(
                connect(&made, later.clone()).unwrap_err().contains("is internal, which reaches neither")
            );
            assert!(connect(&made, NetworkPatch { internal: Some(false), ..later }).is_ok());
        }
        let off = NetworkPatch { host_access: Some(false), uplink: Some(Uplink::None), ..internal };
        assert!(connect(&usual, off).is_ok());
        // What it had before comes back.
        let open = NetworkPatch { internal: Some(false), ..NetworkPatch::default() };
        assert_eq!(connect(&made, open), Ok(usual));
    }

    #[test]
    fn addresses_that_nothing_can_leave_with() {
        for bad in ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255"] {
            let patch = NetworkPatch { snat_ip: Some(bad.parse().unwrap()), ..NetworkPatch::default() };
            assert!(connect(&Connection::default(), patch).unwrap_err().contains(bad));
        }
        let long =
            NetworkPatch { uplink: Some(Uplink::Interface("x".repeat(16))), ..NetworkPatch::default() };
        assert!(connect(&Connection::default(), long).unwrap_err().contains("too long"));
    }

    #[test]
    fn rules_are_about_what_can_be() {
        let body = RuleBody {
            action: crate::api::types::RuleAction::Deny,
            from: Some("10.1.0.7/24".parse().unwrap()),
            to: None,
            protocol: Some(Protocol::Tcp),
            port: Some("80".parse().unwrap()),
        };
        assert_eq!(rule(&body, None).unwrap().from, Some("10.1.0.0/24".parse().unwrap()));
        let icmp = RuleBody { protocol: Some(Protocol::Icmp), ..body.clone() };
        assert!(rule(&icmp, None).unwrap_err().to_string().contains("ICMP has no ports"));
        let ipv6 = RuleBody { to: Some("fd00::/8".parse().unwrap()), ..body };
        assert!(rule(&ipv6, None).unwrap_err().to_string().contains("IPv6"));
    }

    #[test]
    fn rules_of_a_publication_are_about_its_ports() {
        let any = RuleBody::admission(&["192.0.2.0/24".parse().unwrap()])[1].clone();
        let kept = |body: &RuleBody, ports: &str| rule(body, Some(&ports.parse().unwrap()));
        let of = |protocol, port: &str, to: &str| RuleBody {
            protocol,
            port: (!port.is_empty()).then(|| port.parse().unwrap()),
            to: (!to.is_empty()).then(|| to.parse().unwrap()),
            ..any.clone()
        };
        for (good, ports) in [
            (any.clone(), "8080:80"),
            (of(Some(Protocol::Tcp), "8080", "198.51.100.2/32"), "8080:80"),
            (of(Some(Protocol::Udp), "8000-8005", ""), "8004-8010:4-10/udp"),
            (of(None, "", "127.0.0.0/8"), "127.0.0.2:80:80"),
        ] {
            assert_eq!(kept(&good, ports).unwrap(), good);
        }
        for (bad, ports) in [
            (of(Some(Protocol::Udp), "", ""), "8080:80"),
            (of(Some(Protocol::Icmp), "", ""), "8080:80"),
            // The endpoint's port is what the host's becomes.
            (of(None, "80", ""), "8080:80"),
            (of(None, "", "192.0.2.7/32"), "127.0.0.2:80:80"),
        ] {
            let sentence = kept(&bad, ports).unwrap_err().to_string();
            assert!(sentence.contains("no packet to "), "{sentence}");
        }
    }

    #[test]
    fn rules_keep_their_numbers() {
        let [a, b, c] = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"]
            .map(|net| RuleBody::admission(&[net.parse().unwrap()])[0].clone());
        let ids = |rules: &[RuleRecord]| rules.iter().map(|it| it.id).collect::<Vec<_>>();
        let first = numbered(Vec::new(), &[a.clone(), b.clone(), a.clone()]);
        assert_eq!(ids(&first), [1, 2, 3]);
        let second = numbered(first, &[b.clone(), c.clone(), a.clone()]);
        assert_eq!(ids(&second), [2, 4, 1]);
        assert_eq!(second.iter().map(|it| &it.rule).collect::<Vec<_>>(), [&b, &c, &a]);
    }

    #[test]
    fn a_link_is_to_a_port_or_to_everything() {
        let body = |port, protocol| LinkBody { from: "a".into(), to: "b".into(), port, protocol };
        let kept = |port, protocol| link_alone("red", &body(port, protocol)).map(|it| it.link.protocol);
        assert_eq!(kept(None, None).unwrap(), None);
        assert_eq!(kept(Some(80), None).unwrap(), Some(Protocol::Tcp));
        assert_eq!(kept(Some(53), Some(Protocol::Udp)).unwrap(), Some(Protocol::Udp));
        for (port, protocol) in
            [(None, Some(Protocol::Tcp)), (Some(0), None), (Some(1), Some(Protocol::Icmp))]
        {
            assert!(kept(port, protocol).is_err());
        }
        assert!(link_alone("red", &LinkBody { to: "a".into(), ..body(None, None) }).is_err());
    }
}
