//! The real docker0, by containers of the machine's own Engine. It is outside of the bench's private namespaces.
//!
//! A container is an empty image with the host's programs mounted into it, and runs `cat`, whose input is a pipe that the bench holds:
//! when the bench ends, however it ends, so do its containers, and the Engine removes them. The Engine's socket is opened before the
//! bench moves into its own mounts, and reached by the descriptor from then on.

use std::env;
use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use rustix::fs::{Mode, OFlags, open};

use crate::api::types::SandboxRef;
use crate::bench::contender::{Contender, Switch};
use crate::bench::error::{BenchError, cannot};
use crate::bench::lab::{Namespace, Site, Station};
use crate::bench::process::{Process, directory, need};
use crate::netns::Netns;

/// Where the Engine listens, unless DOCKER_HOST says otherwise.
const SOCKET: &str = "/var/run/docker.sock";
/// The empty image.
const IMAGE: &str = "pontoon-bench:empty";
/// An archive without files: two blocks of zeros (POSIX.1-2017, pax, "ustar Interchange Format").
const EMPTY_TAR: [u8; 1024] = [0; 1024];
/// What a container has of the host's files: enough for `cat`.
const PROGRAMS: [&str; 4] = ["/bin", "/lib", "/lib64", "/usr"];
/// What the bench's containers' names begin with.
const NAME: &str = "pontoon-bench";
/// The Engine that was asked for something, as DOCKER_HOST.
static ASKED: OnceLock<String> = OnceLock::new();

/// The real docker0 as a contender.
#[derive(Debug)]
pub(super) struct Engine {
    /// The Engine's socket, or why it cannot be reached.
    socket: Result<File, String>,
}

impl Engine {
    /// Opens the Engine's socket. Call it before the process moves into private namespaces.
    pub(super) fn find() -> Engine {
        let host = env::var("DOCKER_HOST").unwrap_or_else(|_| format!("unix://{SOCKET}"));
        let socket = match host.strip_prefix("unix://") {
            Some(path) => match open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
                Ok(socket) => Ok(File::from(socket)),
                Err(error) => Err(format!("no Engine listens on {path}: {error}")),
            },
            None => Err(format!(
                "DOCKER_HOST is {host}, and only an Engine on a unix socket of this machine will do"
            )),
        };
        Engine { socket }
    }
}

impl Contender for Engine {
    fn name(&self) -> &'static str {
        "docker0"
    }

    fn about(&self) -> &'static str {
        "the real docker0 of this machine's Engine; setting up and taking off is `docker run` and `docker rm`"
    }

    fn unfit_for(&self, site: Site) -> Option<&'static str> {
        site.outside.then_some("its NAT is this machine's own, which the bench leaves alone")
    }

    fn start(&self, host: &Namespace, _: Site) -> Result<Box<dyn Switch>, BenchError> {
        need(&["docker"], "docker.io")?;
        let socket = self.socket.as_ref().map_err(BenchError::sentence)?;
        let socket = format!("unix:///proc/{}/fd/{}", std::process::id(), socket.as_raw_fd());
        let switch = Containers {
            socket,
            host: host.reopen()?,
            host_name: host.name().to_owned(),
            running: Vec::new(),
        };
        let _ = ASKED.set(switch.socket.clone());
        // A bench that was killed has left it. Imported over that, the old one would stay without a name.
        let _ = ask(&switch.socket, &["image", "rm", IMAGE], &[]);
        ask(&switch.socket, &["import", "-", IMAGE], &EMPTY_TAR)?;
        Ok(Box::new(switch))
    }
}

struct Containers {
    /// As DOCKER_HOST.
    socket: String,
    host: Netns,
    host_name: String,
    running: Vec<(usize, Process)>,
}

impl Containers {
    fn name(&self, number: usize) -> String {
        format!("{NAME}-{}-{}-{number}", std::process::id(), self.host_name)
    }

    /// Process number and address of a container, once it runs.
    fn look(&self, name: &str) -> Option<(u32, std::net::Ipv4Addr)> {
        let format = "{{.State.Pid}} {{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        let told =
            ask(&self.socket, &["inspect", "--type", "container", "--format", format, name], &[]).ok()?;
        let (pid, address) = told.split_once(' ')?;
        let pid = pid.parse().ok().filter(|pid| *pid > 0)?;
        Some((pid, address.parse().ok()?))
    }
}

fn docker(socket: &str) -> Command {
    let mut command = Command::new("docker");
    command.env("DOCKER_HOST", socket).env_remove("DOCKER_CONTEXT");
    command
}

/// Runs a command of docker's to its end, with `input`; what it printed.
fn ask(socket: &str, words: &[&str], input: &[u8]) -> Result<String, BenchError> {
    let mut command = docker(socket);
    command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(cannot("start docker"))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input).map_err(cannot("write to docker"))?;
    }
    let output = child.wait_with_output().map_err(cannot("wait for docker"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
    Err(BenchError::Sentence(format!("docker {} failed: {last}", words.first().unwrap_or(&""))))
}

/// Takes away what the Engine has of this process: on a signal there is nobody else to do it.
pub(super) fn clean_up() {
    let Some(socket) = ASKED.get() else { return };
    let filter = format!("name=^{NAME}-{}-", std::process::id());
    if let Ok(names) = ask(socket, &["ps", "--all", "--quiet", "--filter", &filter], &[]) {
        for name in names.lines() {
            // It may end by itself meanwhile.
            let _ = ask(socket, &["rm", "--force", name], &[]);
        }
    }
    let _ = ask(socket, &["image", "rm", IMAGE], &[]);
}

impl Switch for Containers {
    fn attach(&mut self, number: usize, _: &Namespace) -> Result<Station, BenchError> {
        let name = self.name(number);
        let mut command = docker(&self.socket);
        command.args(["run", "--rm", "--interactive", "--network", "bridge", "--name", &name]);
        for directory in PROGRAMS.iter().filter(|directory| Path::new(directory).exists()) {
            command.arg("--volume").arg(format!("{directory}:{directory}:ro"));
        }
        command.args([IMAGE, "cat"]);
        let mut process = Process::start(command, &self.host, &directory(&self.host_name)?)?;
        let mut found = None;
        process.wait_until(|| {
            found = self.look(&name);
            found.is_some()
        })?;
        let (pid, address) = found.ok_or_else(|| BenchError::sentence("the container is gone"))?;
        self.running.push((number, process));
        Ok(Station { netns: Netns::find(&SandboxRef::Pid(pid))?, address })
    }

    fn detach(&mut self, number: usize) -> Result<(), BenchError> {
        ask(&self.socket, &["rm", "--force", &self.name(number)], &[])?;
        self.running.retain(|(running, _)| *running != number);
        Ok(())
    }
}

impl Drop for Containers {
    fn drop(&mut self) {
        let names: Vec<String> = self.running.iter().map(|(number, _)| self.name(*number)).collect();
        let names = names.iter().map(String::as_str);
        if names.len() > 0 {
            // Those that have ended already are gone.
            let _ = ask(&self.socket, &["rm", "--force"].into_iter().chain(names).collect::<Vec<_>>(), &[]);
        }
        // Another lab may use it still, and is the one that takes it away then.
        let _ = ask(&self.socket, &["image", "rm", IMAGE], &[]);
    }
}
