//! How people write ports: `80`, `8000-8010`, and what they publish: `127.0.0.1:8080:80/tcp`.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

use pontoon_dataplane::edge::tuple;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

/// Describes types that are a string in JSON.
macro_rules! written_as_text {
    ($($type:ty),*) => {$(
        impl utoipa::PartialSchema for $type {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                String::schema()
            }
        }

        impl utoipa::ToSchema for $type {}
    )*};
}
pub(super) use written_as_text;

written_as_text!(PortRange, PublishedPorts, WantedPorts);

/// Text that names no ports; each prints as one sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PortsError {
    /// Other parts than it must have.
    #[error(
        "\"{0}\" does not say what to publish; write [[HOSTIP:][HOSTPORT[-END]]:]PORT[-END][/tcp|udp], such as 8080:80, 127.0.0.1:5353:53/udp, or 80 for any port of the host"
    )]
    Shape(String),
    /// No ports of the host where they must be said.
    #[error("\"{0}\" names no port of the host; write HOSTPORT:PORT")]
    AnyPort(String),
    /// No IPv6 yet.
    #[error(
        "\"{0}\" has an IPv6 address of the host, which cannot be published on yet; give an IPv4 address or none"
    )]
    Ipv6(String),
    /// Not an address that a host can have.
    #[error("\"{0}\" is no IPv4 address that the host can have; leave it out to publish on every address")]
    Address(String),
    /// Something other than TCP and UDP.
    #[error("\"{0}\" cannot be published; write /tcp or /udp, or nothing for tcp")]
    Protocol(String),
    /// Not a port.
    #[error("\"{0}\" is no port; ports are 1 to 65535")]
    Port(String),
    /// The last port before the first.
    #[error("the range {first}-{last} runs backwards; write {last}-{first}")]
    Backwards {
        /// As given.
        first: u16,
        /// As given.
        last: u16,
    },
    /// Ranges that cannot be paired.
    #[error("{host} is {} and {endpoint} is {}; both ranges must be equally long", ports(*host), ports(*endpoint))]
    Lengths {
        /// On the host.
        host: PortRange,
        /// At the endpoint.
        endpoint: PortRange,
    },
}

fn ports(range: PortRange) -> String {
    match range.len() {
        1 => "1 port".to_owned(),
        more => format!("{more} ports"),
    }
}

/// A port, or consecutive ones: `80` or `8000-8010`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    /// The first port.
    pub first: u16,
    /// The last port, not below the first.
    pub last: u16,
}

impl PortRange {
    /// How many ports there are.
    #[allow(clippy::len_without_is_empty)]
    pub fn len(self) -> u32 {
        u32::from(self.last) - u32::from(self.first) + 1
    }

    /// Whether both have some port.
    pub fn overlaps(self, other: PortRange) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

impl FromStr for PortRange {
    type Err = PortsError;

    fn from_str(text: &str) -> Result<Self, PortsError> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (port(first)?, port(last)?);
        if first > last { Err(PortsError::Backwards { first, last }) } else { Ok(PortRange { first, last }) }
    }
}

fn port(text: &str) -> Result<u16, PortsError> {
    let bad = || PortsError::Port(text.to_owned());
    // `parse` would take a sign.
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(bad());
    }
    text.parse().ok().filter(|port| *port > 0).ok_or_else(bad)
}

impl Serialize for PortRange {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A number means itself: `port = 80` is what people write.
impl<'de> Deserialize<'de> for PortRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a port, or ports such as \"8000-8010\"")]
        enum Written {
            Number(i64),
            Text(String),
        }
        let text = match Written::deserialize(deserializer)? {
            Written::Number(number) => number.to_string(),
            Written::Text(text) => text,
        };
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What the edge keeps sessions of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP echo.
    Icmp,
}

impl From<Protocol> for tuple::Protocol {
    fn from(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Tcp => tuple::Protocol::Tcp,
            Protocol::Udp => tuple::Protocol::Udp,
            Protocol::Icmp => tuple::Protocol::Icmp,
        }
    }
}

impl From<tuple::Protocol> for Protocol {
    fn from(protocol: tuple::Protocol) -> Self {
        match protocol {
            tuple::Protocol::Tcp => Protocol::Tcp,
            tuple::Protocol::Udp => Protocol::Udp,
            tuple::Protocol::Icmp => Protocol::Icmp,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        tuple::Protocol::from(*self).fmt(f)
    }
}

/// Ports of the host and the endpoint's ports that they lead to: `[HOSTIP:]HOSTPORT[-END]:PORT[-END][/tcp|udp]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublishedPorts {
    /// The host's address; none: every one.
    pub address: Option<Ipv4Addr>,
    /// On the host.
    pub host: PortRange,
    /// The endpoint's; as many as on the host.
    pub endpoint: PortRange,
    /// TCP or UDP.
    pub protocol: Protocol,
}

impl PublishedPorts {
    /// Whether both would stand on some port of some address.
    pub fn collides(&self, other: &PublishedPorts) -> bool {
        let same_address = match (self.address, other.address) {
            (Some(one), Some(another)) => one == another,
            _ => true,
        };
        same_address && self.protocol == other.protocol && self.host.overlaps(other.host)
    }

    /// The same, standing on `address` if it names none itself.
    pub fn or_on(self, address: Option<Ipv4Addr>) -> PublishedPorts {
        PublishedPorts { address: self.address.or(address), ..self }
    }

    /// Where it stands on the host: `127.0.0.1:8080-8090/tcp`.
    pub fn host_side(&self) -> String {
        let address = self.address.map(|address| format!("{address}:")).unwrap_or_default();
        format!("{address}{}/{}", self.host, self.protocol)
    }
}

impl fmt::Display for PublishedPorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(address) = self.address {
            write!(f, "{address}:")?;
        }
        write!(f, "{}:{}/{}", self.host, self.endpoint, self.protocol)
    }
}

impl FromStr for PublishedPorts {
    type Err = PortsError;

    fn from_str(text: &str) -> Result<Self, PortsError> {
        text.parse::<WantedPorts>()?.settled().ok_or_else(|| PortsError::AnyPort(text.to_owned()))
    }
}

/// What shall be published: `[[HOSTIP:][HOSTPORT[-END]]:]PORT[-END][/tcp|udp]`. Without ports of the host any that are free will do, as
/// many in a row as the endpoint's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct WantedPorts {
    /// The host's address; none: every one.
    pub address: Option<Ipv4Addr>,
    /// On the host; none: any that are free.
    pub host: Option<PortRange>,
    /// The endpoint's; as many as on the host.
    pub endpoint: PortRange,
    /// TCP or UDP.
    pub protocol: Protocol,
}

impl WantedPorts {
    /// Where ports of the host are chosen from when any will do: the kernel's own range for such ports, as Docker does.
    pub const ANY: PortRange = PortRange { first: 32_768, last: 60_999 };

    /// The same, standing on `address` if it names none itself.
    pub fn or_on(self, address: Option<Ipv4Addr>) -> WantedPorts {
        WantedPorts { address: self.address.or(address), ..self }
    }

    /// What is wanted, if that is one thing.
    pub fn settled(self) -> Option<PublishedPorts> {
        self.host.map(|host| self.on(host))
    }

    /// What is wanted, from the host's port `first` on; none where the ports of the host end.
    pub fn from(self, first: u16) -> Option<PublishedPorts> {
        let last = first.checked_add(self.endpoint.last - self.endpoint.first)?;
        Some(self.on(PortRange { first, last }))
    }

    fn on(self, host: PortRange) -> PublishedPorts {
        let WantedPorts { address, endpoint, protocol, .. } = self;
        PublishedPorts { address, host, endpoint, protocol }
    }

    /// Whether `ports` are what is wanted: those that are named, or such as are chosen when none are.
    pub fn is_met_by(self, ports: PublishedPorts) -> bool {
        let host =
            if Self::ANY.overlaps(ports.host) { self.host.and(Some(ports.host)) } else { Some(ports.host) };
        self == WantedPorts { host, ..ports.into() }
    }
}

impl From<PublishedPorts> for WantedPorts {
    fn from(ports: PublishedPorts) -> WantedPorts {
        let PublishedPorts { address, host, endpoint, protocol } = ports;
        WantedPorts { address, host: Some(host), endpoint, protocol }
    }
}

impl fmt::Display for WantedPorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.settled(), self.address) {
            (Some(ports), _) => ports.fmt(f),
            (None, Some(address)) => write!(f, "{address}::{}/{}", self.endpoint, self.protocol),
            (None, None) => write!(f, "{}/{}", self.endpoint, self.protocol),
        }
    }
}

impl FromStr for WantedPorts {
    type Err = PortsError;

    fn from_str(text: &str) -> Result<Self, PortsError> {
        let shape = || PortsError::Shape(text.to_owned());
        if text.contains('[') || text.matches(':').count() > 2 {
            return Err(PortsError::Ipv6(text.to_owned()));
        }
        let (ports, protocol) = match text.split_once('/') {
            None => (text, Protocol::Tcp),
            Some((ports, "tcp")) => (ports, Protocol::Tcp),
            Some((ports, "udp")) => (ports, Protocol::Udp),
            Some((_, other)) => return Err(PortsError::Protocol(other.to_owned())),
        };
        let (rest, endpoint) = ports.rsplit_once(':').unwrap_or(("", ports));
        let (address, host) = match rest.rsplit_once(':') {
            Some((address, host)) => (host_address(address)?, host),
            None => (None, rest),
        };
        if endpoint.is_empty() {
            return Err(shape());
        }
        let host: Option<PortRange> = if host.is_empty() { None } else { Some(host.parse()?) };
        let endpoint: PortRange = endpoint.parse()?;
        match host {
            Some(host) if host.len() != endpoint.len() => Err(PortsError::Lengths { host, endpoint }),
            _ => Ok(WantedPorts { address, host, endpoint, protocol }),
        }
    }
}

/// An address to stand on; `0.0.0.0` is every one.
fn host_address(text: &str) -> Result<Option<Ipv4Addr>, PortsError> {
    let bad = || PortsError::Address(text.to_owned());
    let address: Ipv4Addr = text.parse().map_err(|_| bad())?;
    if address.is_unspecified() {
        return Ok(None);
    }
    if address.is_multicast() || address.is_broadcast() { Err(bad()) } else { Ok(Some(address)) }
}

/// As serde's `try_from` and `into` want it.
macro_rules! from_and_to_text {
    ($($type:ty),*) => {$(
        impl TryFrom<String> for $type {
            type Error = PortsError;

            fn try_from(text: String) -> Result<Self, PortsError> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(ports: $type) -> String {
                ports.to_string()
            }
        }
    )*};
}

from_and_to_text!(PublishedPorts, WantedPorts);

#[cfg(test)]
mod tests {
    use super::*;

    fn says(text: &str) -> String {
        text.parse::<PublishedPorts>().unwrap_err().to_string()
    }

    #[test]
    fn what_is_written_is_what_is_meant() {
        for (text, canonical) in [
            ("8080:80", "8080:80/tcp"),
            ("8080:80/udp", "8080:80/udp"),
            ("127.0.0.2:80:8080/tcp", "127.0.0.2:80:8080/tcp"),
            ("0.0.0.0:80:80", "80:80/tcp"),
            ("20000-29999:20000-29999/udp", "20000-29999:20000-29999/udp"),
            ("65535:1", "65535:1/tcp"),
            ("7-7:8-8", "7:8/tcp"),
        ] {
            let ports: PublishedPorts = text.parse().unwrap();
            assert_eq!(ports.to_string(), canonical);
            assert_eq!(canonical.parse::<PublishedPorts>(), Ok(ports));
        }
    }

    #[test]
    fn any_port_of_the_host_will_do() {
        for (text, canonical, met, not_met) in [
            ("80", "80/tcp", "40000:80", "40000:81"),
            (":80/udp", "80/udp", "40000:80/udp", "40000:80"),
            ("127.0.0.1::80", "127.0.0.1::80/tcp", "127.0.0.1:40000:80", "40000:80"),
            ("80-82", "80-82/tcp", "40000-40002:80-82", "40000:80"),
            ("8080:80", "8080:80/tcp", "8080:80", "8081:80"),
            ("40000:80", "40000:80/tcp", "40000:80", "40001:80"),
            ("80", "80/tcp", "32768:80", "8080:80"),
        ] {
            let wanted: WantedPorts = text.parse().unwrap();
            assert_eq!(wanted.to_string(), canonical);
            assert_eq!(canonical.parse::<WantedPorts>(), Ok(wanted));
            assert!(wanted.is_met_by(met.parse().unwrap()), "{text} by {met}");
            assert!(!wanted.is_met_by(not_met.parse().unwrap()), "{text} by {not_met}");
        }
        let three: WantedPorts = "80-82".parse().unwrap();
        assert_eq!(three.from(40_000).unwrap().to_string(), "40000-40002:80-82/tcp");
        assert_eq!(three.from(65_534), None);
        assert_eq!("8080".parse::<WantedPorts>().unwrap().settled(), None);
    }

    #[test]
    fn what_cannot_be_meant_is_said() {
        for (text, words) in [
            ("", "write [[HOSTIP:][HOSTPORT"),
            ("8080", "names no port of the host"),
            (":80", "names no port of the host"),
            ("80:", "write [[HOSTIP:][HOSTPORT"),
            ("0:80", "\"0\" is no port"),
            ("80:0", "\"0\" is no port"),
            ("65536:80", "\"65536\" is no port"),
            ("+80:80", "\"+80\" is no port"),
            ("-80:80", "\"\" is no port"),
            ("web:80", "\"web\" is no port"),
            ("90-80:90-80", "the range 90-80 runs backwards; write 80-90"),
            ("8000-8009:80-82", "8000-8009 is 10 ports and 80-82 is 3 ports; both"),
            ("8000-8009:80", "8000-8009 is 10 ports and 80 is 1 port; both"),
            ("80:80/sctp", "\"sctp\" cannot be published"),
            ("80:80/icmp", "\"icmp\" cannot be published"),
            ("80:80/", "\"\" cannot be published"),
            ("[::1]:80:80", "IPv6 address of the host, which cannot be published on yet"),
            ("fe80::1:80:80", "IPv6 address of the host, which cannot be published on yet"),
            ("224.0.0.1:80:80", "\"224.0.0.1\" is no IPv4 address that the host can have"),
            ("localhost:80:80", "\"localhost\" is no IPv4 address"),
            ("1.2.3:80:80", "\"1.2.3\" is no IPv4 address"),
        ] {
            let sentence = says(text);
            assert!(sentence.contains(words), "{text}: {sentence}");
        }
    }

    #[test]
    fn only_the_same_port_of_the_same_address_collides() {
        let collide = |one: &str, another: &str| {
            one.parse::<PublishedPorts>().unwrap().collides(&another.parse().unwrap())
        };
        assert!(collide("80:80", "80:81"));
        assert!(collide("80:80", "127.0.0.1:80:80"));
        assert!(collide("80-90:80-90", "90-99:1-10"));
        assert!(!collide("127.0.0.2:80:80", "127.0.0.3:80:80"));
        assert!(!collide("80:80/tcp", "80:80/udp"));
        assert!(!collide("80-89:80-89", "90:80"));
    }

    #[test]
    fn a_port_may_be_a_number() {
        let range = |json: &str| serde_json::from_str::<PortRange>(json).map_err(|error| error.to_string());
        assert_eq!(range("80"), Ok(PortRange { first: 80, last: 80 }));
        assert_eq!(range("\"80-90\""), Ok(PortRange { first: 80, last: 90 }));
        assert!(range("0").unwrap_err().contains("\"0\" is no port"));
        assert!(range("true").unwrap_err().contains("a port, or ports such as"));
        assert_eq!(serde_json::to_string(&PortRange { first: 80, last: 80 }).unwrap(), "\"80\"");
    }
}
