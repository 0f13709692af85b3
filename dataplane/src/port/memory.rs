//! Memory ports: queues instead of a device.

/// The data plane's end of a memory port.
#[derive(Debug)]
pub struct Memory {}
