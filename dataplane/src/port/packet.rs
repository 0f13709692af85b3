//! AF_PACKET ports on existing interfaces.

use std::io;

use super::Offloads;

/// A promiscuous AF_PACKET socket on an interface of the network namespace of the thread that opened it.
#[derive(Debug)]
pub struct Packet {}

impl Packet {
    /// Binds to the interface `name` in the calling thread's network namespace and makes it promiscuous for as
    /// long as the port lives.
    ///
    /// # Errors
    /// No such interface, no privilege.
    pub fn open(name: &str, wanted: Offloads) -> io::Result<Packet> {
        let _ = (name, wanted);
        Err(io::Error::other("not built yet"))
    }

    /// The offloads in use.
    pub fn offloads(&self) -> Offloads {
        Offloads::NONE
    }
}
