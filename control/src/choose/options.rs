//! Options of networks under Docker's keys: what each of them means here.
//!
//! What Docker's bridge driver does with keys that it does not know is done here too: they are kept and shown, without effect. A value that
//! cannot be read is refused, and so is one that contradicts a setting of our own: whoever gave both cannot have meant both.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use crate::api::types::{NetworkPatch, NetworkRequest, Uplink};
use crate::error::Error;
use crate::names;

const ICC: &str = "com.docker.network.bridge.enable_icc";
const MASQUERADE: &str = "com.docker.network.bridge.enable_ip_masquerade";
const HOST_BINDING: &str = "com.docker.network.bridge.host_binding_ipv4";
const BRIDGE_NAME: &str = "com.docker.network.bridge.name";
const GATEWAY_MODE: &str = "com.docker.network.bridge.gateway_mode_ipv4";
const MTU: &str = "com.docker.network.driver.mtu";
const PREFIX: &str = "com.docker.network.container_iface_prefix";

/// What the options of a request, and its own settings, ask for together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Settled {
    /// How the network is connected, and its ageing.
    pub(super) patch: NetworkPatch,
    pub(super) mtu: Option<u16>,
    pub(super) host_interface_wish: Option<String>,
    pub(super) publish_address: Option<Ipv4Addr>,
    pub(super) ifname_prefix: Option<String>,
}

/// The options of one network.
struct Options<'a> {
    network: &'a str,
    given: &'a BTreeMap<String, String>,
}

impl<'a> Options<'a> {
    /// What `key` says, if it is given; `expected` says what it may.
    fn get<T>(
        &self,
        key: &str,
        expected: &str,
        read: impl FnOnce(&'a str) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let Some(value) = self.given.get(key) else { return Ok(None) };
        let read = read(value);
        read.map(Some).ok_or_else(|| self.refuse(&format!("{key}={value}"), expected))
    }

    fn refuse(&self, option: &str, why: &str) -> Error {
        Error::Declaration(format!("the option {option} of the network {} cannot be: {why}", self.network))
    }

    fn contradiction(&self, key: &str, setting: &str) -> Error {
        let value = self.given.get(key).map_or("", String::as_str);
        Error::Declaration(format!(
            "the option {key}={value} of the network {} contradicts {setting}; leave one of them out",
            self.network
        ))
    }
}

/// What Go's `strconv.ParseBool` takes, which is what Docker reads these with.
fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

/// Reads the options of a request and lays them over its settings.
///
/// # Errors
/// A value cannot be read, or contradicts a setting or another option.
pub(super) fn settle(request: &NetworkRequest) -> Result<Settled, Error> {
    let options = Options { network: &request.name, given: &request.options };
    let mut settled = Settled { patch: super::settings(request), ..Settled::default() };
    connection(&options, &mut settled.patch)?;
    settled.mtu = mtu(&options, request.mtu)?;
    settled.publish_address = options
        .get(HOST_BINDING, "write an IPv4 address of the host, such as 127.0.0.1", |it| {
            it.parse::<Ipv4Addr>().ok().filter(|address| !address.is_multicast() && !address.is_broadcast())
        })?
        .filter(|address| !address.is_unspecified());
    settled.host_interface_wish = name(&options, BRIDGE_NAME)?;
    settled.ifname_prefix = name(&options, PREFIX)?;
    if let Some(prefix) = settled.ifname_prefix.as_ref().filter(|it| it.len() > MAX_IFNAME_PREFIX) {
        let why =
            format!("a prefix has at most {MAX_IFNAME_PREFIX} bytes, so that numbers have room behind it");
        return Err(options.refuse(&format!("{PREFIX}={prefix}"), &why));
    }
    Ok(settled)
}

/// The longest prefix of interfaces' names in bytes: four digits fit behind it.
const MAX_IFNAME_PREFIX: usize = 11;

fn connection(options: &Options<'_>, patch: &mut NetworkPatch) -> Result<(), Error> {
    const YES_OR_NO: &str = "write true or false";
    if let Some(icc) = options.get(ICC, YES_OR_NO, boolean)? {
        if patch.icc.is_some_and(|explicit| explicit != icc) {
            return Err(options.contradiction(ICC, &format!("icc={}", !icc)));
        }
        patch.icc = Some(icc);
    }
    if let Some(masquerade) = options.get(MASQUERADE, YES_OR_NO, boolean)? {
        match (&patch.uplink, masquerade) {
            (Some(Uplink::None), true) => return Err(options.contradiction(MASQUERADE, "uplink=none")),
            (Some(uplink), false) if *uplink != Uplink::None => {
                return Err(options.contradiction(MASQUERADE, &format!("uplink={uplink}")));
            }
            (_, true) => {}
            // What is not translated does not leave the host.
            (_, false) => patch.uplink = Some(Uplink::None),
        }
    }
    let internal = patch.internal == Some(true);
    options
        .get(GATEWAY_MODE, "pontoon knows nat, and isolated for internal networks", |it| match it {
            "" | "nat" => Some(()),
            "isolated" => internal.then_some(()),
            _ => None,
        })
        .map(drop)
}

fn mtu(options: &Options<'_>, explicit: Option<u16>) -> Result<Option<u16>, Error> {
    let mtu = options.get(MTU, "write bytes, 576 to 65521", |it| it.parse::<u16>().ok())?;
    // To Docker 0 is as good as nothing.
    match mtu.filter(|mtu| *mtu != 0) {
        None => Ok(explicit),
        Some(mtu) => match explicit {
            Some(explicit) if explicit != mtu => Err(options.contradiction(MTU, &format!("mtu={explicit}"))),
            _ => Ok(Some(mtu)),
        },
    }
}

/// The name of an interface, or the beginning of one; nothing when it is empty.
fn name(options: &Options<'_>, key: &str) -> Result<Option<String>, Error> {
    let Some(name) = options.given.get(key).filter(|it| !it.is_empty()) else { return Ok(None) };
    names::check_interface(name)
        .map_err(|error| options.refuse(&format!("{key}={name}"), &error.to_string()))?;
    Ok(Some(name.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(options: &[(&str, &str)]) -> NetworkRequest {
        let options = options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        NetworkRequest { name: "red".into(), options, ..NetworkRequest::default() }
    }

    fn says(request: &NetworkRequest) -> String {
        settle(request).unwrap_err().to_string()
    }

    #[test]
    fn each_key_sets_what_it_names() {
        let all = [
            (ICC, "false"),
            (MASQUERADE, "0"),
            (HOST_BINDING, "127.0.0.1"),
            (BRIDGE_NAME, "br-red"),
            (MTU, "1400"),
            (PREFIX, "net"),
            ("com.docker.network.bridge.default_bridge", "perhaps"),
            ("org.example", ""),
        ];
        let patch = NetworkPatch { icc: Some(false), uplink: Some(Uplink::None), ..NetworkPatch::default() };
        let expected = Settled {
            patch,
            mtu: Some(1400),
            host_interface_wish: Some("br-red".into()),
            publish_address: Some(Ipv4Addr::LOCALHOST),
            ifname_prefix: Some("net".into()),
        };
        assert_eq!(settle(&request(&all)).unwrap(), expected);
        let defaults = [
            (ICC, "True"),
            (MASQUERADE, "true"),
            (HOST_BINDING, "0.0.0.0"),
            (BRIDGE_NAME, ""),
            (MTU, "0"),
            (PREFIX, ""),
            (GATEWAY_MODE, "nat"),
        ];
        let patch = NetworkPatch { icc: Some(true), ..NetworkPatch::default() };
        assert_eq!(settle(&request(&defaults)).unwrap(), Settled { patch, ..Settled::default() });
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for (key, value, words) in [
            (ICC, "yes", "enable_icc=yes of the network red cannot be: write true or false"),
            (MASQUERADE, "", "write true or false"),
            (HOST_BINDING, "::", "write an IPv4 address"),
            (HOST_BINDING, "224.0.0.1", "write an IPv4 address"),
            (MTU, "big", "write bytes"),
            (MTU, "-1", "write bytes"),
            (BRIDGE_NAME, "a-name-too-long-for-linux", "Linux allows 15"),
            (PREFIX, "a/b", "cannot be the name of an interface"),
            (PREFIX, "twelve-bytes", "at most 11 bytes"),
            (GATEWAY_MODE, "routed", "pontoon knows nat"),
            (GATEWAY_MODE, "isolated", "isolated for internal networks"),
        ] {
            let sentence = says(&request(&[(key, value)]));
            assert!(sentence.contains(words), "{sentence}");
        }
        let internal = NetworkRequest { internal: Some(true), ..request(&[(GATEWAY_MODE, "isolated")]) };
        assert!(settle(&internal).is_ok());
    }

    #[test]
    fn an_option_and_a_setting_that_contradict_each_other() {
        let none = |options| NetworkRequest { uplink: Some(Uplink::None), ..request(options) };
        let auto = |options| NetworkRequest { uplink: Some(Uplink::Auto), ..request(options) };
        let icc = |icc, options| NetworkRequest { icc: Some(icc), ..request(options) };
        let mtu = |mtu, options| NetworkRequest { mtu: Some(mtu), ..request(options) };
        for (request, words) in [
            (icc(true, &[(ICC, "false")]), "enable_icc=false of the network red contradicts icc=true"),
            (none(&[(MASQUERADE, "true")]), "contradicts uplink=none"),
            (auto(&[(MASQUERADE, "false")]), "contradicts uplink=auto"),
            (mtu(1500, &[(MTU, "1400")]), "contradicts mtu=1500"),
        ] {
            let sentence = says(&request);
            assert!(sentence.contains(words) && sentence.contains("leave one of them out"), "{sentence}");
        }
        for request in [
            icc(false, &[(ICC, "false")]),
            none(&[(MASQUERADE, "false")]),
            auto(&[(MASQUERADE, "true")]),
            mtu(1400, &[(MTU, "1400")]),
        ] {
            assert!(settle(&request).is_ok());
        }
    }
}
