//! What a process takes of the machine, and whether that grows.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

/// What a process has at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Footprint {
    /// Memory of its own that is resident, in KiB. What is mapped from files, such as the program itself, comes as it is touched and
    /// goes as the kernel likes.
    pub resident_kib: u64,
    /// Descriptors by what they are.
    pub descriptors: BTreeMap<String, usize>,
    /// Threads by their names.
    pub threads: BTreeMap<String, usize>,
}

impl Footprint {
    /// That of a process.
    ///
    /// # Errors
    /// It has ended, or is somebody else's.
    pub fn of(pid: u32) -> io::Result<Footprint> {
        let process = Path::new("/proc").join(pid.to_string());
        let status = fs::read_to_string(process.join("status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
        let resident_kib = kib.ok_or_else(|| io::Error::other("its status has no line RssAnon"))?;
        // What goes while they are counted is none of either.
        let descriptors = fs::read_dir(process.join("fd"))?
            .filter_map(|entry| fs::read_link(entry.ok()?.path()).ok())
            .map(|target| kind(&target.to_string_lossy()));
        let threads = fs::read_dir(process.join("task"))?
            .filter_map(|entry| fs::read_to_string(entry.ok()?.path().join("comm")).ok())
            .map(|name| name.trim().to_owned());
        Ok(Footprint { resident_kib, descriptors: count(descriptors), threads: count(threads) })
    }

    /// How many descriptors there are.
    pub fn descriptors(&self) -> usize {
        self.descriptors.values().sum()
    }

    /// How many threads there are.
    pub fn threads(&self) -> usize {
        self.threads.values().sum()
    }
}

/// What a descriptor leads to (`socket:[4711]`, `anon_inode:[eventpoll]`, `/dev/net/tun`), without what is its own.
fn kind(target: &str) -> String {
    match target.split_once(":[") {
        Some(("anon_inode", kind)) => kind.trim_end_matches(']').to_owned(),
        Some((kind, _)) => kind.to_owned(),
        None if target.starts_with("/dev/") => target.to_owned(),
        None if target.starts_with("anon_inode:") => target.to_owned(),
        None => "file".to_owned(),
    }
}

fn count(names: impl Iterator<Item = String>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    names.for_each(|name| *counts.entry(name).or_default() += 1);
    counts
}

/// What is not as it was, in words; nothing when all is.
pub fn differences(before: &BTreeMap<String, usize>, now: &BTreeMap<String, usize>) -> Option<String> {
    let names = before.keys().chain(now.keys().filter(|name| !before.contains_key(*name)));
    let of = |counts: &BTreeMap<String, usize>, name| counts.get(name).copied().unwrap_or(0);
    let told: Vec<String> = names
        .filter(|name| of(before, *name) != of(now, *name))
        .map(|name| format!("{name}: {} before, {} now", of(before, name), of(now, name)))
        .collect();
    (!told.is_empty()).then(|| told.join(", "))
}

/// The first part of a run: tables, caches and histories fill up to their bounds, and the allocator finds out what it needs.
const WARM_UP: f64 = 0.25;
/// Fewer samples than this behind the warm-up say nothing.
const LEAST: usize = 9;
/// How much larger the last third may be than the first: so much of it...
const ALLOWED_PART: f64 = 0.03;
/// ...and so many KiB: sessions live for minutes after their last packet, so short runs warm up to their end. In an hour it is what 100
/// bytes a change come to.
const ALLOWED_KIB: f64 = 4096.0;

/// What came of a run's samples of memory.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Memory {
    /// There are too few.
    TooShort,
    /// It is flat: the medians of the first and the last third behind the warm-up.
    Flat(f64, f64),
    /// It grew, by more than is allowed.
    Grows(f64, f64),
}

/// Judges samples in KiB, in their order, each taken when the same things existed.
pub fn judge(samples: &[u64]) -> Memory {
    let warm = &samples[(samples.len() as f64 * WARM_UP) as usize..];
    if warm.len() < LEAST {
        return Memory::TooShort;
    }
    let third = warm.len() / 3;
    let [first, last] = [&warm[..third], &warm[warm.len() - third..]].map(median);
    let allowed = first * (1.0 + ALLOWED_PART) + ALLOWED_KIB;
    if last <= allowed { Memory::Flat(first, last) } else { Memory::Grows(first, last) }
}

fn median(samples: &[u64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_unstable();
    let middle = sorted.len() / 2;
    let upper = sorted[middle] as f64;
    if sorted.len() % 2 == 1 { upper } else { (sorted[middle - 1] as f64 + upper) / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_grows_is_told_from_memory_that_warms_up_or_wavers() {
        let wavers = |number: u64| 20_000 + number * 7919 % 700;
        let flat: Vec<u64> = (0..60).map(wavers).collect();
        assert!(matches!(judge(&flat), Memory::Flat(..)), "{:?}", judge(&flat));
        let warms_up: Vec<u64> = (0..60).map(|number| wavers(number) + 400 * number.min(15)).collect();
        assert!(matches!(judge(&warms_up), Memory::Flat(..)), "{:?}", judge(&warms_up));
        let one_peak: Vec<u64> =
            (0..60).map(|number| if number == 55 { 90_000 } else { wavers(number) }).collect();
        assert!(matches!(judge(&one_peak), Memory::Flat(..)), "{:?}", judge(&one_peak));
        let leaks: Vec<u64> = (0..60).map(|number| wavers(number) + 200 * number).collect();
        assert!(matches!(judge(&leaks), Memory::Grows(..)), "{:?}", judge(&leaks));
        assert_eq!(judge(&leaks[..LEAST]), Memory::TooShort);
    }

    #[test]
    fn a_process_has_what_it_has_opened() {
        let before = Footprint::of(std::process::id()).unwrap();
        let kept: Vec<_> = (0..3).map(|_| fs::File::open("/dev/null").unwrap()).collect();
        let now = Footprint::of(std::process::id()).unwrap();
        let opened = |footprint: &Footprint| footprint.descriptors.get("/dev/null").copied().unwrap_or(0);
        assert_eq!(opened(&now) - opened(&before), kept.len());
        assert!(now.threads() > 0 && now.resident_kib > 0);
    }

    #[test]
    fn differences_are_told_by_name() {
        let counts = |pairs: &[(&str, usize)]| {
            pairs.iter().map(|(name, number)| ((*name).to_owned(), *number)).collect::<BTreeMap<_, _>>()
        };
        let before = counts(&[("socket", 4), ("net", 2)]);
        assert_eq!(differences(&before, &before), None);
        let now = counts(&[("net", 2), ("eventfd", 1), ("socket", 5)]);
        let told = differences(&before, &now).unwrap();
        assert_eq!(told, "socket: 4 before, 5 now, eventfd: 0 before, 1 now");
        assert_eq!(kind("socket:[4711]"), "socket");
        assert_eq!(kind("anon_inode:[eventpoll]"), "eventpoll");
        assert_eq!(kind("/run/pontoon-soak/state/pontoon.redb"), "file");
    }
}
