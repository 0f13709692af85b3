//! vde_switch: a userspace switch with a TAP for each sandbox, without super-frames.

use std::process::Command;

use crate::bench::contender::{Contender, Switch};
use crate::bench::error::BenchError;
use crate::bench::lab::{Namespace, Site, Station, dress};
use crate::bench::process::{Process, directory, need};
use crate::link::Links;
use crate::netns::{Netns, run_in};

/// vde_switch as a contender.
#[derive(Debug)]
pub(super) struct VdeSwitch;

impl Contender for VdeSwitch {
    fn name(&self) -> &'static str {
        "vde"
    }

    fn about(&self) -> &'static str {
        "vde_switch: TAP, no super-frames"
    }

    fn unfit_for(&self, site: Site) -> Option<&'static str> {
        match site {
            Site { outside: true, .. } => Some("it is a bridge without NAT"),
            Site { grows: true, .. } => Some("it takes its TAP devices when it starts"),
            _ => None,
        }
    }

    fn start(&self, host: &Namespace, site: Site) -> Result<Box<dyn Switch>, BenchError> {
        need(&["vde_switch"], "vde2")?;
        let (directory, host) = (directory(host.name())?, host.reopen()?);
        let socket = directory.join("vde");
        let mut command = Command::new("vde_switch");
        command.arg("--sock").arg(&socket).arg("--numports").arg((site.sandboxes + 1).to_string());
        for number in 0..site.sandboxes {
            command.args(["--tap", &tap(number)]);
        }
        let mut process = Process::start(command, &host, &directory)?;
        process.wait_until(|| socket.join("ctl").exists() && has_devices(&host, site.sandboxes))?;
        Ok(Box::new(Running { process, host }))
    }
}

fn tap(number: usize) -> String {
    format!("vde{number}")
}

fn has_devices(host: &Netns, count: usize) -> bool {
    let last = || match count.checked_sub(1) {
        Some(last) => Ok(Links::open()?.find(&tap(last))?.is_some()),
        None => Ok(true),
    };
    run_in(host, last).is_ok_and(|found: Result<bool, BenchError>| found.unwrap_or(false))
}

struct Running {
    process: Process,
    host: Netns,
}

impl Switch for Running {
    fn attach(&mut self, number: usize, namespace: &Namespace) -> Result<Station, BenchError> {
        let device = tap(number);
        run_in(&self.host, || -> Result<(), BenchError> {
            let links = Links::open()?;
            Ok(links.move_to(&links.get(&device)?, namespace.netns())?)
        })??;
        dress(namespace, &device, number)
    }

    fn detach(&mut self, _: usize) -> Result<(), BenchError> {
        Err(BenchError::sentence("vde_switch gives no TAP device back"))
    }

    fn processes(&self) -> Vec<u32> {
        vec![self.process.id()]
    }
}
