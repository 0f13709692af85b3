//! What helps people work on and with pontoon: namespace labs and traffic, for tests and benches alike.

pub mod lab;
pub mod peek;
pub mod ping;
pub mod traffic;
pub mod transfer;
pub mod vlan;
