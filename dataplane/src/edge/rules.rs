//! Rules: ordered lists. In each the first line that matches decides, and what none matches passes. Where several lists
//! concern a session (those of its networks and the publication's), each of them must let it pass.

use std::net::{IpAddr, Ipv4Addr};

use super::config::{Action, Rule};
use super::tuple::Tuple;

/// The rule of a list that decides about a packet as it came, if any does.
pub(super) fn first_match<'a>(rules: &'a [Rule], tuple: &Tuple) -> Option<&'a Rule> {
    let (source, destination) = (tuple.source(), tuple.destination());
    rules.iter().find(|rule| rule.matches(source, destination, tuple.protocol, tuple.dst_port))
}

/// Whether that rule lets the packet pass.
pub(crate) fn permits(rule: Option<&Rule>) -> bool {
    rule.is_none_or(|rule| rule.action == Action::Allow)
}

/// As [`first_match`], for a packet of a flow that no sessions are kept for.
pub(super) fn first_match_untracked(
    rules: &[Rule],
    source: Ipv4Addr,
    destination: Ipv4Addr,
    protocol: u8,
) -> Option<&Rule> {
    let (source, destination) = (IpAddr::V4(source), IpAddr::V4(destination));
    rules.iter().find(|rule| {
        rule.source.is_none_or(|net| net.contains(&source))
            && rule.destination.is_none_or(|net| net.contains(&destination))
            && rule.protocol.is_none_or(|it| it as u8 == protocol)
            && rule.ports.is_none()
    })
}
