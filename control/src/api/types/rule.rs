//! Who may open sessions: rules, and links where endpoints are kept apart.

use std::fmt;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::published::{PortRange, Protocol};

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RuleAction {
    /// The session may be opened.
    Allow,
    /// It may not.
    Deny,
}

/// What a rule says; what is left out matches everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleBody {
    /// What it does.
    pub action: RuleAction,
    /// The sessions' source.
    #[schema(value_type = Option<String>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<IpNet>,
    /// Their destination, before it is translated.
    #[schema(value_type = Option<String>)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<IpNet>,
    /// Their protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
    /// Their destination port, or ports; with `tcp` and `udp` only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<PortRange>,
}

impl RuleBody {
    /// The rules by which these may come and nobody else; none when everybody may.
    pub fn admission(allow: &[IpNet]) -> Vec<RuleBody> {
        let rule = |action, from| RuleBody { action, from, to: None, protocol: None, port: None };
        let allowed = allow.iter().map(|net| rule(RuleAction::Allow, Some(*net)));
        let rest = (!allow.is_empty()).then(|| rule(RuleAction::Deny, None));
        allowed.chain(rest).collect()
    }
}

impl fmt::Display for RuleBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.action {
            RuleAction::Allow => "allow",
            RuleAction::Deny => "deny",
        })?;
        if let Some(from) = self.from {
            write!(f, " from {from}")?;
        }
        if let Some(to) = self.to {
            write!(f, " to {to}")?;
        }
        if let Some(protocol) = self.protocol {
            write!(f, " {protocol}")?;
        }
        if let Some(port) = self.port {
            write!(f, " port {port}")?;
        }
        Ok(())
    }
}

/// `POST /networks/NAME/rules`: a rule to add, with `?publication=ID` to one of its publications.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RuleRequest {
    /// What it says.
    pub rule: RuleBody,
    /// The number that it gets; behind all others when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<u32>,
}

/// A rule of a network (`GET /networks/NAME/rules`), or of one of its publications (`?publication=ID`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Rule {
    /// Its place in the order, from 1.
    pub number: u32,
    /// What it says.
    pub rule: RuleBody,
    /// How many new sessions it decided since the daemon's start or since it was added.
    pub hits: u64,
}

/// A hole in the isolation of a network with `icc` off: `from` may open sessions to `to`, which may answer.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkBody {
    /// The endpoint that may begin.
    pub from: String,
    /// The endpoint that may be spoken to.
    pub to: String,
    /// The port that may be spoken to; every protocol and port when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The port's protocol; `tcp` when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
}

impl fmt::Display for LinkBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} to {}", self.from, self.to)?;
        match (self.port, self.protocol) {
            (None, _) => Ok(()),
            (Some(port), protocol) => write!(f, ":{port}/{}", protocol.unwrap_or(Protocol::Tcp)),
        }
    }
}

/// A link of a network (`GET /links`).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub struct Link {
    /// The network.
    pub network: String,
    /// The endpoint that may begin.
    pub from: String,
    /// The endpoint that may be spoken to.
    pub to: String,
    /// The port that may be spoken to; absent when every protocol and port may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The port's protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<Protocol>,
}
