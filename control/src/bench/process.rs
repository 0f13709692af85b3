//! Programs that a contender needs, in the contender's own network namespace. None outlives whoever started it, however that ends.

use std::fs::{self, File};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::error::{BenchError, cannot};
use crate::netns::Netns;
use crate::sys;

/// How long a program may take until it is ready.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running program; killed when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts a program in a namespace. Its standard input stays open while this lives, and what it says goes to a file in `directory`.
    /// Call it from the thread that lives longest: the kernel kills the program when the calling thread ends.
    ///
    /// # Errors
    /// The log cannot be written, or the program not be started.
    pub fn start(mut command: Command, netns: &Netns, directory: &Path) -> Result<Process, BenchError> {
        let name =
            Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let log = directory.join(format!("{name}-{}.log", NEXT.fetch_add(1, Relaxed)));
        let file = File::create(&log).map_err(cannot(format!("create {}", log.display())))?;
        let also = file.try_clone().map_err(cannot("duplicate a descriptor"))?;
        command.stdin(Stdio::piped()).stdout(file).stderr(also);
        let child = sys::spawn_bound(&mut command, netns.as_fd()).map_err(cannot(format!("start {name}")))?;
        Ok(Process { name, child, log })
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The file that it logs to.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Tells it to end (SIGTERM) and waits until it has.
    ///
    /// # Errors
    /// It has not ended within `patience`.
    pub fn terminate(&mut self, patience: Duration) -> Result<ExitStatus, BenchError> {
        // Not waited for yet, so the number is still the child's.
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid.filter(|_| matches!(self.child.try_wait(), Ok(None))) {
            let told = kill_process(pid, Signal::TERM).map_err(std::io::Error::from);
            told.map_err(cannot(format!("end {}", self.name)))?;
        }
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().map_err(cannot(format!("wait for {}", self.name)))? {
                return Ok(status);
            }
            if start.elapsed() > patience {
                let seconds = patience.as_secs();
                return Err(BenchError::Sentence(format!("{} did not end within {seconds} s", self.name)));
            }
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until `ready` says so.
    ///
    /// # Errors
    /// It ended, with the last line of what it said, or took too long.
    pub fn wait_until(&mut self, mut ready: impl FnMut() -> bool) -> Result<(), BenchError> {
        let start = Instant::now();
        while !ready() {
            if let Ok(Some(status)) = self.child.try_wait() {
                let said = fs::read_to_string(&self.log).unwrap_or_default();
                let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
                return Err(BenchError::Sentence(format!("{} has ended ({status}): {last}", self.name)));
            }
            if start.elapsed() > PATIENCE {
                let seconds = PATIENCE.as_secs();
                return Err(BenchError::Sentence(format!("{} was not ready within {seconds} s", self.name)));
            }
            thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Not waited for yet, so the number is still the child's; one that has ended already cannot be killed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a program to its end in a namespace, and returns what it printed.
///
/// # Errors
/// It cannot be started, or fails: with the last line of what it said.
pub(super) fn run(mut command: Command, netns: &Netns) -> Result<String, BenchError> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = sys::spawn_bound(&mut command, netns.as_fd()).map_err(cannot(format!("start {name}")))?;
    let output = child.wait_with_output().map_err(cannot(format!("wait for {name}")))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        return Ok(text(&output.stdout));
    }
    let said = text(&output.stderr);
    let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
    Err(BenchError::Sentence(format!("{name} failed: {last}")))
}

/// Where the bench's programs have their files: below its own /run.
const DIRECTORY: &str = "/run/pontoon-bench";

/// A directory for the programs of a contender that has the namespace of that name for its host.
pub(super) fn directory(host: &str) -> Result<PathBuf, BenchError> {
    let directory = Path::new(DIRECTORY).join(host);
    fs::create_dir_all(&directory).map_err(cannot(format!("create {}", directory.display())))?;
    Ok(directory)
}

/// Sees to it that programs are installed.
///
/// # Errors
/// One is not, with the package that has it.
pub(super) fn need(programs: &[&str], package: &str) -> Result<(), BenchError> {
    match programs.iter().find(|program| !installed(program)) {
        Some(program) => Err(BenchError::Sentence(format!("{program} is not installed (package {package})"))),
        None => Ok(()),
    }
}

/// Whether a program is installed.
fn installed(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(name).is_file())
}
