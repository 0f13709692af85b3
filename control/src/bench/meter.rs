//! What work costs: processor time of the whole machine, and of programs; memory.

use std::fs;

use super::error::{BenchError, cannot};

/// Ticks a second that /proc/stat counts by: USER_HZ, 100 on every architecture that we run on (proc(5), "user").
const TICKS_PER_SECOND: f64 = 100.0;

/// Seconds that all processors together have worked since the machine was started: everything but idle, waiting and stolen time.
pub(super) fn machine_seconds() -> Result<f64, BenchError> {
    let file = "/proc/stat";
    let text = fs::read_to_string(file).map_err(cannot(format!("read {file}")))?;
    busy_ticks(&text)
        .map(|ticks| ticks as f64 / TICKS_PER_SECOND)
        .ok_or_else(|| BenchError::sentence("cannot make sense of /proc/stat"))
}

/// proc(5): cpu user nice system idle iowait irq softirq steal ...; guests' time is in user and nice already.
fn busy_ticks(stat: &str) -> Option<u64> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let fields: Vec<u64> = line.split_whitespace().map_while(|field| field.parse().ok()).collect();
    Some([0, 1, 2, 5, 6].into_iter().filter_map(|field| fields.get(field)).sum())
}

/// Seconds that the threads of these processes have run.
pub(super) fn process_seconds(processes: &[u32]) -> f64 {
    let threads = |id: &u32| fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten();
    let nanoseconds = processes.iter().flat_map(threads).filter_map(|thread| {
        // Documentation/scheduler/sched-stats.rst: the first number is the time spent running.
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    nanoseconds.sum::<u64>() as f64 / 1e9
}

/// Memory of these processes in MB, what they share counted in parts (Pss of smaps_rollup).
pub(super) fn process_memory_mb(processes: &[u32]) -> f64 {
    let kilobytes = processes.iter().filter_map(|id| {
        let text = fs::read_to_string(format!("/proc/{id}/smaps_rollup")).ok()?;
        kilobytes(&text, "Pss:")
    });
    kilobytes.sum::<u64>() as f64 * 1024.0 / 1e6
}

/// Memory in MB that programs could have without swapping.
pub(super) fn available_memory_mb() -> Result<f64, BenchError> {
    memory_mb("MemAvailable:")
}

/// The machine's memory in MB.
pub(super) fn total_memory_mb() -> Result<f64, BenchError> {
    memory_mb("MemTotal:")
}

fn memory_mb(field: &str) -> Result<f64, BenchError> {
    let text = fs::read_to_string("/proc/meminfo").map_err(cannot("read /proc/meminfo"))?;
    kilobytes(&text, field)
        .map(|kilobytes| kilobytes as f64 * 1024.0 / 1e6)
        .ok_or_else(|| BenchError::sentence("cannot make sense of /proc/meminfo"))
}

fn kilobytes(text: &str, field: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(field))?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_all_but_idle_waiting_and_stolen_time() {
        let stat = "cpu  100 20 300 40000 5000 60 7 80000 900 0\ncpu0 1 2 3\n";
        assert_eq!(busy_ticks(stat), Some(100 + 20 + 300 + 60 + 7));
        assert_eq!(busy_ticks("intr 1 2 3\n"), None);
    }

    #[test]
    fn memory_is_read_by_its_name() {
        assert_eq!(kilobytes("Rss:  10 kB\nPss:    7 kB\n", "Pss:"), Some(7));
        assert_eq!(kilobytes("Pss_Anon: 7 kB\n", "Pss:"), None);
    }

    #[test]
    fn what_runs_is_seen() {
        let own = [std::process::id()];
        let before = process_seconds(&own);
        // However busy the machine is: in the end this has worked for a hundredth of a second, which is what is told apart.
        let end = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while process_seconds(&own) <= before {
            assert!(std::time::Instant::now() < end, "20 s of work are not seen");
        }
        assert!(process_memory_mb(&own) > 0.1);
    }
}
