//! Which ports NAT draws from, and how many ports there can be at all.

use std::fs;
use std::ops::RangeInclusive;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{LeaseError, LeaseSettings, Limits, PortRange};

/// Where the kernel says which ports it gives to its own sockets. Only read.
const EPHEMERAL: &str = "/proc/sys/net/ipv4/ip_local_port_range";

/// The first port that needs no privilege: no pool starts below.
const FIRST: u16 = 1_024;

/// Open files that are wanted: two protocols' pools, 10,000 published ports and their clients, with room to spare.
const WANTED_FILES: u64 = 131_072;

/// Open files that leases leave to the rest of the daemon (devices, API), a quarter of them at most.
const OTHER_FILES: usize = 2_048;

/// The pool as `settings` have it.
///
/// # Errors
/// [`LeaseError::Invalid`] when the range is none.
pub(super) fn choose(settings: LeaseSettings) -> Result<PortRange, LeaseError> {
    match settings.pool {
        Some((first, last)) if first < FIRST || last < first => Err(LeaseError::Invalid(format!(
            "{first}-{last} cannot be the pool of ports for NAT: give a range within {FIRST}-65535, the smaller number first"
        ))),
        Some(pool) => Ok(pool),
        None => Ok(beside(ephemeral(), settings.pool_size.max(1))),
    }
}

/// The range that the kernel gives ports from, or its default when that cannot be read.
fn ephemeral() -> PortRange {
    let read = fs::read_to_string(EPHEMERAL).unwrap_or_default();
    let mut numbers = read.split_whitespace().map_while(|word| word.parse().ok());
    match (numbers.next(), numbers.next()) {
        (Some(first), Some(last)) if first <= last => (first, last),
        _ => (32_768, 60_999),
    }
}

/// `size` ports above the ephemeral range if there is room, else below it, else its upper end: held ports are out of the
/// kernel's reach there too, the host only has fewer.
fn beside((first, last): PortRange, size: u16) -> PortRange {
    let above = last.checked_add(1).and_then(|start| Some((start, start.checked_add(size - 1)?)));
    let below = first.checked_sub(size).filter(|start| *start >= FIRST).map(|start| (start, first - 1));
    above.or(below).unwrap_or((u16::MAX - (size - 1), u16::MAX))
}

/// How many ports may be held at once: what the limit of open files leaves, after raising it as far as it goes.
pub(super) fn raise_file_limit() -> FileLimit {
    let limit = getrlimit(Resource::Nofile);
    // None: without limit.
    let hard = limit.maximum.unwrap_or(WANTED_FILES);
    let wanted = Rlimit { current: Some(hard.max(WANTED_FILES)), maximum: Some(hard.max(WANTED_FILES)) };
    // The hard limit goes up with CAP_SYS_RESOURCE only.
    let raised = if limit.maximum.is_some() { setrlimit(Resource::Nofile, wanted) } else { Ok(()) };
    let raised = raised
        .or_else(|_| setrlimit(Resource::Nofile, Rlimit { current: Some(hard), maximum: limit.maximum }));
    let files = match raised {
        Ok(()) => getrlimit(Resource::Nofile).current.unwrap_or(WANTED_FILES),
        Err(_) => limit.current.unwrap_or(WANTED_FILES),
    };
    FileLimit { files: usize::try_from(files).unwrap_or(usize::MAX) }
}

/// The limit of open files.
#[derive(Debug, Clone, Copy)]
pub(super) struct FileLimit {
    /// The limit itself.
    pub(super) files: usize,
}

impl FileLimit {
    /// What the relay may carry: a quarter of the open files at most.
    pub(super) fn relay(self) -> Limits {
        Limits::for_files(self.files / 4)
    }

    /// How many ports may be held, in all.
    pub(super) fn ports(self) -> usize {
        self.files - OTHER_FILES.min(self.files / 4) - self.relay().files()
    }

    /// How many ports of one protocol the pool may have: a third of what may be held, so that as much is left for
    /// published ports.
    pub(super) fn pool(self) -> usize {
        self.ports() / 3
    }
}

/// The numbers of ports, ascending, as ranges: sorted and no two of them touching.
pub(super) fn merge(mut ranges: Vec<PortRange>) -> Vec<PortRange> {
    ranges.sort_unstable();
    let mut merged: Vec<PortRange> = Vec::new();
    for (first, last) in ranges {
        match merged.last_mut() {
            Some((_, end)) if u32::from(first) <= u32::from(*end) + 1 => *end = last.max(*end),
            _ => merged.push((first, last)),
        }
    }
    merged
}

/// All ports of a range.
pub(super) fn ports((first, last): PortRange) -> RangeInclusive<u16> {
    first..=last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pool_is_where_the_kernel_does_not_look() {
        for (ephemeral, size, pool) in [
            ((32_768, 60_999), 4_096, (61_000, 65_095)),
            ((32_768, 61_439), 4_096, (61_440, 65_535)),
            ((32_768, 61_440), 4_096, (28_672, 32_767)),
            ((5_120, 65_535), 4_096, (1_024, 5_119)),
            // No room on either side.
            ((5_119, 65_535), 4_096, (61_440, 65_535)),
            ((1_024, 65_534), 1, (65_535, 65_535)),
        ] {
            assert_eq!(beside(ephemeral, size), pool, "{ephemeral:?} {size}");
        }
    }

    #[test]
    fn a_pool_of_ones_own() {
        let choose = |pool| choose(LeaseSettings { pool: Some(pool), ..LeaseSettings::default() });
        assert_eq!(choose((1_024, 1_024)).unwrap(), (1_024, 1_024));
        for wrong in [(1_023, 2_000), (3_000, 2_999)] {
            let sentence = choose(wrong).unwrap_err().to_string();
            assert!(sentence.contains("1024-65535"), "{sentence}");
        }
    }

    #[test]
    fn merged() {
        let ranges = vec![(7, 9), (1, 3), (4, 4), (65_535, 65_535), (8, 20), (22, 22), (8, 10)];
        assert_eq!(merge(ranges), [(1, 4), (7, 20), (22, 22), (65_535, 65_535)]);
    }

    #[test]
    fn files_are_shared_out() {
        for (files, ports, connections) in
            [(131_072, 122_880, 2_048), (20_000, 12_954, 1_666), (1_024, 513, 85)]
        {
            let limit = FileLimit { files };
            assert_eq!((limit.ports(), limit.relay().connections), (ports, connections), "{files}");
        }
    }
}
