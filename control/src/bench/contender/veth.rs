//! The wire of those who take frames from a veth: one end is a sandbox's eth0, the other is in the host.

use crate::bench::error::BenchError;
use crate::bench::lab::Namespace;
use crate::link::Links;
use crate::netns::{Netns, run_in};

/// The host's end of a sandbox's wire.
pub(super) fn port(number: usize) -> String {
    format!("port{number}")
}

/// Makes one, up in the host; its name there.
pub(super) fn create(host: &Netns, number: usize, namespace: &Namespace) -> Result<String, BenchError> {
    run_in(host, || {
        let links = Links::open()?;
        links.create_veth(&port(number), "eth0", namespace.netns())?;
        links.set_up(&links.get(&port(number))?, true)?;
        Ok(port(number))
    })?
}

/// Removes both of its ends.
pub(super) fn delete(host: &Netns, number: usize) -> Result<(), BenchError> {
    run_in(host, || {
        let links = Links::open()?;
        Ok(links.delete(&links.get(&port(number))?)?)
    })?
}
