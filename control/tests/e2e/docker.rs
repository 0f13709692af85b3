//! The real Docker Engine on a host without a bridge: a machine of its own with Engine and daemon in it, on a kernel that
//! has no netfilter as far as they can tell, without `iptables`, `nft` and `modprobe`.

mod compose;
mod many;
mod record;
mod restart;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use pontoon::netns;
use pontoon_tools::lab::{LabError, Namespace};
use pontoon_tools::machine::Machine;
use pontoon_tools::outside::{Outside, WIRES, Way};
use pontoon_tools::witness::{Traces, Witness};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::daemon::{Answer, Daemon, until};
use crate::{Test, test};

pub(crate) fn tests() -> Vec<Test> {
    [compose::tests(), many::tests(), record::tests(), restart::tests()].into_iter().flatten().collect()
}

/// What the tests of this part need of the machine that they run on; the first thing that is missing, if anything is.
pub(crate) fn lack() -> Option<String> {
    let found = |program: &str| {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).any(|it| it.join(program).is_file())
    };
    let missing =
        ["dockerd", "docker", "containerd", "runc", "setpriv", "tar"].into_iter().find(|it| !found(it));
    match missing {
        Some(program) => {
            Some(format!("there is no {program}; `apt-get install docker.io` brings the Engine"))
        }
        None if !is_static(BUSYBOX) => {
            Some(format!("{BUSYBOX} is no static program; `apt-get install busybox-static` brings one"))
        }
        None => unfit_engine(),
    }
}

/// Engines whose name server these tests cannot see at work, as there is no NAT here; see docs/decisions/0019-docker.md.
fn unfit_engine() -> Option<String> {
    let output = Command::new("dockerd").arg("--version").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let version = text.split_whitespace().find(|it| it.starts_with(|first: char| first.is_ascii_digit()))?;
    let major: u32 = version.split('.').next()?.parse().ok()?;
    (major >= 24).then(|| format!("Engine {version} starts no name server without NAT; 20.10 to 23 do"))
}

/// What the containers' file system is made of.
const BUSYBOX: &str = "/bin/busybox";

/// Whether the program needs no interpreter (ELF program header PT_INTERP, which names it).
fn is_static(program: &str) -> bool {
    let bytes = std::fs::read(program).unwrap_or_default();
    let head = &bytes[..bytes.len().min(4096)];
    !head.is_empty() && !head.windows(8).any(|it| it == b"/ld-linu")
}

/// A test on a machine with an Engine, which must leave the host's network as it was.
pub(crate) fn docker_test(name: impl Into<String>, work: impl FnOnce(&mut Docker) + Send + 'static) -> Test {
    docker_test_with(name, &[], work)
}

/// A test on a machine whose Engine has further options.
pub(crate) fn docker_test_with(
    name: impl Into<String>,
    options: &'static [&'static str],
    work: impl FnOnce(&mut Docker) + Send + 'static,
) -> Test {
    test(name, move || {
        let mut docker = Docker::start(options);
        let before = Witness::of(docker.daemon.host.netns(), &WIRES).expect("the host can be looked at");
        work(&mut docker);
        docker.check_kernel();
        let after = Witness::of(docker.daemon.host.netns(), &WIRES).expect("the host can be looked at");
        let differences = after.differences(&before);
        assert!(differences.is_empty(), "the host is not as it was: {differences:#?}");
    })
}

/// Whether there is neither bridge nor veth nor a table of netfilter.
fn is_bare(traces: &Traces) -> bool {
    traces.nf_tables.is_none_or(|census| census.tables == 0)
        && traces.xtables.is_empty()
        && traces.links.is_empty()
}

/// An Engine with pontoon as its driver.
#[derive(Debug)]
pub(crate) struct Docker {
    /// Before the machine: it ends first.
    pub(crate) daemon: Daemon,
    engine: Option<Child>,
    pub(crate) machine: Arc<Machine>,
    directory: tempfile::TempDir,
    options: Vec<String>,
    /// A machine behind the host's uplink.
    pub(crate) outside: Outside,
    /// After the machine: groups can be removed when nobody is in them.
    groups: Groups,
}

impl Docker {
    fn start(options: &[&str]) -> Docker {
        let host = Namespace::new("e2e-host").expect("a namespace");
        let outside = Outside::behind(&host, Way::Direct(1500)).expect("a machine outside");
        let machine = Arc::new(Machine::on(&host).expect("a machine"));
        let plugin = ["--docker-plugin", pontoon::plugin::socket::DEFAULT];
        let mut daemon = Daemon::not_yet(host, &plugin, Some(Arc::clone(&machine)));
        daemon.verbosity = Some("info,pontoon::plugin::record=trace");
        daemon.start_again();
        let directory = tempfile::tempdir().expect("a directory");
        let name = directory.path().file_name().expect("it has a name").to_string_lossy();
        let groups = Groups(format!("pontoon-e2e-{}", name.trim_start_matches('.')));
        let mut docker = Docker {
            daemon,
            engine: None,
            machine,
            directory,
            groups,
            options: options.iter().map(|&it| it.to_owned()).collect(),
            outside,
        };
        docker.start_engine();
        docker.import();
        docker
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn socket(&self) -> String {
        format!("unix://{}", self.path("docker.sock").display())
    }

    /// Starts the Engine, and waits until it answers.
    pub(crate) fn start_engine(&mut self) {
        assert!(self.engine.is_none(), "it runs already");
        std::fs::write(self.path("daemon.json"), "{}").unwrap();
        let log = File::options().create(true).append(true).open(self.path("engine.log")).unwrap();
        let mut command = Command::new("dockerd");
        command.arg("--config-file").arg(self.path("daemon.json"));
        command.arg("--data-root").arg(self.path("data")).args(["--exec-root", "/run/docker"]);
        command.args(["--pidfile", "/run/docker.pid", "--host", &self.socket()]);
        command.args(["--bridge=none", "--iptables=false", "--ip6tables=false"]);
        command.arg("--cgroup-parent").arg(format!("/{}", self.groups.0)).args(&self.options);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let child = self.machine.spawn(command).expect("the Engine starts");
        self.engine = Some(child);
        until("the Engine answers", || {
            let ended = self.engine.as_mut().and_then(|it| it.try_wait().ok().flatten());
            assert!(ended.is_none(), "the Engine has ended: {ended:?}\n{}", self.engine_log());
            self.ask(&["version"]).code == Some(0)
        });
    }

    /// What the Engine has logged.
    pub(crate) fn engine_log(&self) -> String {
        std::fs::read_to_string(self.path("engine.log")).unwrap_or_default()
    }

    /// Sends the Engine a signal and waits for its end.
    pub(crate) fn end_engine(&mut self, signal: Signal) {
        let mut child = self.engine.take().expect("it runs");
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a process number");
        kill_process(pid, signal).expect("it can be signalled");
        until("the Engine has ended", || child.try_wait().expect("it can be waited for").is_some());
    }

    /// Gives the Engine the image `box`: busybox, and `/www/NAME` with NAME in it for a web server.
    fn import(&self) {
        let root = self.path("root");
        for directory in ["bin", "etc", "tmp", "proc", "sys", "dev", "www"] {
            std::fs::create_dir_all(root.join(directory)).unwrap();
        }
        std::fs::copy(BUSYBOX, root.join("bin/busybox")).unwrap();
        let applets = Command::new(BUSYBOX).arg("--list").output().unwrap();
        for applet in String::from_utf8(applets.stdout).unwrap().lines().filter(|it| *it != "busybox") {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
        std::fs::write(root.join("etc/passwd"), "root:x:0:0:root:/:/bin/sh\n").unwrap();
        let tar = Command::new("tar").arg("-C").arg(&root).args(["-c", "."]).output().unwrap();
        let mut import = Command::new("docker");
        import.args(["-H", &self.socket(), "import", "-", "box"]).stdin(Stdio::piped()).stdout(Stdio::null());
        let mut import = import.spawn().unwrap();
        import.stdin.take().unwrap().write_all(&tar.stdout).unwrap();
        assert!(import.wait().unwrap().success(), "the image cannot be imported");
    }

    /// Asks the Engine by its command line.
    pub(crate) fn ask(&self, arguments: &[&str]) -> Answer {
        Answer::of(Command::new("docker").args(["-H", &self.socket()]).args(arguments))
    }

    /// Asks for something that must succeed; what was printed, without the last line feed.
    pub(crate) fn ok(&self, line: &str) -> String {
        let arguments: Vec<_> = line.split_whitespace().collect();
        let answer = self.ask(&arguments);
        assert_eq!(answer.code, Some(0), "docker {line}: {}", answer.stderr);
        answer.stdout.trim_end().to_owned()
    }

    /// Asks for something that must be refused; what is said then.
    pub(crate) fn refused(&self, line: &str) -> String {
        let arguments: Vec<_> = line.split_whitespace().collect();
        let answer = self.ask(&arguments);
        assert_ne!(answer.code, Some(0), "docker {line}: {}", answer.stdout);
        answer.stderr
    }

    /// `docker inspect` of something.
    pub(crate) fn inspect(&self, line: &str) -> Value {
        let mut list: Vec<Value> = serde_json::from_str(&self.ok(line)).expect("JSON");
        list.pop().expect("one object")
    }

    /// Runs a shell's line in a container, which must succeed; what it printed.
    pub(crate) fn shell(&self, container: &str, line: &str) -> String {
        let answer = self.ask(&["exec", container, "sh", "-c", line]);
        assert_eq!(answer.code, Some(0), "in {container}: {line}: {}{}", answer.stdout, answer.stderr);
        answer.stdout.trim_end().to_owned()
    }

    /// Whether a shell's line succeeds in a container.
    pub(crate) fn can(&self, container: &str, line: &str) -> bool {
        self.ask(&["exec", container, "sh", "-c", line]).code == Some(0)
    }

    /// Paths of the sandboxes that the Engine has.
    pub(crate) fn sandboxes(&self) -> Vec<PathBuf> {
        let list = || -> Vec<PathBuf> {
            let entries = std::fs::read_dir("/run/docker/netns").into_iter().flatten();
            entries.flatten().map(|entry| entry.path()).filter(|path| !path.ends_with("default")).collect()
        };
        self.machine.run(list).unwrap()
    }

    /// Neither bridge nor veth nor a rule of netfilter, in the host's namespace and in every sandbox.
    pub(crate) fn check_kernel(&self) {
        let host = Witness::of(self.daemon.host.netns(), &WIRES).unwrap();
        assert!(is_bare(&host.traces), "in the host's namespace: {:?}", host.traces);
        for sandbox in self.sandboxes() {
            let path = sandbox.clone();
            let look = move || -> Result<Option<Witness>, LabError> {
                let reference = pontoon::api::types::SandboxRef::Netns(path.display().to_string());
                // The Engine collects those that nobody is in.
                let Ok(netns) = netns::Netns::find(&reference) else { return Ok(None) };
                netns::run_in(&netns, || Witness::here(&[]))?.map(Some)
            };
            if let Some(seen) = self.machine.run(look).unwrap().unwrap() {
                assert!(is_bare(&seen.traces), "in the sandbox {}: {:?}", sandbox.display(), seen.traces);
            }
        }
    }

    /// Names of the TAPs in the host's namespace that are no host ports.
    pub(crate) fn stray_devices(&self) -> Vec<String> {
        let names = || pontoon::link::Links::open()?.all();
        let links = self.daemon.host.run(names).unwrap().unwrap();
        let stray = links.into_iter().filter(|link| link.kind == "tun" && !link.alias.starts_with("ptn-"));
        stray.map(|link| link.name).collect()
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.engine_log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("the Engine's log:\n{}", lines[lines.len().saturating_sub(40)..].join("\n"));
        }
        if let Some(mut engine) = self.engine.take() {
            let _ = engine.kill();
            let _ = engine.wait();
        }
    }
}

/// The control groups of an Engine's containers, removed when the machine that they ran in has ended.
#[derive(Debug)]
struct Groups(String);

impl Drop for Groups {
    fn drop(&mut self) {
        let root = Path::new("/sys/fs/cgroup");
        let hierarchies = std::fs::read_dir(root).into_iter().flatten().flatten().map(|it| it.path());
        for group in hierarchies.chain([root.to_owned()]).map(|it| it.join(&self.0)) {
            for below in std::fs::read_dir(&group).into_iter().flatten().flatten() {
                let _ = std::fs::remove_dir(below.path());
            }
            let _ = std::fs::remove_dir(group);
        }
    }
}
