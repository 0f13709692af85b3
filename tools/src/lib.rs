//! What helps people work on and with pontoon: namespace labs and traffic, for tests.

mod sys;

pub mod bpf;
pub mod diff;
pub mod kernel;
pub mod lab;
pub mod machine;
pub mod netfilter;
pub mod nftables;
pub mod outside;
pub mod peek;
pub mod ping;
pub mod random;
pub mod sim;
pub mod soak;
pub mod traffic;
pub mod transfer;
pub mod tun;
pub mod vlan;
pub mod witness;
