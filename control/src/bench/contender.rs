//! Whoever can join sandboxes: one trait, so that a scenario is written once.

use super::error::BenchError;
use super::lab::{Namespace, Site, Station};
use crate::api::types::DeviceKind;

mod docker;
mod kernel;
mod ovs;
mod pontoon;
mod slirp;
mod vde;
mod veth;

/// Something that joins sandboxes, running.
pub(super) trait Switch {
    /// Gives an empty namespace its eth0 with the address of sandbox number `number` and, where there is a way out, a default route.
    fn attach(&mut self, number: usize, namespace: &Namespace) -> Result<Station, BenchError>;

    /// Takes that sandbox's interface away.
    fn detach(&mut self, number: usize) -> Result<(), BenchError>;

    /// Has the connections that it makes itself, in the place of a sandbox's, send to the outside by that congestion control.
    fn send_by(&mut self, congestion: &str) -> Result<(), BenchError> {
        let _ = congestion;
        Ok(())
    }

    /// The programs that it consists of, beside the kernel.
    fn processes(&self) -> Vec<u32> {
        Vec::new()
    }
}

/// A way to join sandboxes.
pub(super) trait Contender {
    /// As it is called on the command line.
    fn name(&self) -> &'static str;

    /// What it is, in a line.
    fn about(&self) -> &'static str;

    /// Why it cannot be a part of such a lab by its nature, if so.
    fn unfit_for(&self, site: Site) -> Option<&'static str> {
        let _ = site;
        None
    }

    /// What this machine lacks for it.
    fn lack(&self) -> Option<String> {
        let start =
            || self.start(&Namespace::new()?, Site { sandboxes: 0, outside: false, grows: false }).map(drop);
        start().err().map(|error| error.to_string())
    }

    /// Starts it in a namespace of its own, without any sandbox.
    fn start(&self, host: &Namespace, site: Site) -> Result<Box<dyn Switch>, BenchError>;
}

/// Whom the others are compared with.
pub(super) const SUBJECT: &str = "pontoon";
/// Who takes part only when asked for: it is outside of the bench's private namespaces.
pub(super) const DOCKER: &str = "docker0";

/// Takes away what would outlive the process. Everything else is in private namespaces.
pub(super) fn clean_up() {
    docker::clean_up();
}

/// All there are, in the order in which they are shown. The first that this machine has is the baseline. Call it before the process
/// moves into private namespaces.
pub(super) fn all() -> Vec<Box<dyn Contender>> {
    vec![
        Box::new(kernel::Bridge {
            name: "bridge",
            about: "the kernel's bridge as docker0 is set up: veth, br_netfilter on, Docker's rules",
            filter: kernel::Filter::Docker,
        }),
        Box::new(kernel::Bridge {
            name: "bridge-hooks",
            about: "the kernel's bridge: veth, br_netfilter on, no rules (one for NAT where there is an outside)",
            filter: kernel::Filter::Hooks,
        }),
        Box::new(kernel::Bridge {
            name: "bridge-off",
            about: "the kernel's bridge: veth, br_netfilter off",
            filter: kernel::Filter::Off,
        }),
        Box::new(pontoon::Daemon { name: SUBJECT, about: "pontoon with TAP ports", kind: DeviceKind::Tap }),
        Box::new(pontoon::Daemon {
            name: "pontoon-veth",
            about: "pontoon with veth ports",
            kind: DeviceKind::Veth,
        }),
        Box::new(docker::Engine::find()),
        Box::new(ovs::OpenVSwitch),
        Box::new(vde::VdeSwitch),
        Box::new(slirp::Slirp::Pasta),
        Box::new(slirp::Slirp::Slirp4netns),
    ]
}
