//! Open vSwitch with its userspace datapath (`netdev`), super-frames on, and a veth pair for each sandbox.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::bench::contender::{Contender, Switch, veth};
use crate::bench::error::BenchError;
use crate::bench::lab::{Namespace, Site, Station, dress};
use crate::bench::process::{Process, directory, need, run};
use crate::netns::Netns;

const SCHEMA: &str = "/usr/share/openvswitch/vswitch.ovsschema";

/// Open vSwitch as a contender.
#[derive(Debug)]
pub(super) struct OpenVSwitch;

impl Contender for OpenVSwitch {
    fn name(&self) -> &'static str {
        "ovs"
    }

    fn about(&self) -> &'static str {
        "Open vSwitch, userspace datapath with TSO: veth"
    }

    fn unfit_for(&self, site: Site) -> Option<&'static str> {
        site.outside.then_some("it is a bridge without NAT here")
    }

    fn start(&self, host: &Namespace, _: Site) -> Result<Box<dyn Switch>, BenchError> {
        need(&["ovsdb-tool", "ovsdb-server", "ovs-vsctl", "ovs-vswitchd"], "openvswitch-switch")?;
        let (directory, host) = (directory(host.name())?, host.reopen()?);
        let (database, socket) = (directory.join("conf.db"), directory.join("db.sock"));
        let mut create = own_files("ovsdb-tool", &directory);
        create.arg("create").arg(&database).arg(SCHEMA);
        run(create, &host)?;
        let mut server = own_files("ovsdb-server", &directory);
        server.arg(&database).arg(format!("--remote=punix:{}", socket.display()));
        server.arg(format!("--unixctl={}", directory.join("db.ctl").display()));
        let mut server = Process::start(server, &host, &directory)?;
        server.wait_until(|| socket.exists())?;
        let mut daemon = own_files("ovs-vswitchd", &directory);
        daemon.arg(format!("unix:{}", socket.display()));
        daemon.arg(format!("--unixctl={}", directory.join("switch.ctl").display()));
        let mut switch = Running { processes: vec![server], directory, host };
        switch.ask("--no-wait init")?;
        switch.ask("--no-wait set Open_vSwitch . other_config:userspace-tso-enable=true")?;
        switch.processes.push(Process::start(daemon, &switch.host, &switch.directory)?);
        switch.ask("add-br br0 -- set bridge br0 datapath_type=netdev")?;
        Ok(Box::new(switch))
    }
}

/// A program of Open vSwitch that keeps all of its files in `directory`.
fn own_files(program: &str, directory: &Path) -> Command {
    let mut command = Command::new(program);
    for variable in ["OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR"] {
        command.env(variable, directory);
    }
    command
}

struct Running {
    processes: Vec<Process>,
    directory: PathBuf,
    host: Netns,
}

impl Running {
    /// A command of ovs-vsctl; it returns when the switch has done it.
    fn ask(&self, words: &str) -> Result<(), BenchError> {
        let mut command = own_files("ovs-vsctl", &self.directory);
        command.arg("--timeout=20").arg(format!("--db=unix:{}", self.directory.join("db.sock").display()));
        run(command_with(command, words), &self.host).map(drop)
    }
}

fn command_with(mut command: Command, words: &str) -> Command {
    command.args(words.split(' '));
    command
}

impl Switch for Running {
    fn attach(&mut self, number: usize, namespace: &Namespace) -> Result<Station, BenchError> {
        let port = veth::create(&self.host, number, namespace)?;
        self.ask(&format!("add-port br0 {port}"))?;
        dress(namespace, "eth0", number)
    }

    fn detach(&mut self, number: usize) -> Result<(), BenchError> {
        self.ask(&format!("del-port br0 {}", veth::port(number)))?;
        veth::delete(&self.host, number)
    }

    fn processes(&self) -> Vec<u32> {
        self.processes.iter().map(Process::id).collect()
    }
}
