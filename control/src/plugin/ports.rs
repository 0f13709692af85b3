//! Published ports as the Engine writes them: `com.docker.network.portmap`, a list of what `docker run -p` gave.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use serde::Deserialize;
use serde_json::Value;

use super::protocol::{Refusal, or_nothing, refuse, shown};
use crate::api::types::{PortRange, Protocol};

/// The sandbox's option that holds them.
const PORT_MAP: &str = "com.docker.network.portmap";

/// A port of an endpoint that is to be reached by a port of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortBinding {
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The endpoint's port.
    pub port: u16,
    /// The host's address; none: every one.
    pub host_ip: Option<Ipv4Addr>,
    /// The host's ports, of which any one will do; none: whichever is free.
    pub host_ports: Option<PortRange>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Wire {
    #[serde(default)]
    proto: u8,
    #[serde(default)]
    port: u16,
    #[serde(default, rename = "HostIP", deserialize_with = "or_nothing")]
    host_ip: String,
    #[serde(default)]
    host_port: u16,
    #[serde(default)]
    host_port_end: u16,
}

/// The ports among a sandbox's options.
pub(super) fn read(mut options: BTreeMap<String, Value>) -> Result<Vec<PortBinding>, Refusal> {
    let list = match options.remove(PORT_MAP) {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(list) => list,
    };
    let list: Vec<Wire> = serde_path_to_error::deserialize(list).map_err(|error| {
        Refusal::Bad(format!("{PORT_MAP} is not right at {}: {}", error.path(), error.inner()))
    })?;
    list.iter().map(binding).collect()
}

fn binding(wire: &Wire) -> Result<PortBinding, Refusal> {
    let Wire { proto, port, ref host_ip, host_port, host_port_end } = *wire;
    // IANA protocol numbers.
    let protocol = match proto {
        6 => Protocol::Tcp,
        17 => Protocol::Udp,
        other => return refuse(format!("pontoon publishes TCP (6) and UDP (17), not protocol {other}")),
    };
    if port == 0 {
        return refuse("0 is no port of a container; ports are 1 to 65535");
    }
    let host_ip = match host_ip.as_str() {
        "" | "0.0.0.0" => None,
        text => match text.parse::<Ipv4Addr>() {
            Ok(address) => Some(address),
            Err(_) => {
                let port = format!("{port}/{protocol}");
                return refuse(format!(
                    "port {port} cannot be published on \"{}\": pontoon publishes on IPv4 addresses; give one, or none for all of them",
                    shown(text)
                ));
            }
        },
    };
    let host_ports = match (host_port, host_port_end) {
        (0, _) => None,
        (first, 0) => Some(PortRange { first, last: first }),
        (first, last) if first <= last => Some(PortRange { first, last }),
        (first, last) => return refuse(format!("the range of host ports {first}-{last} runs backwards")),
    };
    Ok(PortBinding { protocol, port, host_ip, host_ports })
}
