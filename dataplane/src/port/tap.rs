//! TAP ports.

use std::io;

use super::Offloads;

/// A queue of a TAP device in the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Tap {}

/// A TAP could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum TapError {
    /// `/dev/net/tun` could not be opened.
    #[error("cannot open /dev/net/tun: {0}")]
    DeviceNode(#[source] io::Error),
    /// The kernel refused to create the device or to attach to it.
    #[error("cannot attach to the TAP device {name}: {source}")]
    Attach {
        /// The interface's name.
        name: String,
        /// The system's error.
        source: io::Error,
    },
}

impl Tap {
    /// Creates the TAP device `name` in the calling thread's network namespace, or attaches to it again when it
    /// exists (a persistent one that an earlier process left). At most `wanted` offloads are used; what the
    /// kernel refuses falls away.
    ///
    /// # Errors
    /// No device node, no privilege, a name that another kind of device has, or a device that another process holds.
    pub fn open(name: &str, wanted: Offloads) -> Result<Tap, TapError> {
        let _ = (name, wanted);
        Err(TapError::DeviceNode(io::Error::other("not built yet")))
    }

    /// Whether the device outlives its last descriptor.
    ///
    /// # Errors
    /// The system's error.
    pub fn set_persistent(&self, persistent: bool) -> io::Result<()> {
        let _ = persistent;
        Ok(())
    }

    /// The offloads in use.
    pub fn offloads(&self) -> Offloads {
        Offloads::NONE
    }
}
