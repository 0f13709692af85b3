//! The calls of Docker's plugin protocol: read and checked in full, without doing anything.
//!
//! The Engine posts a JSON object to `/DRIVER.METHOD`, or no body at all where there is nothing to say, and names no
//! Content-Type. Go writes `null` for an empty map or list. Fields that are not known here are left alone: later Engines
//! add some. Sources: moby `libnetwork/docs/remote.md`, `docs/ipam.md`, `drivers/remote/api/api.go`, `ipams/remote/api/api.go`.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use super::{ipam, network};
use crate::id::Id;

/// Largest body of a call in bytes. The longest is a container's list of published ports, at some 90 bytes a port.
pub const MAX_BODY: usize = 8 << 20;

/// One call of the Engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Call {
    /// `Plugin.Activate`: which drivers there are.
    Activate,
    /// `NetworkDriver.…`
    Network(network::Call),
    /// `IpamDriver.…`
    Ipam(ipam::Call),
}

/// Who answers a call: it decides what an error is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Driver {
    /// The network driver, and whatever is not the IPAM driver's.
    Network,
    /// The IPAM driver.
    Ipam,
}

impl Driver {
    /// The driver that a path such as `/IpamDriver.RequestPool` means.
    pub fn of(path: &str) -> Driver {
        if path.starts_with("/IpamDriver.") { Driver::Ipam } else { Driver::Network }
    }

    /// The field that holds an error's sentence. The IPAM interface has another one than the network interface.
    pub fn error_field(self) -> &'static str {
        match self {
            Driver::Network => "Err",
            Driver::Ipam => "Error",
        }
    }
}

/// Why a call cannot be carried out as it is written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No such method. To the Engine that is no failure where a method is optional.
    #[error("pontoon has no {0}")]
    NoSuchMethod(String),
    /// What is said of the call, in one sentence.
    #[error("{0}")]
    Bad(String),
}

pub(super) fn refuse<T>(sentence: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal::Bad(sentence.into()))
}

impl Call {
    /// Reads the call that is posted to `path`.
    ///
    /// # Errors
    /// There is no such method, or what it is given cannot be.
    pub fn read(path: &str, body: &[u8]) -> Result<Call, Refusal> {
        let method = path.strip_prefix('/').unwrap_or(path);
        match method.split_once('.') {
            Some(("Plugin", "Activate")) => Ok(Call::Activate),
            Some(("NetworkDriver", method)) => network::Call::read(method, body).map(Call::Network),
            Some(("IpamDriver", method)) => ipam::Call::read(method, body).map(Call::Ipam),
            _ => Err(Refusal::NoSuchMethod(method.to_owned())),
        }
    }

    /// Whether it takes something back that an earlier call gave. All of these are answered in the same way.
    pub fn takes_back(&self) -> bool {
        match self {
            Call::Activate => false,
            Call::Network(call) => call.takes_back(),
            Call::Ipam(call) => call.takes_back(),
        }
    }
}

/// Reads a body; what is wrong with it, and where, if it cannot be read.
pub(super) fn body<T: DeserializeOwned>(method: &str, bytes: &[u8]) -> Result<T, Refusal> {
    if bytes.is_empty() {
        return refuse(format!(
            "{method} came without a body, as Docker repeats a call whose answer was lost; try again what needed it"
        ));
    }
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return refuse(format!("{method} needs a JSON object"));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let parsed = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        Refusal::Bad(match error.inner() {
            inner if !inner.is_data() => format!("what {method} was given is not JSON: {inner}"),
            inner if path == "." => format!("what {method} was given is not right: {inner}"),
            inner => format!("what {method} was given is not right at {path}: {inner}"),
        })
    })?;
    json.end().map_err(|error| Refusal::Bad(format!("what {method} was given is not JSON: {error}")))?;
    Ok(parsed)
}

/// Reads `null` as nothing.
pub(super) fn or_nothing<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// The id of a network or endpoint (`what`).
pub(super) fn id(what: &str, text: &str) -> Result<Id, Refusal> {
    match text.parse() {
        Ok(id) => Ok(id),
        Err(error) => refuse(format!("\"{}\" is not the id of {what}: {error}", shown(text))),
    }
}

/// Text as far as a sentence can hold it.
pub(super) fn shown(text: &str) -> String {
    const LONGEST: usize = 80;
    if text.len() <= LONGEST {
        text.to_owned()
    } else {
        format!("{}…", &text[..text.floor_char_boundary(LONGEST)])
    }
}
