//! What the bench runs on: figures of one machine say little about another.

use std::fs;

use super::document::Machine;
use super::meter;
use super::traffic::tcp;

/// Looks at this machine.
pub(super) fn look() -> Machine {
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let processors = read("/proc/cpuinfo");
    let name = rustix::system::uname();
    let of_kernel = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    let governor = read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").trim().to_owned();
    Machine {
        kernel: format!("{} {}", of_kernel(name.sysname()), of_kernel(name.release())),
        cpu: field(&processors, "model name").unwrap_or_else(|| of_kernel(name.machine())),
        cpus: std::thread::available_parallelism().map_or(1, usize::from),
        memory_mb: meter::total_memory_mb().unwrap_or_default().round(),
        virtual_machine: field(&processors, "flags")
            .is_some_and(|flags| flags.split(' ').any(|it| it == "hypervisor")),
        governor: (!governor.is_empty()).then_some(governor),
        load_before: read("/proc/loadavg")
            .split(' ')
            .next()
            .and_then(|it| it.parse().ok())
            .unwrap_or_default(),
        congestion_controls: tcp::congestion_controls(),
    }
}

/// The first value of that name in /proc/cpuinfo.
fn field(text: &str, name: &str) -> Option<String> {
    let value =
        |line: &str| line.strip_prefix(name)?.trim_start().strip_prefix(':').map(|it| it.trim().to_owned());
    text.lines().find_map(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_named() {
        let text = "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nflags\t\t: fpu hypervisor\n";
        assert_eq!(field(text, "model name").as_deref(), Some("Some CPU @ 2 GHz"));
        assert_eq!(field(text, "model"), None);
    }
}
